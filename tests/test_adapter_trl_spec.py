"""TRL's environment factory: the classes, parity with plain Gymnasium, the reward function, two steps of a trainer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tiny_trl import chat_tokenizer, tiny_model
from mtr_env.adapters.trl import MTRSpec
from mtr_env.adapters.trl_spec import SUBMIT, Episode
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.policies.oracle import Oracle
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Call, Response, Trace, encode

HOTPOT = "MTR-HotpotQA-v0"
WITHOUT_TRAIN = "the train extra is not installed (pip install -e '.[train]')"


def started(spec: MTRSpec, question_id: str | None = None) -> Episode:
    episode = spec.environment_factory[question_id or spec.rows[0]["environment"]]()
    episode.reset(**spec.rows[0])
    return episode


def call(episode: Episode, name: str, /, **arguments: Any) -> Any:
    return json.loads(getattr(episode, name)(**arguments))


def gymnasium(spec: MTRSpec, like: Episode, actions: Sequence[str]) -> tuple[Trace, list[str], float]:
    """The trace, observations and last reward of the same episode in plain Gymnasium."""
    env = MTREnv(spec.game)
    env.reset(seed=like._seed, options={"question_id": like._question_id})
    steps = [env.step(action) for action in actions]
    return env.snapshot(), [step[0] for step in steps], steps[-1][1]


def oracle_calls(spec: MTRSpec, episode: Episode) -> tuple[list[Call], str]:
    trace = play(
        MTREnv(spec.game),
        Oracle(spec.game.grammar, spec.game.tool_actor),
        question_id=episode._question_id,
        seed=episode._seed,
    )
    assert trace.answer is not None
    return [made for step in trace.steps for made in step.calls], trace.answer


def said(text: str | None, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text, **more}]


def paid(spec: MTRSpec, episode: Episode, completion: list[dict[str, Any]], **more: Any) -> float | None:
    [reward] = spec.reward_funcs[0](prompts=[[]], completions=[completion], environments=[episode], **more)
    return reward


# -------------------------------------------------------------------------------------------- what TRL finds on a class


def public(episode: Episode) -> set[str]:
    return {name for name, _ in inspect.getmembers(type(episode), inspect.isfunction) if not name.startswith("_")}


def test_each_question_has_a_class_whose_public_methods_are_its_tools() -> None:
    spec = MTRSpec(HOTPOT)
    assert (
        [row["environment"] for row in spec.rows] == [row["question_id"] for row in spec.rows] == [*spec.game.world.ids]
    )
    for question_id, factory in spec.environment_factory.items():
        stage, _ = spec.game.begin(question_id, 0)
        assert public(factory()) == {*stage.toolset.names, "submit_answer", "reset"}


def test_a_methods_signature_and_docstring_say_the_schema() -> None:
    episode = started(MTRSpec(HOTPOT))
    find = episode.find_in_page  # type: ignore[attr-defined]
    assert find.__name__ == "find_in_page"
    assert str(inspect.signature(find)) == "(*, title: str, phrase: str) -> str"
    assert inspect.getdoc(find) == (
        "Returns the sentences of a page that contain a word or phrase.\n\n"
        "Args:\n    title: The title of the page.\n    phrase: The word or phrase to find."
    )


def test_transformers_reads_the_same_tools_as_a_text_prompt_lists() -> None:
    schema = pytest.importorskip("transformers.utils", reason=WITHOUT_TRAIN).get_json_schema
    spec = MTRSpec(HOTPOT)
    for question_id, factory in spec.environment_factory.items():
        stage, _ = spec.game.begin(question_id, 0)
        for tool in (*stage.toolset.tools, SUBMIT):
            expected = tool.openai()["function"]
            del expected["parameters"]["additionalProperties"]
            for argument in expected["parameters"]["properties"].values():
                argument.pop("minLength", None), argument.pop("maxLength", None)
            found = schema(getattr(factory(), tool.name))["function"]
            assert {key: found[key] for key in expected} == expected


def tool(parameters: dict[str, Any], description: str = "Looks.") -> ToolSpec:
    return ToolSpec("look", description, {"type": "object", **parameters}, {"type": "object"})


class Maker:
    """Writes one tool for every question."""

    name = "maker"

    def __init__(self, only: ToolSpec) -> None:
        self.only = only

    def make(self, question: object, key: str = "") -> Toolset:
        return Toolset((self.only,), maker=self.name)


@pytest.mark.parametrize(
    ("properties", "what"),
    [
        ({"x": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "its argument 'x'"),
        ({"x": {"type": "object", "properties": {"y": {"type": "string"}}}}, "its argument 'x'"),
        ({"x": {"type": "array", "items": {"$ref": "#"}}}, "its argument 'x'"),
        ({"x": {"enum": [["a"]]}}, "its argument 'x'"),
        ({"x": True}, "its argument 'x'"),
        ({"from": {"type": "string"}}, "the name of its argument 'from'"),
        ({"a-b": {"type": "string"}}, "the name of its argument 'a-b'"),
        ({"self": {"type": "string"}}, "the name of its argument 'self'"),
    ],
)
def test_what_no_type_hint_can_say_is_refused_at_the_start(properties: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=rf"Tool 'look': a Python signature cannot say {what}.*make_rollout_func"):
        MTRSpec(HOTPOT, tool_maker=Maker(tool({"properties": properties})))


def test_conditions_among_arguments_are_refused_at_the_start() -> None:
    parameters = {"properties": {"x": {"type": "string"}}, "anyOf": [{"required": ["x"]}]}
    with pytest.raises(ValueError, match="cannot say what holds for all its arguments"):
        MTRSpec(HOTPOT, tool_maker=Maker(tool(parameters)))


# ------------------------------------------------------------------------------------------------- rows, seeds, options


def test_a_row_asks_the_question_and_leaves_the_tools_to_the_chat_template() -> None:
    pytest.importorskip("datasets")
    spec = MTRSpec(HOTPOT, questions=3)
    dataset = spec.train_dataset
    assert dataset.column_names == ["prompt", "environment", "question_id"]
    assert dataset.to_list() == spec.rows and len(spec.rows) == 3
    system, user = spec.rows[0]["prompt"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "submit_answer" in system["content"] and "open_page" not in system["content"]
    assert spec.game.world.question(spec.rows[0]["question_id"]).text in user["content"]


def test_questions_are_a_number_or_ids() -> None:
    ids = MTRSpec(HOTPOT).game.world.ids
    assert [*MTRSpec(HOTPOT, questions=2).environment_factory] == [*ids[:2]]
    assert [*MTRSpec(HOTPOT, questions=[ids[5], ids[3]]).environment_factory] == [ids[5], ids[3]]


def test_every_rollout_of_a_question_has_one_seed() -> None:
    spec, again, other = MTRSpec(HOTPOT), MTRSpec(HOTPOT), MTRSpec(HOTPOT, seed=1)
    ids = [*spec.environment_factory]
    episode = started(spec)
    seed = episode._session.trace.seed
    episode.reset(**spec.rows[0])
    assert {started(same)._session.trace.seed for same in (spec, again)} == {seed} == {episode._session.trace.seed}
    assert len({seed, started(other)._session.trace.seed, started(spec, ids[1])._session.trace.seed}) == 3


def test_nothing_of_an_episode_outlives_its_reset() -> None:
    spec = MTRSpec(HOTPOT)
    episode = started(spec)
    assert episode.reset(**spec.rows[0]) is None  # nothing is added to the prompt
    names, begun = {*vars(episode)}, episode._session.trace
    call(episode, "search", query="x")
    call(episode, "submit_answer", answer="x")
    episode.reset(**spec.rows[0])
    assert {*vars(episode)} == names
    assert episode._session.trace == begun
    assert {name for name in vars(type(episode)) if not callable(getattr(episode, name))} >= {"_question_id", "_seed"}


class Remote(GroundedToolActor):
    remote = True


@pytest.mark.parametrize("actor", [Remote(), NoisyToolActor(Remote(), 0.1)])
def test_an_actor_that_waits_for_a_network_is_refused_with_the_fix(actor: ToolActor) -> None:
    with pytest.raises(ValueError, match=r"waits for a network.*use mtr_env\.adapters\.trl\.make_rollout_func"):
        MTRSpec(HOTPOT, tool_actor=actor)
    assert not NoisyToolActor(GroundedToolActor(), 0.1).remote


# ------------------------------------------------------------------------------------------ parity with plain Gymnasium


@pytest.mark.parametrize("grammar", ["hermes", "react-compact"])
@pytest.mark.parametrize("env_id", [HOTPOT, "MTR-Synthetic-v0"])
def test_the_oracles_calls_give_the_trace_and_reward_of_plain_gymnasium(env_id: str, grammar: str) -> None:
    spec = MTRSpec(env_id, questions=6, grammar=grammar, max_steps=20, limit=6)
    grammar_ = spec.game.grammar
    for question_id in spec.environment_factory:
        episode = started(spec, question_id)
        calls, answer = oracle_calls(spec, episode)
        seen = [getattr(episode, made.name)(**made.arguments) for made in calls]
        actions = [*map(grammar_.render_call, calls), grammar_.render_answer(answer)]
        submitted = started(spec, question_id)
        for made in calls:
            getattr(submitted, made.name)(**made.arguments)
        assert call(submitted, "submit_answer", answer=answer)["status"] == "ok"
        trace, observations, reward = gymnasium(spec, episode, actions)
        contents = [grammar_.parse_observation(text)[0].content for text in observations[:-1]]
        assert [json.loads(text) for text in seen] == contents
        assert paid(spec, submitted, said("Done.")) == paid(spec, episode, said(answer)) == reward
        assert encode(submitted._session.trace) == encode(episode._session.trace) == encode(trace)


def test_noise_is_the_same_as_in_plain_gymnasium() -> None:
    spec = MTRSpec("MTR-Synthetic-v0", limit=4, noise=0.8, max_steps=20)
    for question_id in spec.environment_factory:
        episode = started(spec, question_id)
        calls, _ = oracle_calls(MTRSpec("MTR-Synthetic-v0", limit=4, max_steps=20), episode)
        for made in calls:
            getattr(episode, made.name)(**made.arguments)
        trace, _, _ = gymnasium(spec, episode, [*map(spec.game.grammar.render_call, calls)])
        assert encode(trace) == encode(episode._session.trace)


def test_a_wrong_answer_earns_what_it_earns_in_plain_gymnasium() -> None:
    spec = MTRSpec(HOTPOT, rubric="additive")
    episode = started(spec)
    call(episode, "search", query="who")
    render = spec.game.grammar
    trace, _, reward = gymnasium(
        spec, episode, [render.render_call(Call("search", {"query": "who"})), render.render_answer("Nobody")]
    )
    assert paid(spec, episode, said(" Nobody\n")) == reward > 0
    assert episode._session.trace == trace


@pytest.mark.parametrize("grammar", ["hermes", "react"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": 5},
        {"query": ""},
        {"query": ["x"]},
        {"query": "x", "page": 2},
        {"self": "x", "name": "y", "arguments": "z"},
        {"query": None},
        {"query": "<answer>x</answer>\nFinal Answer: y", "x": {}},
    ],
)
def test_bad_arguments_give_the_error_and_the_trace_of_plain_gymnasium(grammar: str, arguments: dict[str, Any]) -> None:
    spec = MTRSpec(HOTPOT, grammar=grammar)
    episode = started(spec)
    shown = call(episode, "search", **arguments)
    render = spec.game.grammar
    trace, [observation], _ = gymnasium(spec, episode, [render.render_call(Call("search", arguments))])
    assert shown["error"]["code"] == "invalid_arguments"
    assert [shown] == [result.content for result in render.parse_observation(observation)]
    assert episode._session.trace == trace
    assert [fault.kind for fault in trace.faults] == ["invalid_arguments"]


@pytest.mark.parametrize("grammar", ["hermes", "react"])
def test_nothing_in_the_arguments_makes_a_tool_raise(grammar: str) -> None:
    spec = MTRSpec(HOTPOT, grammar=grammar, max_steps=20)
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    bad = ["\ud800", "\ud800<answer>x</answer>", "\ud800</tool_call>", deep, float("nan"), 10**400, "x" * 300_000]
    episode = started(spec)
    for number, value in enumerate(bad, 1):
        for name in ("search", "submit_answer"):
            argument = "query" if name == "search" else "answer"
            error = call(episode, name, **{argument: value})["error"]
            assert error["code"] in ("malformed_action", "invalid_arguments"), value
        assert len(episode._session.trace.steps) == min(2 * number, 20)
    assert {fault.blame for fault in episode._session.trace.faults} == {"policy"}
    assert episode._session.trace.stop_reason is None
    assert encode(episode._session.trace)


@pytest.mark.parametrize("arguments", [{}, {"answer": 5}, {"answer": "x", "sure": True}, {"final": "x"}])
def test_a_bad_submission_is_a_fault_that_the_policy_sees_and_no_answer(arguments: dict[str, Any]) -> None:
    episode = started(MTRSpec(HOTPOT))
    shown = call(episode, "submit_answer", **arguments)
    assert shown["error"]["code"] == "invalid_arguments"
    assert "submit_answer" in shown["error"]["message"]
    [step] = episode._session.trace.steps
    assert [fault.kind for fault in step.faults] == ["invalid_arguments"] and step.answer is None
    assert json.dumps(shown["error"]["message"])[1:-1] in step.observation
    assert call(episode, "submit_answer", answer="x")["status"] == "ok"
    assert episode._session.trace.answer == "x"


def test_each_of_two_parallel_calls_is_a_step() -> None:
    episode = started(MTRSpec(HOTPOT))
    call(episode, "search", query="x")
    call(episode, "search", query="y")
    assert [len(step.calls) for step in episode._session.trace.steps] == [1, 1]


def test_calls_after_the_end_return_an_error_and_change_nothing() -> None:
    spec = MTRSpec(HOTPOT, max_steps=2)
    answered, truncated = started(spec), started(spec)
    call(answered, "submit_answer", answer="x")
    call(truncated, "search", query="x")
    call(truncated, "search", query="x")
    assert (answered._session.trace.stop_reason, truncated._session.trace.stop_reason) == ("answer", "max_steps")
    for episode in (answered, truncated):
        trace = episode._session.trace
        for name, arguments in [("search", {"query": "y"}), ("submit_answer", {"answer": "y"}), ("search", {})]:
            assert call(episode, name, **arguments)["error"]["code"] == "episode_over"
        paid(spec, episode, said("y"))
        assert episode._session.trace is trace


# -------------------------------------------------------------------------------------------------- the reward function

CALL = '<tool_call>{"name": "search", "arguments": {}}</tool_call>'
ANSWERS: list[tuple[list[dict[str, Any]], str | None]] = [
    (said("<think>So.</think>\n<answer> Paris </answer>"), "Paris"),
    (said("  Paris\n"), "Paris"),
    (said("<answer>Paris"), "<answer>Paris"),
    (said("Final Answer: Paris"), "Final Answer: Paris"),
    (said('<tool_call>{"name": "search"'), '<tool_call>{"name": "search"'),
    (said(CALL), CALL),  # a call that TRL did not read is what the policy said last
    ([*said("Rome"), {"role": "tool", "name": "search", "content": "{}"}, *said("Paris")], "Paris"),
    ([*said("Rome"), {"role": "tool", "name": "search", "content": "Paris"}], None),
    (said("Paris", tool_calls=[{"type": "function", "function": {"name": "search", "arguments": {}}}]), None),
    (said("Paris", tool_calls=[]), "Paris"),
    (said(" \n"), None),
    (said(None), None),
    ([], None),
]


@pytest.mark.parametrize(("completion", "answer"), ANSWERS)
def test_the_last_message_answers_when_it_calls_no_tool(completion: list[dict[str, Any]], answer: str | None) -> None:
    spec = MTRSpec(HOTPOT)
    episode = started(spec)
    assert paid(spec, episode, completion) == 0.0
    assert episode._session.trace.answer == answer
    assert paid(spec, episode, completion) == 0.0  # asked again


def test_the_answer_that_the_grammar_reads_keeps_its_thought() -> None:
    spec = MTRSpec(HOTPOT, grammar="react")
    episode = started(spec)
    paid(spec, episode, said("Thought: so.\nFinal Answer: Paris"))
    assert episode._session.trace.answer == "Paris"
    assert spec.game.grammar.thought(episode._session.trace.steps[0].action) == "so."


@pytest.mark.parametrize("rubric", ["mtr-v0", "additive"])
def test_stopping_without_an_answer_is_paid_as_a_truncation_at_that_step(rubric: str) -> None:
    spec, short = MTRSpec(HOTPOT, rubric=rubric), MTRSpec(HOTPOT, rubric=rubric, max_steps=2)
    stopped, truncated = started(spec), started(short)
    for episode in (stopped, truncated):
        call(episode, "search", query="x")
        call(episode, "search")
    assert (stopped._session.trace.stop_reason, truncated._session.trace.stop_reason) == (None, "max_steps")
    actions = [step.action for step in truncated._session.trace.steps]
    _, _, reward = gymnasium(short, truncated, actions)
    assert paid(spec, stopped, said("")) == paid(short, truncated, said("")) == reward
    assert (reward > 0) == (rubric == "additive")
    assert paid(spec, started(spec), []) == 0.0  # not even a call


class Scripted:
    """A ToolActor that gives one response, or raises."""

    name = "scripted"

    def __init__(self, result: Response | Exception) -> None:
        self.result = result

    def respond(self, *request: object) -> Response:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize("result", [InfrastructureError("down"), ConnectionError(), Response("not an object")])
def test_an_episode_that_is_unscored_has_no_reward(result: Response | Exception) -> None:
    spec = MTRSpec(HOTPOT, tool_actor=Scripted(result))
    logged: dict[str, float] = {}
    for completion in (said("wrong"), said(""), []):
        episode = started(spec)
        code = call(episode, "search", query="x")["error"]["code"]
        assert code == ("invalid_response" if isinstance(result, Response) else "infrastructure")
        assert paid(spec, episode, completion, log_metric=logged.__setitem__) is None
    assert logged["mtr/unscored"] == 1.0
    assert "mtr/reward" not in logged


def test_a_mistake_in_the_set_up_is_raised_where_trl_does_not_hide_it() -> None:
    spec = MTRSpec(HOTPOT, tool_actor=Scripted(ToolsetError("no such binding")))
    episode = started(spec)
    with pytest.raises(ToolsetError):
        call(episode, "search", query="x")
    with pytest.raises(ToolsetError, match="no such binding"):
        paid(spec, episode, said("x"))
    episode.reset()
    assert paid(spec, episode, said("x")) == 0.0


def test_rewards_are_in_order_and_every_part_is_logged_by_name() -> None:
    spec = MTRSpec(HOTPOT)
    right, wrong, cut = (started(spec) for _ in range(3))
    calls, answer = oracle_calls(spec, right)
    for made in calls:
        getattr(right, made.name)(**made.arguments)
    logged: dict[str, float] = {}
    rewards = spec.reward_funcs[0](
        prompts=[[]] * 3,
        completions=[said(answer), said("x"), said("")],
        completion_ids=[[1]] * 3,
        environments=[right, wrong, cut],
        question_id=["q"] * 3,
        trainer_state=None,
        log_extra=None,
        log_metric=logged.__setitem__,
    )
    assert rewards == [1.0, 0.0, 0.0]
    assert score(right._session.trace).total == 1.0
    parts = ("reward", "answer", "contract", "provenance", "support", "economy", "em", "f1", "unscored", "calls")
    assert {f"mtr/{name}" for name in parts} <= set(logged)
    assert logged["mtr/answered"] == pytest.approx(2 / 3)
    assert logged["mtr/cut"] == pytest.approx(1 / 3)
    assert logged["mtr/reward"] == pytest.approx(1 / 3)


# ----------------------------------------------------------------------------------------------------- the real trainer


def scripted_trainer(game: Game) -> type[Any]:
    """TRL's trainer. In the first step every second rollout searches, answers right and says goodbye, and the others
    answer wrong at once; in the second step the model samples for itself."""
    from trl import GRPOTrainer

    golds = {(q := game.world.question(i)).text: q.golds[0] for i in game.world.ids}

    def written(prompt: str, is_caller: bool) -> str:
        turn = prompt.count("<|im_start|>assistant")
        if not is_caller:
            return "Nobody<|im_end|>"
        gold = next(gold for text, gold in golds.items() if text in prompt)
        made = [Call("search", {"query": "who"}), Call("submit_answer", {"answer": gold})]
        if turn > len(made):
            return "Goodbye.<|im_end|>"
        return game.grammar.render_call(made[turn - 1]) + "<|im_end|>"

    class ScriptedTrainer(GRPOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
            if self.state.global_step:
                return super()._generate_single_turn(prompt_ids, *rest, **more)
            prompts = self.processing_class.batch_decode(prompt_ids)
            is_first = all(prompt.count("<|im_start|>assistant") == 1 for prompt in prompts)
            texts = [written(prompt, not (is_first and i % 2)) for i, prompt in enumerate(prompts)]
            return [self.processing_class.encode(text) for text in texts], None

    return ScriptedTrainer


@pytest.mark.adapters
@pytest.mark.filterwarnings("ignore")  # other people's
def test_trl_trains_two_steps_through_the_environment_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason=WITHOUT_TRAIN)
    import torch
    from trl import GRPOConfig

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.manual_seed(0)
    spec = MTRSpec("MTR-Synthetic-v0", limit=2, distractors=2, extra_tools=0)
    texts = [json.dumps(spec.game.begin(i, 0)[0].toolset.openai()) for i in spec.environment_factory]
    tokenizer = chat_tokenizer([*texts, *[message["content"] for row in spec.rows for message in row["prompt"]]])
    model = tiny_model(tokenizer)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trainer = scripted_trainer(spec.game)(
        model=model,
        processing_class=tokenizer,
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=spec.reward_funcs,
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=600,
            max_tool_calling_iterations=spec.game.setup.max_steps,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
    )
    trainer.train()
    assert trainer.state.global_step == 2
    first, second, *_ = trainer.state.log_history
    assert first["mtr/answer"] == first["mtr/em"] == 0.5
    assert first["mtr/calls"] == 0.5 and first["mtr/answered"] == 1.0 and first["mtr/policy_faults"] == 0.0
    assert first["rewards/reward/mean"] == pytest.approx(first["mtr/reward"])
    assert 0.3 <= first["mtr/reward"] <= 0.5
    assert first["tools/failure_frequency"] == 0.0 and first["tools/call_frequency"] == 1.0
    assert "mtr/reward" in second
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
