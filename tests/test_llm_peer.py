"""The client of chat endpoints against a server that is not ours: `transformers serve` with the tiny model."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from conftest import ROOT

from mtr_env.adapters.endpoint import play
from mtr_env.env import MTREnv
from mtr_env.llm import ChatClient, ModelError, Spent
from mtr_env.llm.loop import run
from mtr_env.llm.reply import Failure
from mtr_env.registration import make_game
from mtr_env.trace import Usage

NEEDED = ("transformers", "torch", "fastapi", "uvicorn", "accelerate", "openai")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.adapters,
    pytest.mark.skipif(bool(MISSING), reason=f"`transformers serve` needs {', '.join(MISSING)} (extras train, serve)"),
]


# The command `transformers`, which ends with the test run even when that is killed: its end closes the pipe.
SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from transformers.cli.transformers import main
main()
"""


class Peer(NamedTuple):
    url: str
    model: str


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer")
    model = str(shutil.copytree(ROOT / "train" / "base", folder / "model"))
    command = [sys.executable, "-c", SERVE, "serve", model]
    command += ["--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--dtype", "float32"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        env=os.environ | offline,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Peer(f"{address(process)}/v1", model)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stderr):
            assert pipe is not None
            pipe.close()


def address(process: subprocess.Popen[str]) -> str:
    """What the server says that it listens on; its log is read on until it ends, so that it never blocks on it."""
    lines: queue.Queue[str] = queue.Queue()
    log = process.stderr
    assert log is not None

    def follow() -> None:
        for line in log:
            lines.put(line)
        lines.put("")

    threading.Thread(target=follow, daemon=True).start()
    said, deadline = [""], time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            said.append(lines.get(timeout=deadline - time.monotonic()))
        except queue.Empty:
            break
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", said[-1])
        if found:
            return found[1]
        if not said[-1]:
            break
    raise AssertionError(f"transformers serve did not start:\n{''.join(said[-30:])}")


def client(peer: Peer, **settings: object) -> ChatClient:
    return ChatClient(peer.model, base_url=peer.url, timeout=120.0, retries=0, **settings)  # type: ignore[arg-type]


def question() -> list[dict[str, str]]:
    game = make_game("MTR-Synthetic-v0", split="test", limit=1, grammar="hermes-compact")
    _, info = MTREnv(game).reset(seed=0)
    return [dict(message) for message in info["messages"]]


def generated(model: str, tokens: int) -> tuple[str, int]:
    """What the library itself makes of the question, greedily, and the length of the prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer.apply_chat_template(question(), add_generation_prompt=True, return_tensors="pt", return_dict=True)
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.inference_mode():
        made = network.generate(**ids, do_sample=False, max_new_tokens=tokens)
    length = ids["input_ids"].shape[1]
    return tokenizer.decode(made[0, length:], skip_special_tokens=True), length


def test_the_peer_answers_and_the_answer_is_counted(peer: Peer) -> None:
    speaker = client(peer, max_output_tokens=64, prices=(1.0, 1.0))
    first, second = [run(speaker.complete(question(), seed=1)) for _ in range(2)]
    assert first == second, "temperature 0 gives the same answer"
    text, tokens = generated(peer.model, 64)
    assert (first.text, first.finish_reason, first.usage) == (text, "length", Usage(tokens, 64))
    assert speaker.spent == Spent(2, 0, 2 * tokens, 128, pytest.approx((2 * tokens + 128) / 1e6))


def test_the_peer_stops_at_the_limit(peer: Peer) -> None:
    completion = run(client(peer, max_output_tokens=3).complete(question()))
    assert (completion.finish_reason, completion.usage.output_tokens) == ("length", 3)


def test_the_peer_is_asked_for_json_in_one_form_or_the_other(peer: Peer) -> None:
    """This server takes `response_format` and ignores it, so that the schema reaches the model in the prompt only."""
    schema = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    speaker = client(peer, max_output_tokens=64)
    plain = run(speaker.complete(question()))
    as_format = run(speaker.complete(question(), schema=schema))
    speaker._dialect.learn(Failure("response_format is not supported", False, 400), b'{"response_format":')
    as_text = run(speaker.complete(question(), schema=schema))
    assert plain.usage.input_tokens == as_format.usage.input_tokens < as_text.usage.input_tokens - 20
    assert as_text.text != as_format.text


def test_the_peer_gets_many_questions_at_once(peer: Peer) -> None:
    speaker = client(peer, max_output_tokens=4, concurrency=4)

    async def many() -> list[str]:
        return [c.text for c in await asyncio.gather(*[speaker.complete(question(), seed=i) for i in range(8)])]

    assert len(set(asyncio.run(many()))) == 1
    assert speaker.spent.requests == 8


def test_the_peer_refuses_a_model_that_it_does_not_have(peer: Peer) -> None:
    with pytest.raises(ModelError, match=r"status 400.*pinned to"):
        run(ChatClient("another", base_url=peer.url, retries=0).complete(question()))
    with pytest.raises(ModelError, match="base_url, which mostly ends in /v1"):
        run(ChatClient(peer.model, base_url=peer.url.removesuffix("/v1"), retries=0).complete(question()))


def test_episodes_are_played_by_the_peer_in_text_and_with_native_tools(peer: Peer) -> None:
    game = make_game("MTR-Synthetic-v0", split="test", limit=1, grammar="hermes-compact", max_steps=2)
    for mode in ("text", "native"):
        trace = play(
            game, model=peer.model, base_url=peer.url, mode=mode, max_output_tokens=24, timeout=120.0, retries=0
        )
        assert trace.stop_reason in ("answer", "max_steps"), "a model that knows nothing plays badly, and to the end"
        assert trace.steps and all(step.action for step in trace.steps)
        assert all(fault.blame == "policy" for fault in trace.faults)
