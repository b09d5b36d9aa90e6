"""A scenario through `mtr_env.adapters.verl`, in verl's own worker: the scenario's messages stand for the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from omegaconf import OmegaConf
from verl.experimental.agent_loop import agent_loop
from verl.trainer.ppo.v1 import agent_loop_tq
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from mtr_env import draw
from mtr_env.adapters.verl import MTRAgentLoop, rows
from mtr_env.encoding import Encoder
from mtr_env.registration import make_game
from mtr_env.reward import Reward
from mtr_env.testing.byte_tokenizer import ByteTokenizer
from mtr_env.testing.parity import Outcome, Scenario, outcome_of, outcome_of_log
from mtr_env.trace import Trace

PACKAGE = "verl"
ONE_CALL_A_STEP = False
MAPPED: dict[str, str] = {}

Worker = agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class


def seed(scenario: Scenario) -> int:
    """The seed of the first step's group: it follows from the step and the question."""
    return draw.group_seed(scenario.seed, 0, scenario.question_id)


class Loop(MTRAgentLoop):
    """What a row cannot say of a scenario (`make_game`), and the trace that it became."""

    last: Trace

    def ended(self, trace: Trace, reward: Reward) -> None:
        Loop.last = trace


class Server:
    """Samples the ids of one text after the other; `requests` keeps what it was asked."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self.encoder = Encoder(tokenizer)
        self.texts = iter(texts)
        self.requests: list[dict[str, Any]] = []

    async def generate(self, **request: Any) -> TokenOutput:
        self.requests.append(request)
        ids = self.encoder.action(next(self.texts))
        steps = {"min_global_steps": 3, "max_global_steps": 3}
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed", extra_fields=steps)


class Queue:
    """In place of verl's TransferQueue: the status of each group, and each rollout that reaches the trainer."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.rollouts: dict[str, Any] = {}
        self.tags: dict[str, dict[str, Any]] = {}

    async def async_kv_put(self, key: str, partition_id: str, tag: dict[str, Any]) -> None:
        self.status[key] = tag["status"]

    async def async_kv_batch_put(self, keys: Any, fields: Any, tags: Any, partition_id: str) -> None:
        for number, key in enumerate(keys):
            self.rollouts[key], self.tags[key] = fields[number], tags[number]


def worker(server: Any, tokenizer: Any, *, group_size: int = 1, response_length: int = 60_000) -> Any:
    """verl's worker with its connections replaced; everything that it does with a rollout is its own."""
    rollout = {"prompt_length": 40_000, "response_length": response_length, "n": group_size, "val_kwargs": {"n": 1}}
    made = object.__new__(Worker)
    made.config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
    made.rollout_config = made.config.actor_rollout_ref.rollout
    made.llm_client, made.tokenizer, made.dataset_cls, made.tools = server, tokenizer, RLHFDataset, []
    made.processor = made.hf_model_type = made.reward_loop_worker_handles = None
    made.mm_processor_kwargs = {}
    made.distillation_enabled = False
    return made


def run_group(made: Any, row: dict[str, Any], loop: dict[str, Any], step: int = 0) -> Queue:
    """One row as the worker runs it: its group of rollouts, to the queue. `loop` is the entry of the YAML file."""
    queue = Queue()
    given = {"raw_prompt": row["prompt"], **row, "uid": "row", "global_steps": step}
    place = {"step": step, "sample_index": 0, "rollout_n": 0, "validate": False}
    with (
        patch.object(agent_loop_tq, "tq", queue),
        patch.dict(agent_loop._agent_loop_registry, {loop["name"]: OmegaConf.create(loop)}),
    ):
        asyncio.run(made._run_prompt(given, {"temperature": 1.0}, place))
    return queue


def play(scenario: Scenario) -> Outcome:
    said = {name: value for name, value in scenario.options.items() if name != "tool_actor"}
    [row] = rows(scenario.env_id, questions=[scenario.question_id], seed=scenario.seed, **said)
    Loop.make_game = staticmethod(lambda env_id, **options: make_game(env_id, **{**options, **scenario.options}))
    tokenizer = ByteTokenizer()
    server = Server(tokenizer, [message.text for message in scenario.said])
    queue = run_group(worker(server, tokenizer), row, {"name": "mtr", "_target_": f"{Loop.__module__}.Loop"})
    if queue.status["row"] == "failure":
        assert not queue.rollouts
        return outcome_of(Loop.last, Reward(None, {}))
    paid = queue.rollouts["row_0_0"]
    log = {name.removeprefix("mtr/"): value for name, value in paid["extra_fields"]["reward_extra_info"].items()}
    assert abs(float(paid["rm_scores"].sum()) - log["reward"]) < 1e-6
    return outcome_of_log(Loop.last, log)
