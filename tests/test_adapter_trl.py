"""TRL's rollout function without TRL: a scripted sampler in place of a model."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtr_env.adapters.trl import Rollouts, Sampled, make_rollout_func, trainer_sampler
from mtr_env.errors import InfrastructureError, PromptError
from mtr_env.policies.oracle import Oracle
from mtr_env.question import Question
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.testing.byte_tokenizer import PAIR, ByteTokenizer
from mtr_env.testing.parity import FaultyToolActor
from mtr_env.tool import Toolset
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import Response
from mtr_env.transcript import messages

TOKENIZER = ByteTokenizer()


class Scripted:
    """Samples what the oracle would write, byte by byte, with a non-canonical id where it can."""

    def __init__(self, rollouts: Rollouts) -> None:
        self.rollouts = rollouts
        self.game = rollouts.game
        self.batches: list[int] = []
        self._known: dict[str, Any] = {}

    def __call__(self, trainer: Any) -> Scripted:
        return self

    def sample(self, contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        self.batches.append(len(contexts))
        return [self._one(TOKENIZER.decode(context), most) for context in contexts]

    def _one(self, context: str, most: int) -> Sampled:
        prompt = next(p for p in self.actions if context.startswith(p))
        turn = context.count("[assistant]") - 1
        ids = self.rollouts.encoder.action(self.actions[prompt][turn])
        ids = _non_canonical(ids)[:most]
        return Sampled(ids, [-0.5] * len(ids))

    @property
    def actions(self) -> dict[str, list[str]]:
        if not self._known:
            for question_id in self.game.world.ids:
                stage, trace = self.game.begin(question_id, 0)
                chat = messages(trace, stage.prompt)
                player, written = Oracle(self.game.grammar).for_episode(trace), []
                from mtr_env.episode import drive

                turns = list(chat)
                while trace.stop_reason is None:
                    action = player(turns, [])
                    trace = drive(stage, trace, action, self.game.tool_actor)
                    written.append(action)
                    turns += [
                        {"role": "assistant", "content": action},
                        {"role": "user", "content": trace.steps[-1].observation},
                    ]
                self._known[TOKENIZER.apply_chat_template(chat, add_generation_prompt=True)] = written
        return self._known


class Engine:
    """The part of TRL's vLLM engine that is asked: of each position, the most likely tokens by rank."""

    def __init__(self, sample: Any, known: bool = True) -> None:
        self.sample, self.known = sample, known
        self.max_completion_length = 4096
        self.asked: list[int] = []

    def generate(self, prompts: list[list[int]], images: None, num_generations: int) -> tuple[Any, ...]:
        assert (images, num_generations) == (None, 1)
        self.asked.append(self.max_completion_length)
        ids = [sampled.ids for sampled in self.sample(prompts, self.max_completion_length)]
        if not self.known:
            return prompts, ids, None, None
        return prompts, ids, [[[-0.1, -0.5]] * len(i) for i in ids], [[[0, token] for token in i] for i in ids]


TRAINER = SimpleNamespace(state=SimpleNamespace(global_step=0))


def _non_canonical(ids: list[int]) -> list[int]:
    out: list[int] = []
    for i in ids:
        if out and out[-1] == ord("t") and i == ord("o"):
            out[-1] = PAIR
        else:
            out.append(i)
    return out


def scripted(**options: Any) -> tuple[Rollouts, Scripted]:
    rollouts = Rollouts(make_game("MTR-HotpotQA-v0", limit=4, **options), TOKENIZER, max_tokens=20_000)
    script = Scripted(rollouts)
    rollouts.sampler = lambda trainer: script.sample
    return rollouts, script


def test_ids_masks_and_logprobs_are_those_recorded_in_the_trace_position_by_position() -> None:
    rollouts, _ = scripted()
    rows = rollouts.rows(rollouts.game.world.ids)
    ids = [row["question_id"] for row in rows]
    episodes = rollouts.play([(i, 5) for i in ids], rollouts.sampler(None))
    for episode in episodes:
        stage, start = rollouts.game.begin(episode.trace.question.id, 5)
        encoded = rollouts.encoder.trace(episode.trace, messages(start, stage.prompt))
        assert encoded == (episode.prompt_ids, episode.completion_ids, episode.mask)
        assert PAIR in episode.completion_ids
        assert len(episode.logprobs) == len(episode.completion_ids)
        assert all((lp == -0.5) == bool(own) for lp, own in zip(episode.logprobs, episode.mask, strict=True))
        assert score(episode.trace).total == 1.0


def test_a_group_shares_question_and_seed_and_is_played_in_lock_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts, script = scripted()
    [first, second, *_] = rollouts.rows(rollouts.game.world.ids)
    started: list[tuple[str, int]] = []
    play = rollouts.play
    monkeypatch.setattr(rollouts, "play", lambda starts, sample: (started.extend(starts), play(starts, sample))[1])
    output = rollouts([first["prompt"]] * 3 + [second["prompt"]] * 3, TRAINER)
    groups = [{*started[:3]}, {*started[3:]}]
    assert len(started) == 6 and [len(group) for group in groups] == [1, 1], "one question and one seed a group"
    [(question, seed)], [(other, another)] = groups
    assert [question, other] == [first["question_id"], second["question_id"]] and seed != another
    later = SimpleNamespace(state=SimpleNamespace(global_step=1))
    rollouts([first["prompt"]], later)
    assert started[-1][0] == question and started[-1][1] > seed, "the seed rises with the step"
    assert script.batches[0] == 6
    assert output["mtr_reward"] == [1.0] * 6
    assert {len(output[key]) for key in ("prompt_ids", "completion_ids", "logprobs", "env_mask")} == {6}


def test_rewards_and_every_part_are_logged_by_name() -> None:
    rollouts, _ = scripted()
    [row, *_] = rollouts.rows(rollouts.game.world.ids)
    output = rollouts([row["prompt"]] * 2, TRAINER)
    logged: dict[str, float] = {}
    rewards = rollouts.reward(output["mtr_reward"], output["mtr_log"], log_metric=logged.__setitem__, prompts=[])
    assert rewards == [1.0, 1.0]
    parts = ("reward", "answer", "contract", "provenance", "support", "economy", "em", "f1", "unscored", "calls")
    assert {f"mtr/{name}" for name in parts} <= set(logged)
    assert {"mtr/seconds/sample", "mtr/seconds/world"} <= set(logged)


def test_the_worlds_seconds_hold_its_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> Any:
        time.sleep(0.2)
        return score(*arguments)

    rollouts, _ = scripted()
    [row, *_] = rollouts.rows(rollouts.game.world.ids)
    monkeypatch.setattr("mtr_env.adapters.trl.score", slow)
    rollouts([row["prompt"]] * 2, TRAINER)
    assert rollouts.seconds["world"] > 0.4


def test_where_trl_has_vllm_it_samples_and_its_length_limit_is_given_back() -> None:
    rollouts, script = scripted()
    [row, *_] = rollouts.rows(rollouts.game.world.ids)
    expected = rollouts([row["prompt"]] * 2, TRAINER)
    rollouts.sampler = trainer_sampler
    engine = Engine(script.sample)
    trainer = trainer_on(1, vllm="colocate")
    trainer.vllm_generation = engine
    assert {**rollouts([row["prompt"]] * 2, trainer), "mtr_log": expected["mtr_log"]} == expected
    assert expected["logprobs"][0][0] == -0.5  # of the sampled token, not of the most likely one
    assert {*engine.asked} == {rollouts.max_turn_tokens}
    assert engine.max_completion_length == 4096
    trainer.vllm_generation = Engine(script.sample, known=False)
    assert rollouts([row["prompt"]] * 2, trainer)["logprobs"] is None
    broken = Engine(None)
    trainer.vllm_generation = broken
    with pytest.raises(TypeError):
        rollouts([row["prompt"]], trainer)
    assert broken.max_completion_length == 4096


def trainer_on(
    processes: int, *, kind: str = "MULTI_GPU", zero: int = 2, vllm: str | None = None, parallel: int = 1
) -> SimpleNamespace:
    """A trainer as far as it says how it samples: on so many processes, with vLLM in this mode."""
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=zero))
    return SimpleNamespace(
        state=TRAINER.state,
        accelerator=SimpleNamespace(num_processes=processes, distributed_type=kind, state=state),
        args=SimpleNamespace(vllm_mode=vllm, vllm_tensor_parallel_size=parallel),
        use_vllm=vllm is not None,
    )


def test_sampling_that_all_processes_share_is_refused_where_there_are_several() -> None:
    shared = [
        ({"vllm": "server"}, "A vLLM server samples for all"),
        ({"vllm": "colocate", "parallel": 2}, "tensor-parallel size above 1 samples"),
        ({"kind": "FSDP"}, "FSDP shards samples"),
        ({"kind": "DEEPSPEED", "zero": 3}, r"DeepSpeed shards \(ZeRO stage 3\) samples"),
    ]
    for settings, message in shared:
        with pytest.raises(ValueError, match=message):
            trainer_sampler(trainer_on(2, **settings))
        assert callable(trainer_sampler(trainer_on(1, **settings)))
    alone = [
        {"vllm": "colocate"},
        {"kind": "MULTI_CPU"},
        {"kind": "DEEPSPEED"},
        {"kind": "FSDP", "vllm": "colocate"},
    ]
    assert all(callable(trainer_sampler(trainer_on(2, **settings))) for settings in alone)


def test_where_no_prompt_has_room_for_an_action_nothing_is_sampled() -> None:
    game = make_game("MTR-HotpotQA-v0", limit=8)
    rollouts = Rollouts(game, TOKENIZER, max_tokens=300)
    starts = [(question_id, 0) for question_id in game.world.ids]
    with pytest.raises(PromptError, match="but max_tokens is 300: raise it, or list the tools with a '-compact' gram"):
        rollouts.play(starts, lambda contexts, most: pytest.fail("nothing to sample"))
    wide = Rollouts(game, TOKENIZER, max_tokens=20_000)
    lengths = [len(wide.encoder.prompt(row["prompt"])) for row in wide.rows(game.world.ids)]
    rollouts.max_tokens = max(lengths) + rollouts.max_turn_tokens - 1  # all but the longest have room
    answer = [*b"<answer>x</answer>", 256]
    played = rollouts.play(starts, lambda contexts, most: [Sampled(answer, None) for _ in contexts])
    assert [episode.cut for episode in played] == [length == max(lengths) for length in lengths]


def test_an_unscored_episode_has_no_reward() -> None:
    class Down:
        name = "down"

        def __deepcopy__(self, memo: object) -> Down:
            return self

        def respond(self, *request: object) -> Response:
            raise ConnectionError

    game = make_game("MTR-HotpotQA-v0", limit=1, tool_actor=Down())
    rollouts = Rollouts(game, TOKENIZER, max_tokens=20_000)
    call = b'<tool_call>{"name":"search","arguments":{"query":"x"}}</tool_call>'
    rollouts.sampler = lambda trainer: lambda contexts, most: [Sampled([*call, 256], None) for _ in contexts]
    [row] = rollouts.rows(game.world.ids)
    output = rollouts([row["prompt"]], TRAINER)
    assert output["mtr_reward"] == [None]
    assert output["logprobs"] is None


def test_a_simulator_fault_in_an_episode_that_the_budget_cut_short_is_not_charged() -> None:
    game = make_game("MTR-HotpotQA-v0", limit=1, tool_actor=FaultyToolActor(0, "response"))
    call = [*b'<tool_call>{"name":"search","arguments":{"query":"x"}}</tool_call>', 256]
    rollouts = Rollouts(game, TOKENIZER, max_tokens=20_000)
    [row] = rollouts.rows(game.world.ids)
    rollouts.max_tokens = len(rollouts.encoder.prompt(row["prompt"])) + rollouts.max_turn_tokens
    rollouts.sampler = lambda trainer: lambda contexts, most: [Sampled(call, None) for _ in contexts]
    output = rollouts([row["prompt"]], TRAINER)
    assert output["mtr_log"][0]["cut"] == 1.0
    assert output["mtr_reward"] == [None]


class Down(TemplateToolMaker):
    """A ToolMaker whose endpoint has no tools for some questions."""

    def __init__(self) -> None:
        super().__init__()
        self.down: Sequence[str] = ()

    def make(self, question: Question, key: str = "") -> Toolset:
        if question.id in self.down:
            raise InfrastructureError("no tools today")
        return super().make(question, key)


def test_an_episode_without_tools_has_no_reward_and_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    maker = Down()
    ids = make_game("MTR-HotpotQA-v0", limit=3).world.ids
    maker.down = ids[:1]
    rollouts = Rollouts(make_game("MTR-HotpotQA-v0", limit=3, tool_maker=maker), TOKENIZER, max_tokens=20_000)
    rows = rollouts.rows(ids)
    assert [row["question_id"] for row in rows] == list(ids[1:])
    assert f"question {ids[0]!r} is left out: tool maker: no tools today" in caplog.text
    with pytest.raises(InfrastructureError, match="No question can be trained on"):
        rollouts.rows(ids[:1])
    maker.down = ids[1:2]
    rollouts.game._stages.clear()
    answer = [*b"<answer>x</answer>", 256]
    rollouts.sampler = lambda trainer: lambda contexts, most: [Sampled(answer, None) for _ in contexts]
    output = rollouts([row["prompt"] for row in rows], TRAINER)
    assert output["mtr_reward"] == [None, 0.0]
    assert (output["completion_ids"], output["env_mask"]) == ([[256], answer], [[0], [1] * len(answer)])


def test_an_action_that_was_cut_off_is_closed_by_a_token_that_is_not_the_policys() -> None:
    game = make_game("MTR-HotpotQA-v0", limit=1, max_steps=2)
    rollouts = Rollouts(game, TOKENIZER, max_tokens=20_000, max_turn_tokens=5)
    [episode] = rollouts.play([(game.world.ids[0], 0)], lambda contexts, most: [Sampled([97] * most, None)])
    assert episode.completion_ids[:6] == [97] * 5 + [256]
    assert episode.mask[:6] == [1] * 5 + [0]
    assert [fault.kind for fault in episode.trace.faults] == ["malformed_action"] * 2


def test_the_token_budget_ends_an_episode_and_touches_no_other_of_its_batch() -> None:
    game = make_game("MTR-HotpotQA-v0", limit=2, grammar="hermes-compact")
    rollouts = Rollouts(game, TOKENIZER, max_tokens=3600, max_turn_tokens=900)
    wordy, brief = game.world.ids
    asked = TOKENIZER.encode(game.world.question(wordy).text)

    def sample(contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        """The wordy one fills every action; the brief one calls, in 200 tokens."""
        action = TOKENIZER.encode('<tool_call>{"name":"search","arguments":{"query":"x"}}</tool_call>'.rjust(200))
        is_wordy = [any(list(c[i : i + len(asked)]) == asked for i in range(len(c))) for c in contexts]
        return [Sampled(([97] * 900 if long else [*action, TOKENIZER.eos_token_id])[:most], None) for long in is_wordy]

    cut, fine = rollouts.play([(wordy, 0), (brief, 0)], sample)
    [alone] = rollouts.play([(brief, 0)], sample)
    assert cut.cut and 2700 < len(cut.context) <= 3600
    assert fine.completion_ids == alone.completion_ids
    assert not fine.trace.faults


def test_what_cannot_work_is_refused_at_the_start_with_the_fix() -> None:
    rollouts = make_rollout_func("MTR-HotpotQA-v0", TOKENIZER, max_tokens=100)
    with pytest.raises(ValueError, match="max_tokens is 100: raise it, or list the tools with a '-compact' grammar"):
        rollouts.rows(rollouts.game.world.ids)
    with pytest.raises(ValueError, match="make the data set with the object that plays it"):
        rollouts([[{"role": "user", "content": "?"}]], TRAINER)
    with pytest.raises(ValueError, match="Did you mean 'MTR-HotpotQA-v0'"):
        make_rollout_func("MTR-HotpotQ-v0", TOKENIZER)


def test_two_questions_with_one_prompt_are_refused() -> None:
    rollouts, _ = scripted()
    first, second, *_ = rollouts.game.world.ids
    stage, trace = rollouts.game.begin(second, 0)
    rollouts._asked.add(messages(trace, stage.prompt), first)
    with pytest.raises(ValueError, match="have the same prompt"):
        rollouts.rows([second])


def test_rows_of_a_file_with_one_text_are_refused_where_they_have_one_prompt(tmp_path: Path) -> None:
    """The order of a question's tools follows from its id, so most rows with one text have prompts of their own."""
    context = [["Kolya", ["Kolya is a film.", "It was directed by Ida Sexton."]], ["Prague", ["Prague is a city."]]]
    row = {"question": "Who directed Kolya?", "context": context, "supporting_facts": [["Kolya", 1]], "type": "bridge"}
    rows = [{**row, "_id": f"q{n}", "answer": "Ida Sexton" if n < 3 else "Sexton", "level": "easy"} for n in range(4)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rollouts = make_rollout_func("MTR-HotpotQA-v0", TOKENIZER, source=str(file), max_tokens=20_000)
    assert len(rollouts.rows(["q0", "q1", "q2"])) == 3
    with pytest.raises(ValueError, match=r"'q0' and 'q3' have the same prompt.*; leave one of them out"):
        rollouts.rows(rollouts.game.world.ids)
