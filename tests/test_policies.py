"""The players that need no model: what each does, and that none of them games the reward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import gymnasium as gym
import pytest
from msgspec.structs import replace

import mtr_env
from mtr_env.contract import Contract
from mtr_env.env import MTREnv
from mtr_env.grammar import GRAMMARS, Action, Result, get_grammar
from mtr_env.policies import POLICY_NAMES, make_policy
from mtr_env.policies.base import Policy
from mtr_env.policies.exploits import Coin, Diluter, EchoLaunderer, Hedger, Memoriser, Mute
from mtr_env.policies.human import Human, Quit
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.random_valid import RandomValid, random_call
from mtr_env.policies.readers import Chaser, FirstSearchReader, NoToolGuesser, guess, pick
from mtr_env.policies.reading import alternatives
from mtr_env.policies.replay import MissingRecordingError, Replay
from mtr_env.rollout import play
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.trace import Trace

SAMPLES = ("MTR-HotpotQA-v0", "MTR-MuSiQue-v0", "MTR-2WikiMultiHopQA-v0", "MTR-Bamboogle-v0")
MODEL_FREE = {
    "random-valid": RandomValid,
    "first-search": FirstSearchReader,
    "snippet": lambda grammar: FirstSearchReader(grammar, opens=False),
    "chaser": Chaser,
    "no-tool": NoToolGuesser,
}


def world(env_id: str = "MTR-HotpotQA-v0", **options: object) -> MTREnv:
    env = gym.make(env_id, **options).unwrapped
    assert isinstance(env, MTREnv)
    return env


def traces(env: MTREnv, policy: object, seed: int = 0) -> list[Trace]:
    return [play(env, policy, question_id=i, seed=seed) for i in env.game.world.ids]  # type: ignore[arg-type]


def total(trace: Trace) -> float:
    reward = mtr_env.score(trace).total
    assert reward is not None
    return reward


# -------------------------------------------------------------------------------------------------------- every player


@pytest.mark.parametrize("name", MODEL_FREE)
@pytest.mark.parametrize("env_id", SAMPLES)
def test_a_player_without_a_model_answers_every_sample_without_a_fault(env_id: str, name: str) -> None:
    for trace in traces(world(env_id), MODEL_FREE[name]("hermes")):
        assert trace.stop_reason == "answer"
        assert trace.answer
        assert trace.faults == ()


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_a_player_does_the_same_in_either_grammar_and_every_time(name: str) -> None:
    told = []
    for grammar in ("hermes", "react", "hermes"):
        played = traces(world(grammar=grammar), make_policy(name, grammar))
        told.append([(step.calls, step.answer) for trace in played for step in trace.steps])
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("name", MODEL_FREE)
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_a_player_survives_any_observation(grammar: str, name: str) -> None:
    spoken = get_grammar(grammar)
    contents = [
        *(None, 7, True, "text", [], {}, [[["a"]], "\x1b[2J", ""]),
        *({"results": "x"}, {"results": [3]}, {"results": [{"title": 3}]}, {"title": []}),
        {"error": {"code": "invalid_response", "message": "m"}},
        {"status": "not_found", "candidates": [None, {"a": 1}]},
        {"status": "ok", "title": "", "text": ""},
    ]
    texts = [spoken.render_result(Result("search", content)) for content in contents]
    texts += ["", "noise", "<tool_response>\n{\n</tool_response>", "Observation: " + "[" * 100_000, "\ud800"]
    env = world(grammar=grammar)
    for text in texts:
        _, info = env.reset(seed=1)
        policy = MODEL_FREE[name](grammar)
        act = policy.for_episode(env.snapshot()) if hasattr(policy, "for_episode") else policy
        messages, tools = list(info["messages"]), info["tools"]
        for _ in range(8):
            action = act(messages, tools)
            said = spoken.parse(action)
            assert isinstance(said, Action)
            if said.answer is not None:
                break
            messages += [{"role": "assistant", "content": action}, {"role": "user", "content": text}]
        else:
            pytest.fail(f"no answer after observations of {text[:60]!r}")


@pytest.mark.parametrize("name", MODEL_FREE)
def test_a_player_copes_with_a_noisy_world(name: str) -> None:
    env = world("MTR-Synthetic-v0", noise=0.6, limit=8)
    for seed in range(3):
        assert all(trace.answer is not None for trace in traces(env, MODEL_FREE[name]("hermes"), seed))


def test_a_player_without_tools_still_answers() -> None:
    messages = [{"role": "user", "content": "Question: Who wrote Hamlet?"}]
    trace = traces(world(), NoToolGuesser())[0]
    for make in MODEL_FREE.values():
        policy = make("hermes")
        act = policy.for_episode(trace) if hasattr(policy, "for_episode") else policy
        said = get_grammar("hermes").parse(act(messages, []))
        assert isinstance(said, Action)
        assert said.answer and said.answer in "Who wrote Hamlet?"


def test_an_unknown_policy_is_refused_with_the_names_and_a_near_miss() -> None:
    with pytest.raises(ValueError, match=r"Unknown policy 'chasr'.*'oracle'.*Did you mean 'chaser'\?"):
        make_policy("chasr", "hermes")


# -------------------------------------------------------------------------------------------------------- random valid


def test_random_valid_depends_on_both_seeds_and_on_nothing_of_the_gold() -> None:
    env = world()
    told = {(s, e): [t.steps for t in traces(env, RandomValid(seed=s), e)] for s in (0, 1) for e in (0, 1)}
    assert len({repr(steps) for steps in told.values()}) == 4
    _, info = env.reset(seed=5)
    trace = env.snapshot()
    other = replace(trace, question=replace(trace.question, answer="x", aliases=(), evidence=(), facts=()))
    actions = [RandomValid().for_episode(t)(info["messages"], info["tools"]) for t in (trace, other)]
    assert actions[0] == actions[1]


def test_random_valid_makes_one_to_four_calls() -> None:
    counts = {trace.call_count for seed in range(4) for trace in traces(world(), RandomValid(), seed)}
    assert counts == {1, 2, 3, 4}


def test_random_calls_keep_the_contract_of_nested_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b", None]},
            "count": {"type": "integer", "minimum": 3, "exclusiveMaximum": 9, "multipleOf": 3},
            "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
            "on": {"type": "boolean"},
            "none": {"type": "null"},
            "either": {"anyOf": [{"type": "string", "minLength": 30, "maxLength": 40}, {"const": 5}]},
            "names": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3, "uniqueItems": True},
            "tree": {"$ref": "#/$defs/node"},
            "mixed": {"type": ["string", "null"]},
        },
        "required": ["kind", "count", "share", "on", "none", "either", "names", "tree", "mixed"],
        "additionalProperties": False,
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name"],
            }
        },
    }
    toolset = Toolset((ToolSpec("f", "", schema, {}),))
    contract, names = Contract(toolset), ["Ada", "Alan Turing", "Grace Hopper", "Kurt"]
    calls = [random_call(toolset.openai(), names, ("test", i)) for i in range(60)]
    assert all(call is not None and contract.check_call(call) is None for call in calls)
    assert {call.arguments["count"] for call in calls if call} == {3, 6}
    impossible = ToolSpec("f", "", {"type": "object", "properties": {"a": {"enum": [1], "type": "string"}},
                                    "required": ["a"]}, {})  # fmt: skip
    assert random_call(Toolset((impossible,)).openai(), names, ("test",)) is None


# ------------------------------------------------------------------------------------------------------------- readers


@pytest.mark.parametrize(
    ("question", "pair"),
    [
        ("Who is older, Ada Lovelace or Alan Turing?", ("Ada Lovelace", "Alan Turing")),
        ("Which film has the director who was born later, Jaws or Alien?", ("Jaws", "Alien")),
        ("Which bridge opened first, the Golden Gate Bridge or the Sydney Harbour Bridge?",
         ("Golden Gate Bridge", "Sydney Harbour Bridge")),
        ("Is Robert Redford or Paul Newman taller?", ("Robert Redford", "Paul Newman")),
        ("Who died first Niels Bohr or Erwin Schrödinger?", ("Niels Bohr", "Erwin Schrödinger")),
        ("Between Iain Banks and Irwin Shaw, which writer is older?", ("Iain Banks", "Irwin Shaw")),
        ("Of Fort Heather and Mount Iron, which has the country that is older?", ("Fort Heather", "Mount Iron")),
        ("Who was born last, the person who wrote Kim or Ada Lovelace?", ("person who wrote Kim", "Ada Lovelace")),
        ("How many years lie between the birth of Kafka and the death of Bohr?", None),
        ("Where was Niels Bohr born?", None),
    ],
)  # fmt: skip
def test_a_comparison_names_two_alternatives(question: str, pair: tuple[str, str] | None) -> None:
    assert alternatives(question) == pair


def test_guesses_follow_the_wording_of_the_question() -> None:
    assert guess("Are Nokia and Ericsson based in the same country?") == "yes"
    assert guess("Which is older, Nikon or Nintendo?") == "Nikon"
    assert guess("Where was the designer of the Brooklyn Bridge born?") == "Brooklyn Bridge"
    assert guess("") == "unknown"


def test_a_reader_picks_the_span_that_fits_the_wh_word() -> None:
    page = "Ingmar Bergman was a Swedish director born on 14 July 1918 in Uppsala. He made 45 films."
    assert pick("When was the director of Persona born?", "Ingmar Bergman", page) == "14 July 1918"
    assert pick("In what year was the director of Persona born?", "Ingmar Bergman", page) == "1918"
    assert pick("How many films did the director of Persona make?", "Ingmar Bergman", page) == "45"
    assert pick("Where was the director of Persona born?", "Ingmar Bergman", page) == "Uppsala"
    assert pick("Who directed Persona?", "Ingmar Bergman (director)", page) == "Ingmar Bergman"


def test_the_first_search_reader_searches_the_question_and_opens_the_top_page() -> None:
    for trace in traces(world(), FirstSearchReader()):
        search, page = [call for step in trace.steps for call in step.calls]
        found = trace.steps[0].responses[0]
        assert found is not None
        assert search.arguments == {"query": trace.question.text}
        assert page.arguments == {"title": found.value["results"][0]["title"]}
    assert all(trace.call_count == 1 for trace in traces(world(), FirstSearchReader(opens=False)))


def test_the_chaser_never_repeats_a_call_and_answers_in_the_last_step() -> None:
    for max_steps in (1, 2, 8):
        for trace in traces(world("MTR-2WikiMultiHopQA-v0", max_steps=max_steps), Chaser(max_steps=max_steps)):
            calls = [call for step in trace.steps for call in step.calls]
            assert trace.stop_reason == "answer"
            assert all(calls.count(call) == 1 for call in calls)
            assert not any(call.name in ("search", "calculate", "find_in_page") for call in calls)


# ------------------------------------------------------------------------------------------------------------ exploits


@pytest.fixture(scope="module", params=SAMPLES)
def honest(request: pytest.FixtureRequest) -> tuple[MTREnv, list[float]]:
    env = world(request.param)
    return env, [total(trace) for trace in traces(env, Oracle(actor=env.game.tool_actor))]


EXPLOITS: dict[str, Callable[[MTREnv], object]] = {
    "mute": lambda env: Mute(),
    "hedger": lambda env: Hedger(Oracle(actor=env.game.tool_actor)),
    "echo launderer": lambda env: EchoLaunderer(),
    "coin": lambda env: Coin(),
    "diluter": lambda env: Diluter(Oracle(actor=env.game.tool_actor)),
    "memoriser": lambda env: Memoriser(),
    **{name: lambda env, make=make: make("hermes") for name, make in MODEL_FREE.items()},
}


@pytest.mark.parametrize("name", EXPLOITS)
def test_no_exploit_beats_the_oracle_on_any_question(honest: tuple[MTREnv, list[float]], name: str) -> None:
    env, best = honest
    rewards = [total(trace) for trace in traces(env, EXPLOITS[name](env))]
    assert all(reward <= other for reward, other in zip(rewards, best, strict=True))
    assert sum(rewards) < sum(best) or name == "hedger"  # which plays honestly where nothing is compared


def test_silence_after_a_valid_call_earns_nothing() -> None:
    for trace in traces(world(), Mute()):
        assert trace.stop_reason == "max_steps"
        assert trace.call_count == 1
        assert total(trace) == 0


def test_naming_both_alternatives_earns_nothing_and_f1_would_have_paid() -> None:
    env = world()
    compared = [t for t in traces(env, Hedger(Oracle())) if alternatives(t.question.text)]
    assert compared
    assert all(total(trace) == 0 for trace in compared)
    paid = [mtr_env.score(trace, "f1").total or 0 for trace in compared]
    assert sum(paid) / len(paid) > 0.5  # more than a coin


def test_junk_calls_do_not_dilute_a_fault() -> None:
    env = world()
    junk, bare = (traces(env, Diluter(Oracle(), junk=n)) for n in (7, 0))
    for one, other in zip(junk, bare, strict=True):
        assert [fault.kind for fault in one.faults] == [fault.kind for fault in other.faults] == ["unknown_tool"]
        assert total(one) <= total(other) < 1
    assert sum(map(total, junk)) < sum(map(total, bare))


def test_a_laundered_guess_is_charged_as_an_invention_where_the_question_does_not_hold_it() -> None:
    bridges = [t for t in traces(world(), EchoLaunderer()) if t.question.family == "bridge"]
    assert bridges
    assert all(mtr_env.score(trace).parts["provenance"] == pytest.approx(2 / 3) for trace in bridges)


def test_the_memoriser_earns_the_answer_only() -> None:
    assert {total(trace) for trace in traces(world(), Memoriser())} == {0.6}


# -------------------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("name", ["chaser", "random-valid", "oracle"])
def test_a_replay_repeats_the_trace(name: str) -> None:
    env = world()
    recorded = traces(env, make_policy(name, "hermes"), seed=3)
    assert traces(env, Replay(recorded), seed=3) == recorded


def test_a_replay_prefers_the_recording_of_the_same_seed() -> None:
    env = world()
    first, second = traces(env, RandomValid(), 1)[0], traces(env, RandomValid(), 2)[0]
    question = first.question.id
    policy = Replay([first, second])
    assert play(env, policy, question_id=question, seed=2).steps == second.steps
    assert play(env, policy, question_id=question, seed=9).steps == first.steps


def test_a_missing_recording_is_named() -> None:
    env = world()
    one, other, *_ = traces(env, FirstSearchReader())
    with pytest.raises(MissingRecordingError, match=f"No recording of question '{other.question.id}'.*1 questions"):
        play(env, Replay([one]), question_id=other.question.id)
    with pytest.raises(MissingRecordingError, match="nothing is recorded"):
        play(env, Replay([]), question_id=other.question.id)
    with pytest.raises(MissingRecordingError, match="holds 2 actions"):
        play(env, Replay([one.upto(2)]), question_id=one.question.id)
    with pytest.raises(ValueError, match="speaks 'react'"):
        play(world(grammar="react"), Replay([one]), question_id=one.question.id)


# --------------------------------------------------------------------------------------------------------------- human


def person(lines: Sequence[str], grammar: str = "hermes") -> tuple[Human, list[str]]:
    """A player who types these lines, and what the terminal shows."""
    shown: list[str] = []
    left: Iterator[str] = iter(lines)

    def type_line(prompt: str) -> str:
        line = next(left, None)
        if line is None:
            raise EOFError
        return line

    return Human(grammar, input=type_line, print=shown.append), shown


@pytest.mark.parametrize("grammar", ["hermes", "react"])
def test_a_person_plays_with_plain_commands(grammar: str) -> None:
    lines = [
        "search director of The Seventh Seal",
        "open_page title=Ingmar Bergman",
        "find_in_page title=Ingmar Bergman phrase=died on the island",
        'find_in_page {"title": "Ingmar Bergman", "phrase": "Uppsala"}',
        "answer Fårö",
    ]
    policy, shown = person(lines, grammar)
    trace = play(world(grammar=grammar), policy, question_id="sample-hotpotqa-01")
    assert [call.arguments for step in trace.steps for call in step.calls] == [
        {"query": "director of The Seventh Seal"},
        {"title": "Ingmar Bergman"},
        {"title": "Ingmar Bergman", "phrase": "died on the island"},
        {"title": "Ingmar Bergman", "phrase": "Uppsala"},
    ]
    assert trace.answer == "Fårö"
    assert trace.faults == ()
    screen = "\n".join(shown)
    assert screen.count("On which island did the director") == 1
    assert "search(query: string)" in screen
    assert "status: ok" in screen


def test_a_mistake_is_explained_and_costs_no_step() -> None:
    lines = ["", "serch x", "search", "find_in_page Kolya", "find_in_page title=Kolya", "search {oops", "answer"]
    lines += ["help", 'open_page {"titel": 1}', "answer x"]
    policy, shown = person(lines)
    trace = play(world(), policy, question_id="sample-hotpotqa-01")
    assert len(trace.steps) == 1
    screen = "\n".join(shown)
    for sentence in (
        "Did you mean search",
        "find_in_page takes title=... phrase=...",
        "Invalid arguments for find_in_page",
        "This is not a JSON object",
        "Say what to answer",
        "Invalid arguments for open_page",
    ):
        assert sentence in screen


def test_raw_text_is_sent_as_it_is() -> None:
    policy, shown = person(["<nonsense>", "<answer>Fårö</answer>"])
    trace = play(world(), policy, question_id="sample-hotpotqa-01")
    assert [step.action for step in trace.steps] == ["<nonsense>", "<answer>Fårö</answer>"]
    assert any("malformed_action" in text for text in shown)


@pytest.mark.parametrize("lines", [[], ["quit"], ["search x", " quit "]])
def test_leaving_raises_quit(lines: list[str]) -> None:
    with pytest.raises(Quit):
        play(world(), person(lines)[0])


def test_control_characters_never_reach_the_terminal() -> None:
    grammar = get_grammar("hermes")
    observation = grammar.render_result(
        Result("f\x1b", {"text": "\x1b[2J\x07", "list": ["\x9b1m", {"\x1b": "\u202e"}]})
    )
    tools = [{"type": "function", "function": {"name": "f", "description": "\x1b]0;x\x07", "parameters": {}}}]
    start = [{"role": "user", "content": "Question: \x1b[31m?"}]
    later = [*start, {"role": "assistant", "content": ""}]
    for messages in (
        start,
        [*later, {"role": "user", "content": observation}],
        [*later, {"role": "user", "content": "no result \x1b[2J"}],
    ):
        policy, shown = person(["g\x1b x", "answer x"])
        policy(messages, tools)
        assert all(c.isprintable() or c == "\n" for text in shown for c in text)


def test_a_policy_gets_the_gold_only_when_it_says_so() -> None:
    class Curious:
        def __init__(self) -> None:
            self.seen: list[Trace] = []

        def for_episode(self, trace: Trace) -> Policy:
            self.seen.append(trace)
            return lambda messages, tools: "<answer>x</answer>"

    env = gym.make("MTR-2WikiMultiHopQA-v0").unwrapped
    modest, privileged = Curious(), Curious()
    privileged.sees_gold = True  # type: ignore[attr-defined]
    for policy in (modest, privileged):
        play(env, policy, question_id=env.question_ids[0])
    question = modest.seen[0].question
    assert (question.answer, question.aliases, question.evidence, question.decomposition) == ("", (), (), ())
    assert question.paragraphs and question.facts and question.text
    assert privileged.seen[0].question.answer
