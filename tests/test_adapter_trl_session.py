"""TRL's AsyncGRPO against the real TRL and OpenEnv: sessions, the parity scenarios, and TRL's own rollout loop with a
server on loopback in vLLM's place."""

from __future__ import annotations

import functools
import itertools
import json
import os
import pickle
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
WITHOUT = "openenv or trl is not installed (pip install -e '.[train,openenv]')"
pytest.importorskip("trl", reason=WITHOUT)
pytest.importorskip("openenv.core.harness", reason=WITHOUT)

from openenv.core.harness import MCPHarnessAdapter, SessionMCPBridge
from trl.experimental.async_grpo.openenv_harness import _HarnessRolloutLoop, _tools_to_schema

from benchmarks.parity_drivers import trl_session as driver
from benchmarks.tiny_trl import chat_tokenizer
from mtr_env.adapters.trl_session import MTRSession, MTRSessionFactory
from mtr_env.grammar import HermesGrammar
from mtr_env.testing.parity import FaultyToolActor, Scenario, differences, expected, scenarios
from mtr_env.trace import Call

pytestmark = [pytest.mark.adapters, pytest.mark.filterwarnings("ignore")]  # other people's
SYNTHETIC = "MTR-Synthetic-v0"
ORACLE, MALFORMED = ({s.name: s for s in scenarios()}[name] for name in ("oracle", "malformed call"))


def created(**options: Any) -> MTRSession:
    factory = MTRSessionFactory(SYNTHETIC, questions=[ORACLE.question_id], limit=8, **options)
    return factory.create(factory.rows[0]["prompt"], seed=0)


@pytest.mark.parametrize(
    "scenario", [s for s in scenarios() if s.name not in driver.MAPPED], ids=lambda scenario: scenario.name
)
def test_every_scenario_ends_as_in_plain_gymnasium(scenario: Scenario) -> None:
    assert differences(expected(scenario, one_call_a_step=True), driver.play(scenario)) == ()


def test_arguments_that_are_no_json_cost_what_they_cost_in_gymnasium_under_another_code() -> None:
    wanted, found = expected(MALFORMED), driver.play(MALFORMED)
    [difference] = differences(wanted, found)
    assert difference.startswith("trace: ") and found.parts["contract"] == pytest.approx(2 / 3)


def test_the_tools_reach_the_chat_template_with_their_whole_schemas() -> None:
    session = created()
    assert _tools_to_schema(session.list_tools()) == session.session.tools


def test_a_rollout_starts_as_the_row_of_the_data_set_and_with_the_seed_of_its_group() -> None:
    factory = MTRSessionFactory(SYNTHETIC, limit=4, seed=100)
    assert factory.train_dataset.column_names == ["prompt", "question_id"]
    for group, row in enumerate(factory.train_dataset):
        session = factory.create(row["prompt"], seed=group, episode_id="x")
        assert session.initial_messages() == row["prompt"]
        assert (session.session.trace.question.id, session.session.trace.seed) == (row["question_id"], 100 + group)
    with pytest.raises(ValueError, match="A prompt of no row that was made here"):
        factory.create([{"role": "user", "content": "?"}], seed=0)


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("get_weather", {}, "unknown_tool"),
        (ORACLE.said[0].calls[0][0], {"x": 1}, "invalid_arguments"),
        (ORACLE.said[0].calls[0][0], "no object", "malformed_action"),
        (ORACLE.said[0].calls[0][0], {"entity": "\ud800"}, "malformed_action"),
        ("submit_answer", {}, "invalid_arguments"),
        ("reset", {}, "unknown_tool"),
    ],
)
def test_a_bad_call_is_a_result_with_a_code_and_the_episode_goes_on(name: str, arguments: Any, code: str) -> None:
    session = created()
    result = session.call_tool(name, arguments)
    assert (json.loads(result.data)["error"]["code"], result.error, result.done) == (code, code, False)


def test_the_call_that_ends_the_episode_says_so() -> None:
    answered, truncated, broken = created(), created(max_steps=1), created(tool_actor=FaultyToolActor(0, "outage"))
    name, arguments = ORACLE.said[0].calls[0]
    assert answered.call_tool("submit_answer", {"answer": "x"}).done
    assert truncated.call_tool(name, arguments).done
    result = broken.call_tool(name, arguments)
    assert (result.done, result.error) == (True, "infrastructure")
    verdict = broken.verify([])
    assert (verdict.env_reward, verdict.metrics["unscored"], verdict.done) == (None, 1.0, True)
    assert json.loads(answered.call_tool(name, arguments).data)["error"]["code"] == "episode_over"


def test_openenvs_bridge_serves_a_session() -> None:
    bridge = SessionMCPBridge(created())
    name, arguments = ORACLE.said[0].calls[0]

    def asked(method: str, **params: Any) -> Any:
        return bridge.handle_request({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]

    assert name in [tool["name"] for tool in asked("tools/list")["tools"]]
    assert json.loads(asked("tools/call", name=name, arguments=arguments)["data"])["status"] == "ok"


# ------------------------------------------------------------------------------------------- TRL's own rollout loop


@contextmanager
def completions(write: Callable[[list[int]], list[int]], most: int) -> Iterator[str]:
    """A server with vLLM's `/v1/completions`: token ids in, token ids with log-probabilities out; it takes at most so
    many requests."""
    left = [most]

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            left[0] -= 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ids = write(body["prompt"])
            choice = {"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}}
            data = json.dumps({"choices": [choice]}).encode()
            self.send_response(200 if left[0] >= 0 else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rollout_samples(factory: Callable[[], MTRSessionFactory], write: Callable[[str], str], samples: int) -> list[Any]:
    """What TRL's rollout loop hands to its trainer for the first groups of four; ``write`` is the model."""
    from accelerate import PartialState

    PartialState(cpu=True)  # TRL's loggers want it
    made = factory()
    texts = [json.dumps(made.create(row["prompt"]).session.tools) for row in made.rows]
    tokenizer = chat_tokenizer([*texts, json.dumps(made.rows)])

    def sample(ids: list[int]) -> list[int]:
        return tokenizer.encode(write(tokenizer.decode(ids)) + "<|im_end|>")

    buffer: queue.Queue[Any] = queue.Queue()
    errors: queue.Queue[Any] = queue.Queue()
    with completions(sample, most=200) as url:
        loop = _HarnessRolloutLoop(
            harness_session_factory=factory,
            harness_adapter=MCPHarnessAdapter(),
            model_name="tiny",
            dataset=made.train_dataset,
            reward_funcs=[],
            processing_class=tokenizer,
            eos_token_ids=[tokenizer.eos_token_id],
            rollout_buffer=buffer,
            model_version_value=SimpleNamespace(value=0),
            heartbeat_value=SimpleNamespace(value=0.0),
            failed_event=threading.Event(),
            exception_info_queue=errors,
            metrics_queue=queue.Queue(),
            num_generations=4,
            max_inflight_tasks=4,
            vllm_server_url=url,
            max_tool_calling_iterations=8,
        )
        stop = threading.Timer(60, lambda: loop._loop.call_soon_threadsafe(loop._stop_event.set))
        stop.start()
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        while buffer.qsize() < samples and thread.is_alive():
            thread.join(timeout=0.05)
        stop.cancel()
        if thread.is_alive():
            loop._loop.call_soon_threadsafe(loop._stop_event.set)
            thread.join(timeout=30)
    assert errors.empty(), errors.get()
    return [buffer.get(timeout=0) for _ in range(samples)]


def model(prompt: str, rollout: Iterator[int]) -> str:
    """Every second rollout makes the oracle's calls and answers; the others answer wrong at once."""
    turn = prompt.count("<|im_start|>assistant") - 1
    if turn == 0 and next(rollout) % 2:
        return "Nobody"
    said = ORACLE.said[turn]
    return said.answer or HermesGrammar().render_call(*[Call(*call) for call in said.calls])


def test_trls_rollout_loop_plays_groups_and_pays_what_the_episodes_are_worth() -> None:
    factory = functools.partial(MTRSessionFactory, SYNTHETIC, questions=[ORACLE.question_id], limit=8)
    assert pickle.loads(pickle.dumps(factory))().rows == factory().rows  # TRL's worker is a process of its own
    found = rollout_samples(factory, functools.partial(model, rollout=itertools.count()), samples=8)
    assert {sample.metrics["reward"] for sample in found} == {0.0, 1.0}  # how many of each is up to the threads
    assert all((float(sample.advantage) > 0) == (sample.metrics["reward"] == 1.0) for sample in found)
    assert all((float(sample.advantage) < 0) == (sample.metrics["reward"] == 0.0) for sample in found)
    right = next(sample for sample in found if sample.metrics["reward"] == 1.0)
    assert [message["role"] for message in right.completion][-2:] == ["tool", "assistant"]
    assert 0 < sum(right.completion_mask) < len(right.completion_mask)
    assert right.metrics["tools/call_frequency"] == len(ORACLE.said) - 1


def test_an_unscored_rollout_is_out_of_its_groups_baseline() -> None:
    """Those that call a tool meet an outage; those that answer wrong at once are scored."""
    factory = functools.partial(
        MTRSessionFactory,
        SYNTHETIC,
        questions=[ORACLE.question_id],
        limit=8,
        tool_actor=FaultyToolActor(0, "outage"),
    )
    found = rollout_samples(factory, functools.partial(model, rollout=itertools.count()), samples=4)
    rewards = [sample.metrics["reward"] for sample in found]
    assert 0 < [reward == reward for reward in rewards].count(False) < 4  # NaN: TRL's own mark
    assert {float(sample.advantage) for sample in found} == {0.0}
