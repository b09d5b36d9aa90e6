"""The environment: Gymnasium's rules, seeds and options, snapshots, faults of others, and no gold before the end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import msgspec
import pytest
from gymnasium.utils.env_checker import check_env

from mtr_env import ENV_IDS, score
from mtr_env.contract import contains_words
from mtr_env.env import MTREnv
from mtr_env.errors import InfrastructureError, UnknownQuestionError
from mtr_env.grammar import get_grammar
from mtr_env.text import fold
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Call, Response, Trace, decode, encode

EVERY_ID = pytest.mark.parametrize("env_id", ENV_IDS)
HERMES = get_grammar("hermes")
INFO = {"question_id", "tools", "messages", "split", "world"}
LAST_INFO = {"faults", "question_id", "trace", "reward_parts", "metrics", "stop_reason", "unscored"}


def make(env_id: str = "MTR-HotpotQA-v0", **options: Any) -> MTREnv:
    env = gym.make(env_id, **options)
    assert isinstance(env, MTREnv), "no wrapper hides snapshot()"
    return env


def search(*queries: str) -> str:
    return HERMES.render_call(*(Call("search", {"query": query}) for query in queries))


def answer(text: str) -> str:
    return HERMES.render_answer(text)


def script(trace: Trace) -> list[str]:
    """Actions of every sort for a question: found, not found, faulty, parallel, answered at last."""
    titles = [paragraph.title for paragraph in trace.question.paragraphs]
    pages = [Call("open_page", {"title": title}) for title in titles[:3]]
    return [
        search(trace.question.text[:300], "zzz"),
        "nonsense",
        HERMES.render_call(*pages, Call("nope", {}), Call("search", {"q": 1}), thought="é<\n>"),
        search(titles[0], titles[0]),
        answer(trace.question.answer),
    ]


def play(env: MTREnv, actions: Callable[[Trace], list[str]] = script) -> Trace:
    for action in actions(env.snapshot()):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return env.snapshot()


# ---------------------------------------------------------------------------------------------------------- Gymnasium


@EVERY_ID
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_gymnasiums_checker_finds_nothing(env_id: str, render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(env_id, render_mode=render_mode))


@EVERY_ID
def test_an_id_is_made_in_under_a_second(env_id: str) -> None:
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        make(env_id).reset(seed=0)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 1


def test_a_misspelt_id_names_the_right_one() -> None:
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `MTR-HotpotQA`"):
        gym.make("MTR-HotpotQ-v0")
    with pytest.raises(gym.error.VersionNotFound, match=r"MTR-HotpotQA.*v0"):
        gym.make("MTR-HotpotQA-v7")


@pytest.mark.parametrize(
    ("env_id", "argument", "meant"),
    [
        ("MTR-HotpotQA-v0", "max_step", "max_steps"),
        ("MTR-MuSiQue-v0", "gramar", "grammar"),
        ("MTR-Synthetic-v0", "distractor", "distractors"),
    ],
)
def test_a_misspelt_argument_names_the_right_one(env_id: str, argument: str, meant: str) -> None:
    for make_it in (gym.make, gym.make_vec):
        with pytest.raises(TypeError, match=f"{env_id} has no argument '{argument}'.*Did you mean '{meant}'"):
            make_it(env_id, **{argument: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, found 0"),
        ({"max_steps": 2.5}, "max_steps must be an integer of at least 1, found 2.5"),
        ({"grammar": "xml"}, "Unknown grammar 'xml'"),
        ({"rubric": "best"}, "Unknown rubric 'best'"),
        ({"render_mode": "human"}, "render_mode"),
        ({"split": "dev"}, "Did you mean 'validation'"),
        ({"limit": 0}, "limit must be an integer of at least 1 or None, found 0"),
        ({"limit": "abc"}, "limit must be an integer of at least 1 or None, found 'abc'"),
        ({"source": "missing.json"}, "missing.json"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render mode:UserWarning")
def test_arguments_that_cannot_be_used_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        make(**options)


# --------------------------------------------------------------------------------------------------- reset and options


@EVERY_ID
def test_resets_info_holds_five_things(env_id: str) -> None:
    env = make(env_id)
    observation, info = env.reset(seed=3)
    trace = env.snapshot()
    assert set(info) == INFO
    assert info["question_id"] == trace.question.id
    assert info["tools"] == trace.toolset.openai()
    system, user = info["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert observation == f"{system['content']}\n\n{user['content']}"
    assert trace.question.text in observation
    assert (info["split"], info["world"]["name"]) == (trace.setup.world.split, trace.setup.world.name)
    assert trace.setup.env_id == env_id


@EVERY_ID
def test_nothing_that_reset_returns_holds_the_gold_answer(env_id: str) -> None:
    env = make(env_id)
    checked = 0
    for question_id in list(env.game.world.ids)[:60]:
        for grammar in ("hermes", "react-compact"):
            env = make(env_id, grammar=grammar) if env.game.grammar.name != grammar else env
            observation, info = env.reset(seed=0, options={"question_id": question_id})
            question = env.snapshot().question
            public = fold(observation.replace(question.text, "|"))
            shown = fold(str({**info, "messages": [], "question_id": ""}))
            for gold in question.golds:
                secret = fold(gold)
                if contains_words(fold(question.text), secret) or secret in ("yes", "no"):
                    continue
                if all(len(word) < 3 for word in secret.split()):
                    continue  # "5": also a limit in the instructions
                checked += 1
                assert not contains_words(public, secret), question_id
                assert not contains_words(shown, secret), question_id
    assert checked > 5


def test_an_info_belongs_to_its_caller() -> None:
    env = make()
    _, info = env.reset(seed=0)
    before = msgspec.json.encode(info)
    info["tools"].clear()
    info["messages"][0]["content"] = ""
    info["world"].clear()
    assert msgspec.json.encode(env.reset(seed=0)[1]) == before


@EVERY_ID
def test_a_seed_stands_for_a_question_and_different_seeds_for_several(env_id: str) -> None:
    env, other = make(env_id), make(env_id)
    ids = [env.reset(seed=seed)[1]["question_id"] for seed in range(30)]
    assert ids == [other.reset(seed=seed)[1]["question_id"] for seed in range(30)]
    assert len(set(ids)) > 5
    assert env.snapshot().seed == 29


def test_episodes_without_a_seed_follow_the_last_one_given() -> None:
    env, other = make(), make()
    env.reset(seed=5)
    follow = [env.reset()[1]["question_id"] for _ in range(10)]
    other.reset(seed=1)
    other.reset()
    other.reset(seed=5)
    assert follow == [other.reset()[1]["question_id"] for _ in range(10)]
    assert len(set(follow)) > 2
    assert env.snapshot().seed == other.snapshot().seed != 5


def test_episodes_without_any_seed_differ_from_environment_to_environment() -> None:
    seeds = set()
    for _ in range(3):
        env = make()
        env.reset()
        seeds.add(env.snapshot().seed)
    assert len(seeds) == 3


def test_a_question_can_be_chosen_and_keeps_the_seed_given() -> None:
    env = make()
    for question_id in env.game.world.ids:
        _, info = env.reset(seed=7, options={"question_id": question_id})
        assert info["question_id"] == env.snapshot().question.id == question_id
        assert env.snapshot().seed == 7
    assert env.reset(seed=1, options={})[1] == env.reset(seed=1)[1]


def test_an_unknown_question_is_an_error_with_near_misses_and_the_episode_before_goes_on() -> None:
    env = make()
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(
        UnknownQuestionError, match=r"No question with id 'sample-hotpotqa-1'.*Did you mean.*'sample-hotpotqa-0?1"
    ) as caught:
        env.reset(options={"question_id": "sample-hotpotqa-1"})
    assert "this world holds" in str(caught.value)
    assert env.snapshot() is before
    env.step(search("Kolya"))
    with pytest.raises(UnknownQuestionError, match="No question with id 5"):
        env.reset(options={"question_id": 5})


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unknown reset option 'question'; expected one of 'question_id'"):
        make().reset(options={"question": "x"})


# ----------------------------------------------------------------------------------------------------- order of calls


def test_calls_out_of_turn_are_errors() -> None:
    env = make()
    for call in (lambda: env.step("x"), env.snapshot):
        with pytest.raises(gym.error.ResetNeeded, match=r"Call reset\(\) before"):
            call()
    env.reset(seed=0)
    env.step(answer("x"))
    for action in (answer("x"), search("x")):
        with pytest.raises(gym.error.ResetNeeded, match=r"The episode has ended \(answer\); call reset\(\) first"):
            env.step(action)
    assert len(env.snapshot().steps) == 1
    env.reset(seed=0)
    assert env.step(search("x"))[2:4] == (False, False)


@pytest.mark.parametrize("action", [None, 5, b"x", ["x"], {"name": "x"}])
def test_an_action_that_is_no_string_is_a_type_error_and_changes_nothing(action: Any) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(TypeError, match=f"An action is a string, found {type(action).__name__}"):
        env.step(action)
    assert env.snapshot().steps == ()


def test_a_subclass_of_str_is_a_string() -> None:
    class Text(str):
        pass

    env = make()
    env.reset(seed=0)
    env.step(Text(search("x")))
    assert type(env.snapshot().steps[0].action) is str


# -------------------------------------------------------------------------------------------------------------- steps


def test_the_steps_before_the_last_give_the_faults_only() -> None:
    env = make()
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    observation, reward, terminated, truncated, info = env.step(search("The Seventh Seal"))
    assert HERMES.parse_observation(observation)[0].content["status"] == "ok"
    assert (reward, terminated, truncated, info) == (0.0, False, False, {"faults": ()})
    observation, *_, info = env.step("hm")
    assert [fault.kind for fault in info["faults"]] == ["malformed_action"]
    assert HERMES.parse_observation(observation)[0].content["error"]["code"] == "malformed_action"


def test_the_last_step_pays_and_tells_everything() -> None:
    env = make()
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    env.step(search("The Seventh Seal"))
    observation, reward, terminated, truncated, info = env.step(answer("Faro."))
    assert (observation, terminated, truncated) == ("", True, False)
    assert set(info) == LAST_INFO
    assert info["trace"] is env.snapshot()
    assert reward == score(info["trace"]).total == 0.0  # Faro is not Fårö after the official normalisation
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    env.step(search("The Seventh Seal"))
    _, reward, *_, info = env.step(answer("fårö."))
    assert reward == score(info["trace"]).total
    assert 0.6 < reward < 1
    assert info["metrics"] == {"em": 1.0, "cover_em": 1.0, "f1": 1.0}
    assert set(info["reward_parts"]) == {"answer", "contract", "provenance", "support", "economy"}
    assert (info["stop_reason"], info["unscored"], info["question_id"]) == ("answer", None, "sample-hotpotqa-01")


def test_max_steps_truncates_inside_and_an_answer_in_the_last_step_terminates() -> None:
    env = make(max_steps=2, rubric="additive")
    env.reset(seed=0)
    env.step(search("film"))
    _, reward, terminated, truncated, info = env.step(search("city"))
    assert (terminated, truncated, info["stop_reason"]) == (False, True, "max_steps")
    assert reward == score(info["trace"], "additive").total > 0  # paid although truncated
    env.reset(seed=0)
    env.step(search("film"))
    assert env.step(answer("x"))[2:4] == (True, False)


def test_parts_that_do_not_apply_are_left_out() -> None:
    env = make()
    env.reset(seed=0)
    parts = env.step(answer("x"))[4]["reward_parts"]
    assert set(parts) == {"answer", "contract", "provenance", "support"}
    assert all(type(value) is float for value in parts.values())


def test_calls_of_one_action_run_in_order_and_refused_ones_do_not_run() -> None:
    env = make()
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    calls = [
        Call("search", {"query": "Seal"}),
        Call("nope", {}),
        Call("search", {}),
        Call("open_page", {"title": "David Lean"}),
    ]
    observation, *_, info = env.step(HERMES.render_call(*calls))
    results = HERMES.parse_observation(observation)
    assert [result.name for result in results] == ["search", "nope", "search", "open_page"]
    assert [result.content.get("status") for result in results] == ["ok", None, None, "ok"]
    assert [result.content["error"]["code"] for result in results[1:3]] == ["unknown_tool", "invalid_arguments"]
    assert [(fault.kind, fault.call) for fault in info["faults"]] == [("unknown_tool", 1), ("invalid_arguments", 2)]
    step = env.snapshot().steps[-1]
    assert [response is None for response in step.responses] == [False, True, True, False]


def test_a_lone_surrogate_is_a_fault_that_the_record_shows_as_an_escape() -> None:
    env = make()
    env.reset(seed=0)
    *_, info = env.step(answer("x\ud800"))
    assert [fault.message for fault in info["faults"]] == ["The action is not valid Unicode text."]
    assert env.snapshot().steps[0].action.startswith("<answer>x\\ud800</answer>")


# ------------------------------------------------------------------------------------------------------------ snapshot


@EVERY_ID
def test_a_fork_continues_as_the_original_does(env_id: str) -> None:
    options = (
        {"noise": 0.4} if env_id == "MTR-Synthetic-v0" else {"tool_actor": NoisyToolActor(GroundedToolActor(), 0.4)}
    )
    env, other = make(env_id, **options), make(env_id, **options)
    env.reset(seed=11)
    actions = script(env.snapshot())
    whole = play(env)
    for k in range(len(actions)):
        for fork in (env, other):
            observation, info = fork.restore(decode(encode(whole.upto(k))) if fork is other else whole.upto(k))
            assert set(info) == INFO
            assert len(info["messages"]) == 2 + 2 * k
            assert observation == (whole.steps[k - 1].observation if k else env.reset(seed=11)[0])
            fork.restore(whole.upto(k))
            for action in actions[k:]:
                last = fork.step(action)
            assert encode(fork.snapshot()) == encode(whole)
            assert last[1] == score(whole).total


def test_a_snapshot_stays_as_it_is_while_the_environment_goes_on() -> None:
    env = make()
    env.reset(seed=0)
    start = env.snapshot()
    env.step(search("x"))
    middle = env.snapshot()
    env.step(answer("x"))
    assert (len(start.steps), len(middle.steps), len(env.snapshot().steps)) == (0, 1, 2)


def test_a_finished_trace_is_restored_as_finished_and_one_of_another_grammar_not_at_all() -> None:
    env = make()
    env.reset(seed=0)
    trace = play(env)
    observation, _ = env.restore(trace)
    assert observation == ""
    with pytest.raises(gym.error.ResetNeeded, match="has ended"):
        env.step("x")
    with pytest.raises(ValueError, match="grammar is 'hermes' there and 'react' here"):
        make(grammar="react").restore(trace)


def test_render_gives_the_transcript_in_mode_ansi_only() -> None:
    env = make(render_mode="ansi")
    assert env.render() is None
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    assert "On which island" in str(env.render())
    env.step(search("The Seventh Seal"))
    env.step("\x1b[31mred \u202e")
    env.step(answer("x"))
    text = str(env.render())
    for part in ("[1/8] <tool_call>", "-> <tool_response>", "! malformed_action (policy):", "[3/8]", "Ended: answer"):
        assert part in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    silent = make()
    silent.reset(seed=0)
    assert silent.render() is None


# -------------------------------------------------------------------------------------------------------- determinism

PLAY = """
import sys
sys.path.insert(0, "tests")
from test_env import ENV_IDS, make, play
from mtr_env.trace import encode
for env_id in ENV_IDS:
    env = make(env_id)
    for seed in range(6):
        env.reset(seed=seed)
        sys.stdout.buffer.write(encode(play(env)) + b"\\n")
noisy = make("MTR-Synthetic-v0", noise=0.5)
for seed in range(6):
    noisy.reset(seed=seed)
    sys.stdout.buffer.write(encode(play(noisy)) + b"\\n")
"""


def test_two_processes_with_different_hash_seeds_write_the_same_bytes() -> None:
    outputs = []
    for hash_seed in ("0", "12345"):
        run = subprocess.run(
            [sys.executable, "-c", PLAY],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        outputs.append(run.stdout)
    assert outputs[0].count(b"\n") == 6 * (len(ENV_IDS) + 1)
    assert hashlib.sha256(outputs[0]).hexdigest() == hashlib.sha256(outputs[1]).hexdigest()


# ------------------------------------------------------------------------------------------------- faults of the actor


class Wrapped:
    """A grounded actor with something else for the queries of a table."""

    name = "wrapped"

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.keys: list[Any] = []

    def __deepcopy__(self, memo: object) -> Wrapped:
        return self

    def respond(self, call: Call, spec: Any, view: Any, history: Any, key: Any) -> Any:
        self.keys.append((key, len(history)))
        found = self.table.get(call.arguments.get("query", ""))
        if isinstance(found, BaseException):
            raise found
        return GroundedToolActor().respond(call, spec, view, history, key) if found is None else found


BAD_VALUES: dict[str, Any] = {
    "wrong": {"status": "fine"},
    "extra": {"status": "not_found", "results": [], "message": "x", "more": 1},
    "text": "text",
    "none": None,
    "object": object(),
    "set": {1, 2},
    "int keys": {1: 2},
    "nan": float("nan"),
    "surrogate": {"status": "not_found", "results": [], "message": "\ud800"},
    "surrogate key": {"\ud800": 1},
    "secret": {"secret": "the simulator's mistake"},
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_an_invalid_response_is_the_simulators_fault(what: str) -> None:
    env = make(tool_actor=Wrapped({"bad": Response(BAD_VALUES[what], ("p0", "p0s0"))}))
    for right in (False, True):
        env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
        observation, reward, terminated, truncated, info = env.step(search("bad"))
        (fault,) = info["faults"]
        assert (fault.kind, fault.blame, fault.call) == ("invalid_response", "simulator", 0)
        assert (reward, terminated, truncated) == (0.0, False, False)
        error = HERMES.parse_observation(observation)[0].content["error"]
        assert error["code"] == "invalid_response"
        assert "not your mistake" in error["message"]
        assert "secret" not in observation
        assert [*env.snapshot().exchanges()] == []
        _, reward, terminated, truncated, info = env.step(answer("Fårö" if right else "Rome"))
        assert (terminated, truncated) == (True, False)
        if right:
            assert info["unscored"] is None
            assert info["reward_parts"] == {"answer": 1.0, "contract": 1.0, "provenance": 1.0, "support": 0.0}
            assert reward == pytest.approx(0.6 + 0.4 * 2 / 3)
        else:
            assert (reward, info["reward_parts"]) == (0.0, None)
            assert "search returned" in info["unscored"]
        saved = encode(info["trace"])
        assert encode(decode(saved)) == saved
        assert score(decode(saved)) == score(info["trace"])


@pytest.mark.parametrize(
    "error", [InfrastructureError("quota\nexceeded \ud800"), TimeoutError(), KeyError("x"), RecursionError()]
)
def test_an_outage_ends_the_episode_unscored(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    env = make(tool_actor=Wrapped({"bad": error}))
    env.reset(seed=0, options={"question_id": "sample-hotpotqa-01"})
    _, reward, terminated, truncated, info = env.step(search("Seal", "bad", "Seal"))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert (info["stop_reason"], info["reward_parts"]) == ("infrastructure", None)
    assert info["unscored"].startswith(f"search: {type(error).__name__}")
    assert [(fault.kind, fault.blame, fault.call) for fault in info["faults"]] == [
        ("infrastructure", "infrastructure", 1)
    ]
    assert [response is None for response in info["trace"].steps[0].responses] == [False, True, True]
    assert decode(encode(info["trace"])) == info["trace"]
    assert "A ToolActor failed" in caplog.text
    with pytest.raises(gym.error.ResetNeeded):
        env.step("x")
    env.reset(seed=0)
    assert env.step(search("Seal"))[2:4] == (False, False)


@pytest.mark.parametrize("value", [{"status": "ok"}, "text", 5, [], TypeError])
def test_an_actor_that_returns_no_response_is_an_outage(value: Any) -> None:
    env = make(tool_actor=Wrapped({"bad": value}))
    env.reset(seed=0)
    *_, truncated, info = env.step(search("bad"))
    assert truncated
    assert "a ToolActor returns a Response, found" in info["unscored"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_what_stops_a_program_stops_it(error: BaseException) -> None:
    env = make(tool_actor=Wrapped({"bad": error}))
    env.reset(seed=0)
    with pytest.raises(type(error)):
        env.step(search("bad"))
    assert env.snapshot().steps == ()


def test_the_key_counts_earlier_attempts_of_the_same_call_also_those_that_failed() -> None:
    actor = Wrapped({"bad": Response("invalid")})
    env = make(tool_actor=actor)
    env.reset(seed=9)
    env.step(search("bad", "x", "bad", "x"))
    env.step(HERMES.render_call(Call("search", {})))
    env.step(search("x", "bad"))
    queries = [(key.call.split('"')[-2], key.attempt, history) for key, history in actor.keys]
    assert queries == [("bad", 0, 0), ("x", 0, 0), ("bad", 1, 1), ("x", 1, 1), ("x", 2, 2), ("bad", 2, 3)]
    assert {key.seed for key, _ in actor.keys} == {9}


def test_an_actor_sees_no_gold() -> None:
    seen: list[Any] = []

    class Nosy(Wrapped):
        def respond(self, call: Call, spec: Any, view: Any, history: Any, key: Any) -> Any:
            seen.append(view)
            return super().respond(call, spec, view, history, key)

    env = make(tool_actor=Nosy({}))
    env.reset(seed=0)
    env.step(search("x"))
    assert not {"answer", "aliases", "evidence", "decomposition", "golds"} & set(dir(seen[0]))
