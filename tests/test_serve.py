"""`mtr-env serve`: bad input of every kind against the real server, the command itself, a fuzz of its description."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv", reason="openenv is not installed (pip install -e '.[openenv]')")
pytest.importorskip("mcp", reason="mcp is not installed (pip install -e '.[mcp]')")
pytest.importorskip("schemathesis", reason="schemathesis is not installed (pip install -e '.[fuzz]')")

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from played_model import oracle_says
from schemathesis import GenerationMode
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.served import served
from mtr_env.adapters.mcp import MCPServer
from mtr_env.adapters.openenv import MTRClient, call_action, make_app
from mtr_env.cli import main
from mtr_env.episode import Game
from mtr_env.evaluate import read_traces
from mtr_env.registration import make_game
from mtr_env.serving import Limits
from mtr_env.trace import Trace

pytestmark = pytest.mark.adapters
SYNTHETIC = "MTR-Synthetic-v0"
LIMITS = Limits(max_sessions=8, max_body=10_000, slow_s=0.5, idle_s=60.0)


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game(SYNTHETIC, limit=20)


@pytest.fixture(scope="module")
def url(game: Game) -> Iterator[str]:
    with served(make_app(game, limits=LIMITS), limits=LIMITS) as address:
        yield address


def oracle_calls(game: Game, question_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The oracle's calls, the answer the last of them."""
    *said, last = oracle_says(game, question_id)
    assert said
    return [*[call for message in said for call in message.calls], ("submit_answer", {"answer": last.answer})]


@pytest.fixture
def bystander(url: str, game: Game) -> Iterator[None]:
    """Another session, in the middle of an episode: whatever the test does, it goes on and earns its reward."""
    first, *others = oracle_calls(game, game.world.ids[0])
    with MTRClient(url).sync() as env:
        env.reset(question_id=game.world.ids[0])
        env.step(call_action(*first))
        yield
        for call in others:
            last = env.step(call_action(*call))
        assert (last.done, last.reward, env.state().step_count) == (True, 1.0, len(others) + 1)


def socket_of(url: str, **options: Any) -> Any:
    return connect(url.replace("http", "ws") + "/ws", open_timeout=30, **options)


def asked(ws: Any, message: Any) -> Any:
    ws.send(message if isinstance(message, str | bytes) else json.dumps(message))
    return json.loads(ws.recv(timeout=30))


# ------------------------------------------------------------------------------------------------- bad input over HTTP


@pytest.mark.parametrize(
    ("path", "content", "status", "reason"),
    [
        ("/reset", b'{"seed": ', 400, "not JSON"),
        ("/reset", b" " * 10_001, 413, "longer than 10000 bytes"),
        ("/reset", b'{"seed": "many"}', 422, "valid integer"),
        ("/reset", b'{"seed": -1}', 422, "greater than or equal to 0"),
        ("/reset", b'{"seed": 1e999}', 400, "not JSON"),
        ("/reset", b'{"seed": 9999999999999999999999}', 400, "seed must be an integer"),
        ("/reset", b'{"question_id": "nobody"}', 400, "No question with id 'nobody'"),
        ("/reset", b'{"index": [1]}', 400, "index must be an integer from 0 to 19"),
        ("/reset", b"[1, 2]", 422, "valid dictionary"),
        ("/step", b"{}", 422, "Field required"),
        ("/step", b'{"action": {"tool_name": 5}}', 422, "valid string"),
        ("/step", b'{"action": {"tool_name": "x", "more": 1}}', 422, "not permitted"),
        (f"/{SYNTHETIC}/task", b'{"split": "sample", "index": 20}', 400, "index must be an integer from 0 to 19"),
        (f"/{SYNTHETIC}/num_tasks", b'{"split": "train"}', 400, "this world is the split 'sample'"),
        ("/other/num_tasks", b'{"split": "sample"}', 404, "unknown environment"),
        ("/nothing", b"", 404, "Not Found"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(
    url: str, bystander: None, path: str, content: bytes, status: int, reason: str
) -> None:
    answer = httpx.post(url + path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, reason in answer.text) == (status, True), answer.text


def test_what_has_no_session_says_where_episodes_are_played(url: str) -> None:
    answer = httpx.post(url + "/step", json={"action": {"tool_name": "search"}}).json()
    assert "play over the WebSocket /ws" in answer["observation"]["error"]["message"]
    begun = httpx.post(url + "/reset", json={"seed": 0}).json()
    assert not begun["done"] and begun["observation"]["tools"]


def test_a_body_without_a_length_is_counted_as_it_comes(url: str, bystander: None) -> None:
    answer = httpx.post(url + "/reset", content=iter([b" " * 6000, b" " * 6000]))
    assert answer.status_code == 413


def test_an_unknown_session_is_refused(url: str, bystander: None) -> None:
    with connect(url.replace("http", "ws") + "/ws?session_id=nobody") as ws:
        assert json.loads(ws.recv(timeout=30))["data"]["message"] == "Unknown session_id: nobody"
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"session_id": "nobody"}}
    answer = httpx.post(url + "/mcp", json=request)
    assert (answer.status_code, answer.json()["error"]["message"]) == (200, "Unknown session_id: nobody")


# ------------------------------------------------------------------------------------------ bad input over a WebSocket


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "INVALID_JSON"),
        ({"type": "dance"}, "UNKNOWN_TYPE"),
        ({"type": "step", "data": {"tool_name": "x", "arguments": "text"}}, "VALIDATION_ERROR"),
        ({"type": "step", "data": []}, "VALIDATION_ERROR"),
        ({"type": "reset", "data": {"seed": [1]}}, "EXECUTION_ERROR"),
        ({"type": "reset", "data": {"question_id": {"a": 1}}}, "EXECUTION_ERROR"),
    ],
)
def test_a_bad_message_is_refused_and_the_session_goes_on(url: str, bystander: None, message: Any, code: str) -> None:
    with socket_of(url) as ws:
        asked(ws, {"type": "reset", "data": {"seed": 0}})
        refused = asked(ws, message)
        assert refused["type"] == "error" and refused["data"]["code"] == code
        step = {"type": "call_tool", "tool_name": "search", "arguments": {"query": "x"}}
        assert asked(ws, {"type": "step", "data": step})["type"] == "observation"


@pytest.mark.parametrize("message", ["[1]", "5", b"\x00\xff", "[" * 3000, "1" * 5000])
def test_what_no_client_sends_ends_its_own_session_with_an_error(url: str, bystander: None, message: Any) -> None:
    with socket_of(url) as ws:
        answer = asked(ws, message)
        assert answer["type"] == "error" and answer["data"]["code"] in ("SESSION_ERROR", "INVALID_JSON")


def test_a_message_that_is_too_long_closes_its_own_socket(url: str, bystander: None) -> None:
    with socket_of(url) as ws:
        ws.send(" " * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=30)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_silent_socket_is_closed_and_makes_room() -> None:
    limits = Limits(max_sessions=1, idle_s=0.3)
    with served(make_app(make_game(SYNTHETIC, limit=5), limits=limits), limits=limits) as url:
        with socket_of(url) as ws, pytest.raises(ConnectionClosed) as closed:
            asked(ws, {"type": "reset", "data": {}})
            ws.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "nothing was said for 0.3 s")
        with MTRClient(url).sync() as env:
            assert not env.reset(seed=0).done


# ------------------------------------------------------------------------------------------------ slow clients, tokens


def opened(url: str, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    return [stack.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(count)]


def test_clients_that_send_slowly_are_cut_off_and_hold_up_nobody(url: str, bystander: None) -> None:
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        headers, bodies, [again] = opened(url, 25, stack), opened(url, 25, stack), opened(url, 1, stack)
        for slow in headers:
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-")
        for slow in bodies:
            slow.sendall(b"POST /reset HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        again.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come one after the other
            answer += again.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        again.sendall(b"GET /health HTTP/1.1\r\nX-")  # a second request on a connection that did well
        assert httpx.get(url + "/health").json() == {"status": "healthy"}
        assert [slow.recv(4096) for slow in headers] == [b""] * 25
        assert [slow.recv(12) for slow in bodies] == [b"HTTP/1.1 408"] * 25
        assert again.recv(4096) == b""
    assert 0.4 < time.monotonic() - begun < 20


def test_connections_beyond_what_the_sessions_need_are_refused_until_the_slow_ones_are_gone(
    url: str, bystander: None
) -> None:
    with contextlib.ExitStack() as stack:
        opened(url, 100, stack)
        assert httpx.get(url + "/health").status_code == 503
        time.sleep(LIMITS.slow_s + 0.5)
        assert httpx.get(url + "/health").status_code == 200


def test_without_its_token_a_server_refuses_everything_and_writes_it_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    secret = "k3y-of-the-server"
    app = make_app(make_game(SYNTHETIC, limit=5))
    with served(app, token=secret) as url:
        for headers in ({}, {"Authorization": "Bearer k3y-of-the-serve"}):
            answer = httpx.get(url + "/health", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            with pytest.raises(Exception, match="HTTP 401"):
                socket_of(url, additional_headers=headers)
        with pytest.raises(ConnectionError, match="HTTP 401"), MTRClient(url, token="other").sync():
            pass
        with MTRClient(url, token=secret).sync() as env:
            assert not env.reset(seed=0).done
            child = env.new_session()
            assert not child.reset(seed=0).done
    with served(MCPServer(make_game(SYNTHETIC, limit=5)).http(), token=secret) as url:
        assert httpx.post(url + "/mcp", json={}).status_code == 401
        assert httpx.post(url + "/mcp", json={}, headers={"Authorization": f"Bearer {secret}"}).status_code != 401
    written = "".join(capfd.readouterr()) + "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("websockets.client", "http"))
    )
    assert "session manager" in written, "the servers do write a log"
    assert secret not in written


# ----------------------------------------------------------------------------------------------------------------- MCP


HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
USUAL = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


class Agent:
    """An MCP session over HTTP, request by request."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, headers=USUAL, timeout=30)
        self.client.headers["mcp-session-id"] = self.ask("initialize", HELLO).headers["mcp-session-id"]
        self.client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.delete("/mcp")  # makes room
        self.client.close()

    def ask(self, method: Any, params: Any) -> httpx.Response:
        return self.client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self.ask("tools/call", {"name": name, "arguments": arguments}).json()["result"]
        return result


@pytest.fixture(scope="module")
def mcp_url(game: Game) -> Iterator[str]:
    """Every session plays the same question."""
    with served(MCPServer(game, question_id=game.world.ids[0]).http(LIMITS), limits=LIMITS) as address:
        yield address


@pytest.fixture
def agent(mcp_url: str) -> Iterator[Agent]:
    with Agent(mcp_url) as agent:
        yield agent


@pytest.fixture
def mcp_bystander(mcp_url: str, game: Game) -> Iterator[None]:
    """Another session, in the middle of an episode: whatever the test does, it goes on and earns its reward."""
    first, *others = oracle_calls(game, game.world.ids[0])
    with Agent(mcp_url) as other:
        assert not other.call(*first)["isError"]
        yield
        for call in others:
            last = other.call(*call)
        outcome = last["_meta"]["mtr_env"]
        assert (outcome["terminated"], outcome["reward"], outcome["log"]["steps"]) == (True, 1.0, len(others) + 1)


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"{", {}, 400, "not JSON"),
        (b"\xff\xfe", {}, 400, "not JSON"),
        (b"[" * 3000, {}, 400, "not JSON"),
        (b'{"jsonrpc": "2.0", "id": 1e999, "method": "ping"}', {}, 400, "Number out of range"),
        (b"[]", {}, 400, "Input should be a valid dictionary"),
        (b"5", {}, 400, "Input should be a valid dictionary"),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', {}, 400, "Input should be '2.0'"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', {}, 400, "Input should be a valid string"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": [1]}', {}, 400, "valid dictionary"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', {}, 400, "Missing session ID"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', {"mcp-session-id": "nobody"}, 404, "not found"),
        (b" " * 10_001, {}, 413, "longer than 10000 bytes"),
        (b"{}", {"accept": "text/html"}, 406, "must accept"),
        (b"{}", {"content-type": "text/plain"}, 400, "Content-Type"),
        (b"{}", {"origin": "https://elsewhere.example"}, 403, "Pages of other sites"),
    ],
)
def test_the_mcp_server_refuses_a_bad_request_with_the_reason(
    mcp_url: str, mcp_bystander: None, content: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = httpx.post(mcp_url + "/mcp", content=content, headers=USUAL | headers)
    assert (answer.status_code, reason in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "search", "arguments": "text"}),
        ("tools/call", {"name": "search", "arguments": [1]}),
        ("tools/call", {"name": "search", "arguments": 5}),
        ("tools/call", {"name": 5, "arguments": {}}),
        ("tools/call", {"arguments": {}}),
        ("tools/call", None),
        ("resources/read", {"uri": 5}),
        ("prompts/get", {"name": 5}),
        ("initialize", {"protocolVersion": 5}),
        ("dance", {}),
    ],
)
def test_parameters_of_a_wrong_type_are_refused_over_mcp_and_are_no_step(
    agent: Agent, mcp_bystander: None, method: str, params: Any
) -> None:
    answer = agent.ask(method, params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32602)
    last = agent.call("submit_answer", {"answer": "x"})
    assert last["_meta"]["mtr_env"]["log"]["steps"] == 1.0


@pytest.mark.parametrize(
    ("name", "arguments", "code", "reason"),
    [
        ("search", {"query": 5}, "invalid_arguments", "5 is not of type"),
        ("search", {"query": {"a": [1]}}, "invalid_arguments", "is not of type"),
        ("search", {}, "invalid_arguments", "'query' is a required property"),
        ("submit_answer", {"answer": ["a"]}, "invalid_arguments", "is not of type"),
        ("nothing", {}, "unknown_tool", "There is no tool called 'nothing'"),
    ],
)
def test_arguments_of_a_wrong_type_are_a_step_over_mcp_and_the_result_says_why(
    agent: Agent, mcp_bystander: None, name: str, arguments: dict[str, Any], code: str, reason: str
) -> None:
    result = agent.call(name, arguments)
    error = json.loads(result["content"][0]["text"])["error"]
    assert (result["isError"], error["code"]) == (True, code)
    assert reason in error["message"].replace('"', "'")
    last = agent.call("submit_answer", {"answer": "x"})
    assert last["_meta"]["mtr_env"]["log"]["policy_faults"] == 1.0


def test_mcp_clients_that_send_slowly_are_cut_off_and_hold_up_nobody(
    agent: Agent, mcp_url: str, mcp_bystander: None
) -> None:
    """Headers that do not end, bodies that do not, and a request of a session that plays."""
    session = f"mcp-session-id: {agent.client.headers['mcp-session-id']}\r\n"
    usual = "".join(f"{name}: {value}\r\n" for name, value in USUAL.items())
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        headers, bodies = opened(mcp_url, 25, stack), opened(mcp_url, 25, stack)
        for slow in headers:
            slow.sendall(b"POST /mcp HTTP/1.1\r\nHost: x\r\nX-")
        for number, slow in enumerate(bodies):
            more = usual + (session if number % 2 else "")
            slow.sendall(f"POST /mcp HTTP/1.1\r\nHost: x\r\n{more}Content-Length: 100\r\n\r\n{{".encode())
        assert not agent.call("search", {"query": "x"})["isError"]
        assert [slow.recv(4096) for slow in headers] == [b""] * 25
        assert [slow.recv(12) for slow in bodies] == [b"HTTP/1.1 408"] * 25
    assert 0.4 < time.monotonic() - begun < 20
    assert agent.call("submit_answer", {"answer": "x"})["_meta"]["mtr_env"]["log"]["steps"] == 2.0


def test_a_token_that_is_wrong_ends_no_mcp_session(game: Game) -> None:
    secret = {"authorization": "Bearer k3y"}
    with served(MCPServer(game, question_id=game.world.ids[0]).http(LIMITS), limits=LIMITS, token="k3y") as url:
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        with httpx.Client(base_url=url, headers=USUAL) as client:
            begun = client.post("/mcp", json=hello, headers=secret).headers["mcp-session-id"]
            for wrong in ({}, {"authorization": "Bearer k3"}, {"authorization": "Basic k3y"}):
                taken = client.request("DELETE", "/mcp", headers=wrong | {"mcp-session-id": begun})
                assert (taken.status_code, "token" in taken.text) == (401, True), taken.text
            for call in oracle_calls(game, game.world.ids[0]):
                asked = {**hello, "method": "tools/call", "params": {"name": call[0], "arguments": call[1]}}
                answer = client.post("/mcp", json=asked, headers=secret | {"mcp-session-id": begun})
            assert answer.json()["result"]["_meta"]["mtr_env"]["reward"] == 1.0


def test_an_mcp_session_whose_client_has_gone_expires_and_makes_room() -> None:
    limits = Limits(max_sessions=1, idle_s=0.3)
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    kept: list[Trace] = []
    app = MCPServer(make_game(SYNTHETIC, limit=5), keep=kept.append).http(limits)
    client = httpx.Client(headers={"accept": "application/json, text/event-stream"})
    with served(app, limits=limits) as url, client:
        begun = client.post(url + "/mcp", json=opening)
        assert client.post(url + "/mcp", json=opening).status_code == 503
        time.sleep(1.0)
        gone = {"mcp-session-id": begun.headers["mcp-session-id"]}
        assert client.post(url + "/mcp", json={**opening, "method": "ping"}, headers=gone).status_code == 404
        assert client.post(url + "/mcp", json=opening).status_code == 200
    assert [len(trace.steps) for trace in kept] == [0, 0]


def test_sessions_made_over_http_count_as_well() -> None:
    limits = Limits(max_sessions=1)
    create = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}
    with served(make_app(make_game(SYNTHETIC, limit=5), limits=limits), limits=limits) as url:
        made = httpx.post(url + "/mcp", json=create).json()["result"]
        refused = httpx.post(url + "/mcp", json=create).json()["error"]
        assert refused["data"] == {"active_sessions": 1, "max_sessions": 1}
        with pytest.raises(RuntimeError, match="CAPACITY_REACHED"), MTRClient(url).sync() as env:
            env.reset(seed=0)
        close = {**create, "method": "openenv/session/close", "params": made}
        assert httpx.post(url + "/mcp", json=close).json()["result"]["closed"]


# --------------------------------------------------------------------------------------------------------- the command


def started(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """`mtr-env serve` in a process of its own, and its URL."""
    command = [sys.executable, "-m", "mtr_env", "serve", SYNTHETIC, "--limit", "20", "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line + process.stderr.read()
    return process, found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_keeps_what_is_finished_and_stops_when_told(tmp_path: Path, number: int) -> None:
    process, url = started(
        "--out", str(tmp_path / "out"), "--token-variable", "MTR_TEST_TOKEN", MTR_TEST_TOKEN="secret"
    )
    assert process.stderr is not None
    try:
        with MTRClient(url, token="secret").sync() as env:
            env.reset(seed=3)
            env.step(call_action("submit_answer", {"answer": "x"}))
            env.reset(seed=4)
            env.step(call_action("search", {"query": "x"}))
            process.send_signal(number)
            code = process.wait(30)
        said = process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
    assert "episodes finished: 1; left before their end, and not kept: 1" in said
    assert "Traceback" not in said and "secret" not in said
    assert code == (130 if number == signal.SIGINT else 0)
    [trace] = read_traces(tmp_path / "out" / "traces.jsonl")
    assert (trace.seed, trace.answer) == (3, "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stdio"], "--stdio is for --mcp"),
        (["--mcp", "--stdio", "--port", "1"], "--port is for a server that listens"),
        (["--question-id", "x"], "--question-id is for --mcp"),
        (["--mcp", "--question-id", "nobody"], "No question with id 'nobody'"),
        (["--token-variable", "MTR_NOT_SET"], "The environment variable MTR_NOT_SET holds no token"),
        (["--token-file", "/nowhere/token"], "/nowhere/token: No such file"),
        (["--port", "x"], "expected an integer of at least 0"),
        (["--port", "99999"], "A port is a number from 0 to 65535, found 99999."),
        (["--token", "secret"], "unrecognized arguments"),
    ],
)
def test_what_the_user_has_to_change_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", SYNTHETIC, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "extra"), [([], "openenv"), (["--mcp"], "mcp"), (["--mcp", "--stdio"], "mcp")])
def test_a_missing_package_is_named_with_its_extra(
    arguments: list[str],
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, f"mtr_env.adapters.{extra}")
    for name in [name for name in sys.modules if name.partition(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    for _ in range(2):  # the folder is as new
        assert main(["serve", SYNTHETIC, *arguments, "--out", str(tmp_path / "out")]) == 2
        assert f"-e '.[{extra}]'" in capsys.readouterr().err


def test_a_folder_with_episodes_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "traces.jsonl").write_text("{}\n")
    assert main(["serve", SYNTHETIC, "--out", str(tmp_path)]) == 2
    assert "has a traces.jsonl already" in capsys.readouterr().err
    assert (tmp_path / "traces.jsonl").read_text() == "{}\n"


def test_a_port_that_is_taken_is_one_sentence(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    taken = int(url.rsplit(":", 1)[1])
    assert main(["serve", SYNTHETIC, "--limit", "5", "--port", str(taken)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert re.fullmatch(rf"mtr-env: error: Cannot listen on 127.0.0.1 port {taken}: .*address already in use.*\n", err)


# ----------------------------------------------------------------------------------------------------------------- fuzz


# Sockets' keep-alives draw from `random` in other threads, which Hypothesis takes for its strategies' doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_no_request_that_the_description_allows_or_forbids_ends_in_a_5xx(url: str, bystander: None) -> None:
    schema = schemathesis.openapi.from_url(url + "/openapi.json")
    seen: Counter[str] = Counter()
    with requests.Session() as session:
        for operation in schema.get_all_operations():
            _fuzz(operation.ok(), session, seen)
    assert len(seen) >= 12 and sum(seen.values()) > 300, seen


def _fuzz(operation: Any, session: requests.Session, seen: Counter[str]) -> None:
    """Requests of one operation, half of them as its description has them and half of them against it."""

    def fuzzed(case: Any) -> None:
        seen[operation.label] += 1
        response = case.call(session=session)
        assert response.status_code < 500, (response.status_code, case.as_curl_command())

    valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)
    quiet = settings(
        max_examples=60,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    quiet(given(valid | invalid)(fuzzed))()
