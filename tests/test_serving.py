"""The guard in front of a served application: tokens, origins, bodies, idle sockets. See test_serve.py too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mtr_env.serving import (
    MAX_DEPTH,
    Guard,
    Limits,
    Message,
    Receive,
    Scope,
    Send,
    is_loopback,
    json_problem,
    make_server,
    read_token,
)

LIMITS = Limits(max_body=1000, slow_s=0.05, idle_s=0.05)


class Application:
    """Notes what reaches it; answers a request with 200, and listens to a socket until it is closed."""

    def __init__(self) -> None:
        self.received: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] in ("websocket.connect", "websocket.receive"):
                continue
            if message["type"] == "http.request":
                await send({"type": "http.response.start", "status": 200, "headers": []})
            return


def through(
    *arriving: Message, kind: str = "http", headers: dict[str, str] | None = None, token: str | None = None
) -> tuple[list[Message], list[Message]]:
    """What the application received, and what the client was sent; after `arriving` the client stays silent."""

    async def run() -> tuple[list[Message], list[Message]]:
        application, sent = Application(), []
        left = list(arriving)

        async def receive() -> Message:
            if left:
                return left.pop(0)
            await asyncio.sleep(60)
            raise AssertionError("nobody stopped waiting")

        async def send(message: Message) -> None:
            sent.append(message)

        pairs = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        await Guard(application, LIMITS, token)({"type": kind, "headers": pairs}, receive, send)
        return application.received, sent

    return asyncio.run(run())


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


def refusal(sent: list[Message]) -> tuple[int, str]:
    start, end = sent
    assert (b"content-type", b"application/json") in start["headers"]
    return start["status"], json.loads(end["body"])["detail"]


def test_a_body_arrives_whole_and_as_it_was() -> None:
    received, sent = through(body(b'{"a": ', more=True), body(b"[1]}"))
    assert received == [body(b'{"a": [1]}')]
    assert [message["status"] for message in sent] == [200]


def test_a_request_without_a_body_passes() -> None:
    received, _ = through(body(b""))
    assert received == [body(b"")]


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", "Bearer ", "Basic right", "right", "Bearer right2", "Bearer \xe9"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_without_the_token_nothing_reaches_the_application(given: str | None, kind: str) -> None:
    headers = {} if given is None else {"authorization": given}
    received, sent = through({"type": "websocket.connect"}, kind=kind, headers=headers, token="right")
    assert received == []
    assert refusal(sent) == (401, "Send this server's token as 'Authorization: Bearer TOKEN'.")
    assert sent[0]["type"] == ("http.response.start" if kind == "http" else "websocket.http.response.start")
    assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]


@pytest.mark.parametrize("given", ["Bearer right", "bearer  right "])
def test_with_the_token_a_client_may_come_from_anywhere(given: str) -> None:
    received, _ = through(
        body(b"{}"), headers={"authorization": given, "origin": "https://elsewhere.example"}, token="right"
    )
    assert received == [body(b"{}")]


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "null", "http://localhost.elsewhere.example:8000", "http://["]
)
def test_a_page_of_another_site_cannot_use_a_server_without_a_token(origin: str) -> None:
    received, sent = through(body(b"{}"), headers={"origin": origin})
    assert received == [] and refusal(sent)[0] == 403


@pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1", "http://[::1]:80"])
def test_a_page_of_this_machine_can(origin: str) -> None:
    assert through(body(b"{}"), headers={"origin": origin})[0] == [body(b"{}")]


@pytest.mark.parametrize(
    ("arriving", "headers", "expected"),
    [
        ([body(b" " * 1001)], {}, (413, "The body is longer than 1000 bytes.")),
        ([body(b" " * 600, more=True), body(b" " * 600)], {}, (413, "The body is longer than 1000 bytes.")),
        ([], {"content-length": "1001"}, (413, "The body is longer than 1000 bytes.")),
        ([], {"content-length": "9" * 5000}, (413, "The body is longer than 1000 bytes.")),
        ([], {"content-length": "-1"}, (413, "The body is longer than 1000 bytes.")),
        ([body(b"{", more=True)], {}, (408, "The body did not arrive within 0.05 s.")),
    ],
)
def test_a_body_that_is_too_long_or_too_slow_is_refused(
    arriving: list[Message], headers: dict[str, str], expected: tuple[int, str]
) -> None:
    received, sent = through(*arriving, headers=headers)
    assert received == [] and refusal(sent) == expected
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nothing",
        b'{"a": NaN}',
        b'"\\ud800"',
        b'"\xff"',
        b"1e999",
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 129 + b"1" + b"}" * 129,
    ],
)
def test_a_body_that_is_no_json_is_refused(content: bytes) -> None:
    assert json_problem(content) is not None
    if len(content) <= LIMITS.max_body:
        received, sent = through(body(content))
        assert received == [] and refusal(sent)[0] == 400


def test_json_of_an_allowed_depth_has_no_problem() -> None:
    assert json_problem(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is None
    assert (
        json_problem(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)) == f"The body is nested deeper than {MAX_DEPTH}."
    )
    assert json_problem(b'{"a": [1, {"b": "\\u00e9"}], "c": null}') is None


def test_a_client_that_leaves_while_it_sends_is_let_go() -> None:
    assert through(body(b"{", more=True), {"type": "http.disconnect"}) == ([], [])


def test_a_socket_that_stays_silent_is_closed_and_the_application_is_told() -> None:
    said = {"type": "websocket.receive", "text": "x"}
    received, sent = through({"type": "websocket.connect"}, said, kind="websocket")
    reason = "nothing was said for 0.05 s"
    assert received[1:] == [said, {"type": "websocket.disconnect", "code": 1008, "reason": reason}]
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": reason}]


def test_the_token_is_read_from_a_variable_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MTR_TOKEN", " in-a-variable ")
    (tmp_path / "token").write_text("in-a-file\n")
    assert read_token("MTR_TOKEN", None) == "in-a-variable"
    assert read_token(None, tmp_path / "token") == "in-a-file"
    assert read_token(None, None) is None


@pytest.mark.parametrize("token", ["", "  \n", "two words", "\xe9", "a\x00b", "a\nb"])
def test_what_is_no_token_is_refused_and_not_shown(token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(ValueError, match="token") as error:
        read_token(None, tmp_path / "token")
    assert not token.strip() or token not in str(error.value)


def test_a_token_that_is_named_twice_or_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MTR_TOKEN", raising=False)
    with pytest.raises(ValueError, match="The environment variable MTR_TOKEN holds no token"):
        read_token("MTR_TOKEN", None)
    with pytest.raises(ValueError, match="not both"):
        read_token("MTR_TOKEN", tmp_path)
    with pytest.raises(FileNotFoundError):
        read_token(None, tmp_path / "none")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("example.org", False),
        ("", False),
        (None, False),
    ],
)
def test_which_hosts_are_this_machine(host: Any, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_cannot_be_is_a_sentence(port: int) -> None:
    with pytest.raises(ValueError, match=f"A port is a number from 0 to 65535, found {port}."):
        make_server(Application(), port=port)
