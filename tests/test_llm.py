"""The client of chat endpoints, against a server on loopback with planned faults."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from chat_server import OUTAGES, ChatServer

import mtr_env.llm.client as client_module
from mtr_env.llm import ChatClient, Completion, ModelError, Spent
from mtr_env.trace import Usage

CANARY = "sk-canary-7f3a9c21d4e8"
ASK = [{"role": "user", "content": "Who directed The Silver Harbor?"}]
SCHEMA = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(client_module, "BACKOFF", 0.002)


def ask(client: ChatClient, messages: Any = ASK, **settings: Any) -> Completion:
    return asyncio.run(client.complete(messages, **settings))


def failure(client: ChatClient, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        ask(client, **settings)
    assert caught.value.__context__ is None, "what the libraries raised would be shown with it"
    return str(caught.value)


def test_a_question_gets_its_answer_and_is_counted() -> None:
    with ChatServer(lambda body: "Mara Quill") as server:
        client = ChatClient("tiny", base_url=server.url, prices=(2.0, 10.0))
        completion = ask(client, seed=7)
        assert completion == Completion("Mara Quill", (), "stop", Usage(8, 3))
        assert client.spent == Spent(1, 0, 8, 3, pytest.approx((8 * 2 + 3 * 10) / 1e6))
        sent = server.bodies[0]
    assert sent == {"model": "tiny", "messages": ASK, "temperature": 0.0, "seed": 7, "max_tokens": 1024}


@pytest.mark.parametrize("fault", [fault for fault in OUTAGES if fault not in ("slow", "hang", "drip")])
def test_what_may_pass_is_sent_again(fault: str) -> None:
    with ChatServer(script=[fault, fault]) as server:
        client = ChatClient("tiny", base_url=server.url)
        assert ask(client).text == ASK[0]["content"]
        assert client.spent.requests == server.requests == 3
        assert client.spent.retries == 2


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_never_finishes_is_left_after_the_timeout(fault: str) -> None:
    with ChatServer(script=[fault] * 2) as server:
        client = ChatClient("tiny", base_url=server.url, timeout=0.2, retries=1)
        start = time.monotonic()
        assert "no whole answer within 0.2 s" in failure(client)
        assert 0.4 <= time.monotonic() - start < 1.5
        assert ask(client).finish_reason == "stop", "the connection that hung takes no place in the pool"


def test_a_slow_answer_within_the_timeout_is_an_answer() -> None:
    with ChatServer(script=["slow"], slow=0.3) as server:
        client = ChatClient("tiny", base_url=server.url, timeout=5.0)
        assert ask(client).text
        assert client.spent.retries == 0
