"""verl's agent loop in verl's own worker, down to the queue to the trainer; a scripted server stands for the model."""

from __future__ import annotations

import asyncio
import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from test_lint_tools import SHAPES, agrees, tool
from test_readme import blocks

from mtr_env import draw
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import make_game
from mtr_env.rollout import play
from mtr_env.testing.byte_tokenizer import PAIR, ByteTokenizer
from mtr_env.testing.parity import FaultyToolActor, Scenario, differences, expected, scenarios
from mtr_env.trace import Trace
from mtr_env.transcript import messages

pytestmark = [pytest.mark.adapters, pytest.mark.filterwarnings("ignore")]  # verl warns of what it does without
ROOT = Path(__file__).resolve().parents[1]
WITHOUT = "the verl extra is not installed (an environment of its own: constraints-verl.txt)"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("verl", reason=WITHOUT)
    driver = pytest.importorskip("benchmarks.parity_drivers.verl", reason=WITHOUT)
    adapter = pytest.importorskip("mtr_env.adapters.verl", reason=WITHOUT)

SYNTHETIC = "MTR-Synthetic-v0"
LOOP = {"name": "mtr", "_target_": "mtr_env.adapters.verl.MTRAgentLoop"}
SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "to"}}</tool_call>'


@pytest.fixture
def row() -> dict[str, Any]:
    [made] = adapter.rows(SYNTHETIC, questions=1, limit=4)
    return dict(made)


def oracle(game: Game, question_id: str) -> Trace:
    return play(MTREnv(game), Oracle(game.grammar, game.tool_actor), question_id=question_id)


def oracle_texts(row: dict[str, Any]) -> list[str]:
    trace = oracle(make_game(SYNTHETIC, limit=4), row["extra_info"]["question_id"])
    return [step.action for step in trace.steps]


class Servers:
    """A server whose every rollout gets the same texts; `without` counts the rollout (from 1) that it aborts."""

    def __init__(self, texts: list[str], *, without: int = 0, logprobs: bool = True) -> None:
        self.texts, self.without, self.logprobs = texts, without, logprobs
        self.rollouts: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []

    async def generate(self, request_id: str, **request: Any) -> Any:
        self.requests.append(request)
        server = self.rollouts.setdefault(request_id, driver.Server(ByteTokenizer(), self.texts))
        output = await server.generate(**request)
        if list(self.rollouts).index(request_id) + 1 == self.without:
            return output.model_copy(update={"token_ids": [], "stop_reason": "aborted"})
        ids = non_canonical(output.token_ids)
        return output.model_copy(update={"token_ids": ids, "log_probs": [-0.5] * len(ids) if self.logprobs else None})


def non_canonical(ids: list[int]) -> list[int]:
    found: list[int] = []
    for i in ids:
        if found and found[-1] == ord("t") and i == ord("o"):
            found[-1] = PAIR
        else:
            found.append(i)
    return found


def alone(made: Any, row: dict[str, Any], loop: dict[str, Any] = LOOP) -> Any:
    """The rollout outside its group, so that what it raises is seen."""
    rollouts: list[Any] = []

    async def keep(output: Any, validate: bool, **kwargs: Any) -> None:
        rollouts.append(output)

    made._agent_loop_postprocess = keep
    place = {"step": 0, "sample_index": 0, "rollout_n": 0, "validate": False}
    with driver.patch.dict(driver.agent_loop._agent_loop_registry, {"mtr": driver.OmegaConf.create(loop)}):
        asyncio.run(made._run_agent_loop({}, place, **{"raw_prompt": row["prompt"], **row}))
    return rollouts[0]


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_every_scenario_ends_in_verls_worker_as_in_plain_gymnasium(scenario: Scenario) -> None:
    seeded = replace(scenario, seed=driver.seed(scenario))
    assert differences(expected(seeded), driver.play(scenario)) == ()


def test_a_group_reaches_the_trainer_with_the_sampled_ids_and_a_mask_on_the_worlds(row: dict[str, Any]) -> None:
    server = Servers([SEARCH, *oracle_texts(row)])
    queue = driver.run_group(driver.worker(server, ByteTokenizer(), group_size=3), row, LOOP)
    assert queue.status == {"row": "finished"} and sorted(queue.rollouts) == ["row_0_0", "row_1_0", "row_2_0"]
    paid = queue.rollouts["row_0_0"]
    ids, mask, logprobs = (paid[name].tolist() for name in ("responses", "response_mask", "rollout_log_probs"))
    assert len(ids) == len(mask) == len(logprobs)
    assert [lp == -0.5 for lp in logprobs] == [own == 1 for own in mask]
    sampled = [i for text in server.texts for i in non_canonical([*text.encode(), 256])]
    assert [i for i, own in zip(ids, mask, strict=True) if own] == sampled and PAIR in sampled
    text = ByteTokenizer().decode(paid["prompts"].tolist() + ids)
    assert text.startswith("[system]") and text.count("[user]") == 1 + len(server.texts) - 1
    info = paid["extra_fields"]["reward_extra_info"]
    assert paid["rm_scores"].tolist()[-1] == pytest.approx(info["mtr/reward"]) and info["mtr/em"] == 1.0
    assert {"mtr/answer", "mtr/contract", "mtr/provenance", "mtr/support", "mtr/economy", "mtr/unscored"} <= set(info)
    assert paid["num_turns"] == 2 * len(server.texts) + 1
    assert queue.tags["row_0_0"]["min_global_steps"] == queue.tags["row_0_0"]["max_global_steps"] == 3


def test_an_unscored_rollout_is_a_failed_one_to_verl_and_leaves_its_group(
    row: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = Servers(oracle_texts(row), without=2)
    queue = driver.run_group(driver.worker(server, ByteTokenizer(), group_size=3), row, LOOP)
    assert queue.status == {"row": "failure"} and len(queue.rollouts) == 2
    assert "Unscored: question" in caplog.text and "the server gave no action (aborted)" in caplog.text


def test_a_question_without_tools_is_unscored_before_anything_is_sampled(row: dict[str, Any]) -> None:
    class Down:
        name = "down"

        def make(self, question: object, key: str = "") -> Any:
            raise adapter.InfrastructureError("no tools today")

    driver.Loop.make_game = staticmethod(lambda env_id, **options: make_game(env_id, tool_maker=Down(), **options))
    server = Servers([])
    with pytest.raises(adapter.Unscored, match="tool maker: no tools today"):
        alone(driver.worker(server, ByteTokenizer()), row, {**LOOP, "_target_": f"{driver.__name__}.Loop"})
    assert not server.requests


def test_an_episode_without_room_for_an_action_is_over_and_ends_with_the_policys_last_token(
    row: dict[str, Any],
) -> None:
    most = len(SEARCH.encode()) + 1
    server = Servers([SEARCH] * 8)
    made = driver.worker(server, ByteTokenizer(), response_length=2 * most + 40)
    output = alone(made, row, {**LOOP, "max_turn_tokens": most})
    assert [request["sampling_params"]["max_tokens"] for request in server.requests] == [most]
    assert output.extra_fields["reward_extra_info"]["mtr/cut"] == 1.0 and output.reward_score == 0.0
    assert output.response_ids == non_canonical([*SEARCH.encode(), 256])
    assert output.response_mask == [1] * len(output.response_ids)


def test_a_simulator_fault_in_an_episode_that_was_cut_short_is_not_charged(row: dict[str, Any]) -> None:
    actor = FaultyToolActor(0, "response")
    driver.Loop.make_game = staticmethod(lambda env_id, **options: make_game(env_id, tool_actor=actor, **options))
    loop = {**LOOP, "_target_": f"{driver.__name__}.Loop", "max_turn_tokens": 100}
    with pytest.raises(adapter.Unscored, match="invalid response"):
        alone(driver.worker(Servers([SEARCH] * 8), ByteTokenizer(), response_length=150), row, loop)


def test_a_server_without_logprobs_gives_none(row: dict[str, Any]) -> None:
    output = alone(driver.worker(Servers(oracle_texts(row), logprobs=False), ByteTokenizer()), row)
    assert output.response_logprobs is None and output.reward_score == 1.0


def test_the_rollouts_of_a_row_share_a_seed_that_rises_with_the_training(row: dict[str, Any]) -> None:
    loop = object.__new__(adapter.MTRAgentLoop)
    question_id = row["extra_info"]["question_id"]
    seeds = [loop.seed({**row, "global_steps": step}) for step in (0, 0, 7)]
    assert seeds == [draw.group_seed(0, step, question_id) for step in (0, 0, 7)]
    assert seeds[2] // draw.SEEDS_PER_STEP == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra_info": None}, "The row's extra_info has no 'env_id': write the data set with write_rows."),
        ({"prompt": [{"role": "user", "content": "Who?"}]}, "is not what its question asks here"),
    ],
)
def test_a_row_that_was_written_otherwise_is_refused(row: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        alone(driver.worker(Servers([]), ByteTokenizer()), {**row, **change})


def test_lengths_that_leave_no_room_are_refused(row: dict[str, Any]) -> None:
    made = driver.worker(Servers([]), ByteTokenizer())
    made.config.actor_rollout_ref.rollout.prompt_length = 100
    with pytest.raises(ValueError, match=r"The prompt has .* tokens and rollout.prompt_length is 100: raise it"):
        alone(made, row)
    with pytest.raises(Exception, match=r"max_turn_tokens is at least 1 and at most rollout.response_length"):
        alone(driver.worker(Servers([]), ByteTokenizer(), response_length=100), row)


def test_the_chat_template_gets_verls_arguments(row: dict[str, Any]) -> None:
    class Thinking(ByteTokenizer):
        def apply_chat_template(self, conversation: Any, *, enable_thinking: bool = True, **options: Any) -> Any:
            opens = options["add_generation_prompt"] and not enable_thinking
            return super().apply_chat_template(conversation, **options) + ("<no thoughts>" if opens else "")

    made = driver.worker(Servers(oracle_texts(row)), Thinking())
    made.config.data.apply_chat_template_kwargs = {"enable_thinking": False}
    output = alone(made, row)
    assert ByteTokenizer().decode(output.prompt_ids).endswith("[assistant]<no thoughts>")
    assert ByteTokenizer().decode(output.response_ids).count("[assistant]<no thoughts>") == len(oracle_texts(row)) - 1


def test_a_tokenizer_of_transformers_plays(row: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason=WITHOUT)
    tokenizer = transformers.AutoTokenizer.from_pretrained(ROOT / "train/base")
    server = driver.Server(tokenizer, oracle_texts(row))
    output = alone(driver.worker(server, tokenizer), row)
    assert output.reward_score == 1.0
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs)


def test_verls_data_set_reads_the_rows(tmp_path: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert adapter.write_rows(tmp_path / "train.parquet", SYNTHETIC, questions=3, seed=5, limit=4, hops=[2, 3]) == 3
    config = driver.OmegaConf.create(
        {"filter_overlong_prompts": False, "cache_dir": str(tmp_path), "prompt_key": "prompt"}
    )
    data = driver.RLHFDataset(str(tmp_path / "train.parquet"), ByteTokenizer(), config)
    game = make_game(SYNTHETIC, limit=4, hops=[2, 3])
    for index, question_id in enumerate(game.world.ids[:3]):
        read = data[index]
        stage, trace = game.begin(question_id, 0)
        assert read["raw_prompt"] == messages(trace, stage.prompt)
        assert (read["agent_name"], read["index"], read["data_source"]) == ("mtr", index, SYNTHETIC)
        assert read["extra_info"]["question_id"] == question_id and read["extra_info"]["seed"] == 5
        assert json.loads(read["extra_info"]["options"]) == {"limit": 4, "hops": [2, 3]}
        assert read["reward_model"]["ground_truth"] == stage.question.answer
        texts = [step.action for step in oracle(game, question_id).steps]
        output = alone(driver.worker(Servers(texts), ByteTokenizer()), read)
        assert output.reward_score == 1.0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_verls_own_tools_are_shown_as_the_linter_says(shape: Any) -> None:
    schemas = importlib.import_module("verl.tools.schemas")
    try:
        made = schemas.OpenAIFunctionToolSchema.model_validate(tool(properties={"x": shape}).openai())
    except ValueError:
        return agrees(shape, "verl", None)
    agrees(shape, "verl", made.model_dump(exclude_unset=True)["function"]["parameters"]["properties"]["x"])


def test_options_that_a_row_cannot_hold_are_refused() -> None:
    with pytest.raises(TypeError, match="inherit from MTRAgentLoop, and give plugs in its make_game"):
        adapter.rows(SYNTHETIC, tool_actor=make_game(SYNTHETIC).tool_actor)


@pytest.mark.page
def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/adapters/verl.md"
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page.read_text()):
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), space)
    [loop] = driver.OmegaConf.load(tmp_path / "mtr.yaml")
    assert (loop.name, loop._target_) == (LOOP["name"], LOOP["_target_"])
    assert capsys.readouterr().out.strip() == "200"
