"""The client of chat endpoints, against a server on loopback with planned faults."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import itertools
import json
import logging
import multiprocessing
import pickle
import sys
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from chat_server import ANSWERS, FAULTS, INJECTION, OUTAGES, ChatServer

import mtr_env.llm.client as client_module
import mtr_env.llm.lanes as lanes_module
from mtr_env.llm import ChatClient, Completion, ModelError, Spent
from mtr_env.llm.answers import read_json
from mtr_env.llm.dialect import Dialect
from mtr_env.llm.endpoint import scrub
from mtr_env.llm.loop import run
from mtr_env.llm.reply import Failure, read, retry_after
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
        assert 0.4 <= time.monotonic() - start < 5
        assert ask(client).finish_reason == "stop", "the connection that hung takes no place in the pool"


def test_a_slow_answer_within_the_timeout_is_an_answer() -> None:
    with ChatServer(script=["slow"], slow=0.3) as server:
        client = ChatClient("tiny", base_url=server.url, timeout=5.0)
        assert ask(client).text
        assert client.spent.retries == 0


@pytest.mark.parametrize("fault", ["429_retry_after", "429_date"])
def test_the_wait_that_a_server_asks_for_is_kept(fault: str) -> None:
    wait = 0.4 if fault == "429_retry_after" else 2.0  # a date has whole seconds: at least one passes
    with ChatServer(script=[fault], retry_after=wait) as server:
        client = ChatClient("tiny", base_url=server.url)
        ask(client)
        first, second = server.times
    assert wait - 1.0 * (fault == "429_date") <= second - first < wait + 2


def test_the_wait_grows_where_the_server_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BACKOFF", 0.05)
    with ChatServer(script=["429"] * 4) as server:
        ask(ChatClient("tiny", base_url=server.url))
        times = list(server.times)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    for i, wait in enumerate(waits):
        assert 0.05 * 2**i / 2 <= wait < 0.05 * 2**i + 1


def test_a_wait_is_capped_and_nonsense_is_none() -> None:
    now = 1_800_000_000.0
    dated = {"retry-after": formatdate(now + 7, usegmt=True)}
    assert retry_after(dated, now) == 7.0
    assert retry_after({"retry-after": formatdate(now - 7, usegmt=True)}, now) == 0.0
    assert retry_after({"retry-after": formatdate(now + 9e6, usegmt=True)}, now) == 60.0
    for nonsense in ("", "nan", "soon", "-inf inf", "Fri, 99 Nov 2026 00:00:00 GMT", "1" * 5000 + "x"):
        assert retry_after({"retry-after": nonsense}, now) is None
    assert retry_after({"retry-after": "-3"}, now) == 0.0


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        ("400", "status 400"),
        ("401", "Check the key in the environment variable MY_KEY"),
        ("403", "MY_KEY may not use this model"),
        ("404", "Check the model's name and base_url"),
        ("quota", "status 429"),
    ],
)
def test_what_no_retry_can_help_is_told_at_once_with_the_fix(fault: str, fix: str) -> None:
    with ChatServer(script=[fault] * 9) as server:
        client = ChatClient("tiny", base_url=server.url, key_variable="MY_KEY")
        message = failure(client)
        assert "'tiny' at http://127.0.0.1:" in message and fix in message
        assert server.requests == client.spent.requests == 1


def test_after_the_last_retry_the_failure_is_told() -> None:
    with ChatServer(script=["500"] * 9) as server:
        message = failure(ChatClient("tiny", base_url=server.url, retries=2))
        assert "status 500" in message and "(after 3 requests)" in message
        assert server.requests == 3


def test_a_body_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "MAX_BODY", 10_000)
    with ChatServer(lambda body: "x" * int(body["messages"][0]["content"])) as server:
        client = ChatClient("tiny", base_url=server.url, retries=0)
        assert len(ask(client, [{"role": "user", "content": "9000"}]).text) == 9000
        with pytest.raises(ModelError, match="the connection failed"):
            ask(client, [{"role": "user", "content": "50000"}])


def test_a_server_that_is_not_there_is_an_outage() -> None:
    with ChatServer() as server:
        url = server.url
    assert "the connection failed (ConnectError)" in failure(ChatClient("tiny", base_url=url, retries=1))


def test_without_base_url_a_missing_key_is_told_by_its_variable() -> None:
    message = failure(ChatClient("gpt-x", key_variable="THE_KEY"))
    assert "set the environment variable THE_KEY" in message


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer() as server:
        ask(ChatClient("tiny", base_url=server.url))
        monkeypatch.setenv("MY_KEY", f"  {CANARY}\n")
        ask(ChatClient("tiny", base_url=server.url, key_variable="MY_KEY"))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        ask(ChatClient("tiny"))
        sent = [headers["authorization"] for headers in server.headers]
    assert sent == ["Bearer none", f"Bearer {CANARY}", "Bearer none"]


def test_credentials_of_a_url_are_sent_and_stand_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer() as server:
        url = server.url.replace("//", f"//me:{CANARY}%2F@")
        client = ChatClient("tiny", base_url=url)
        ask(client)
        sent = server.headers[0]["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"me:{CANARY}/"
    assert "me:" not in repr(client) + client.name + repr(vars(client))
    with pytest.raises(TypeError, match="environment variables OPENAI_BASE_URL and OPENAI_API_KEY"):
        pickle.dumps(client)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    pickled = pickle.dumps(ChatClient("tiny"))
    assert CANARY.encode() not in pickled
    assert pickle.loads(pickled)._endpoint == client._endpoint


@pytest.mark.parametrize(
    "url", [f"ftp://a:{CANARY}@b", f"{CANARY}", f"http://h/v1?key={CANARY}", f"http://h:{CANARY}/"]
)
def test_a_base_url_that_cannot_be_one_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        ChatClient("tiny", base_url=url)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("settings", [{"model": ""}, {"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ChatClient(**{"model": "tiny", **settings})


EVERY_FAILURE = [*OUTAGES, "400", "401", "403", "404", "quota"]


@pytest.mark.parametrize("place", ["key", "argument", "url"])
@pytest.mark.parametrize("fault", EVERY_FAILURE)
def test_a_key_is_shown_by_no_failure(
    fault: str, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", CANARY if place == "key" else "")
    with ChatServer(lambda body: CANARY, script=[fault] * 2, key="another" if fault == "401" else None) as server:
        url = server.url.replace("//", f"//me:{CANARY}@") if place == "url" else server.url
        given = CANARY if place == "argument" else None
        client = ChatClient("tiny", base_url=url, key_variable="MY_KEY", timeout=0.3, retries=1, api_key=given)
        with pytest.raises(ModelError) as caught:
            ask(client)
        assert caught.value.__context__ is None and caught.value.__cause__ is None
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    shown += repr(client) + client.name + repr(client.spent) + repr(vars(client)) + caplog.text
    if place == "key":
        shown += str(pickle.dumps(client))
    for form in (CANARY, base64.b64encode(f"me:{CANARY}".encode()).decode()):
        assert form not in shown


def test_what_looks_like_a_key_is_hidden_in_the_servers_own_words() -> None:
    said = f"no Bearer abc.def and no {CANARY} or sk-other-12345678 via https://u:p@host/"
    assert scrub(said, (CANARY,)) == "no [hidden] and no [hidden] or [hidden] via https:[hidden]host/"
    assert len(scrub("x" * 10_000, ())) == 300


def test_a_key_that_no_header_can_hold_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"{CANARY}\r\nX: y")
    message = failure(ChatClient("tiny", base_url="http://127.0.0.1:9/v1", key_variable="MY_KEY"))
    assert "MY_KEY" in message and CANARY not in message


def test_a_key_that_is_given_takes_the_place_of_the_variables_and_is_never_pickled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-of-another-server")
    with ChatServer(key=CANARY) as server:
        client = ChatClient("tiny", base_url=server.url, key_variable="MY_KEY", api_key=f" {CANARY}\n")
        ask(client)
        with pytest.raises(TypeError, match=r"with an api_key, is not pickled.*OPENAI_BASE_URL and MY_KEY"):
            pickle.dumps(client)
        refused = ChatClient("tiny", base_url=server.url, key_variable="MY_KEY", api_key="wrong")
        assert "Check the key given as api_key" in failure(refused)
    unfit = ChatClient("tiny", base_url="http://127.0.0.1:9/v1", api_key=f"{CANARY}\r\nX: y")
    assert failure(unfit) == "The api_key holds characters that no key has; set it again."


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_bad_answer_is_an_answer(fault: str) -> None:
    with ChatServer(lambda body: '{"status": "all is well"}', script=[fault]) as server:
        client = ChatClient("tiny", base_url=server.url)
        completion = ask(client, schema=SCHEMA)
        assert server.requests == 1
    assert completion.finish_reason == (fault if fault in ("length", "refusal", "content_filter") else "stop")
    assert (completion.text == "") == (fault in ("empty", "refusal", "content_filter"))
    said = {"injection": INJECTION, "gold": "the gold answer"}.get(fault)
    assert said is None or msgspec.json.decode(completion.text) == {"status": said}


def test_a_schema_is_sent_as_response_format() -> None:
    with ChatServer(lambda body: '{"status": "ok"}') as server:
        assert ask(ChatClient("tiny", base_url=server.url), schema=SCHEMA).text == '{"status": "ok"}'
        sent = server.bodies[0]["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}


def test_a_server_without_structured_output_gets_the_schema_in_the_prompt_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def content(body: dict[str, Any]) -> str:
        assert "response_format" not in body
        return '<think>{"a"}</think>\n```json\n{"status": "ok"}\n```'

    with ChatServer(content, structured=False) as server:
        client = ChatClient("tiny", base_url=server.url, retries=0)
        system = {"role": "system", "content": "You are a tool."}
        found = [ask(client, m, schema=SCHEMA) for m in (ASK, [system, *ASK])]
        assert [read_json(completion) for completion in found] == [({"status": "ok"}, "")] * 2
        assert server.requests == client.spent.requests == 3, "one refusal, then never again"
        assert [record.message for record in caplog.records if record.name == "mtr_env"] == [
            "The server refuses response_format: from now on the schema stands in the prompt."
        ]
        bare, merged = list(server.bodies)[1:]
        assert {completion.text for completion in (*found, ask(client))} == {content({})}, "a text is left as it is"
    assert bare["messages"][0]["role"] == "system" and bare["messages"][1:] == ASK
    assert merged["messages"][0]["content"].startswith("You are a tool.\n\nAnswer with one JSON value")
    assert merged["messages"][0]["content"].endswith(msgspec.json.encode(SCHEMA).decode())
    assert merged["messages"][1:] == ASK


def test_the_name_of_the_token_limit_is_found_out_once() -> None:
    with ChatServer(limit_name="max_completion_tokens") as server:
        client = ChatClient("tiny", base_url=server.url, retries=0, max_output_tokens=77)
        ask(client), ask(client)
        assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 77, 77]


@pytest.mark.parametrize(
    ("problem", "limit"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", "max_completion_tokens"),
        ("Unrecognized request argument supplied: max_tokens", "max_completion_tokens"),
        ("Please use 'max_completion_tokens' instead.", "max_completion_tokens"),
        ("'max_tokens' is too large: 4096. This model supports at most 2048 tokens.", "max_tokens"),
        ("This model's maximum context length is 8192 tokens: reduce the messages or max_tokens.", "max_tokens"),
    ],
)
def test_a_limit_that_is_too_large_is_not_an_unknown_one(problem: str, limit: str) -> None:
    dialect = Dialect("max_tokens")
    dialect.learn(Failure(f"status 400: {problem}", retry=False, status=400), b"{}")
    assert dialect.limit == limit


def test_a_refusal_of_another_kind_changes_nothing() -> None:
    with ChatServer(script=["400"]) as server:
        client = ChatClient("tiny", base_url=server.url)
        failure(client, schema=SCHEMA)
        ask(client, schema=SCHEMA)
        assert "response_format" in server.bodies[-1]


def test_tool_calls_come_as_text_whatever_the_server_made_of_them() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "search", "arguments": '{"query": "x"'}},
        {"id": None, "function": {"name": 3, "arguments": {"query": "y"}}},
        {"function": None},
        "nonsense",
    ]
    with ChatServer(lambda body: {"content": None, "tool_calls": calls}) as server:
        tools = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
        completion = ask(ChatClient("tiny", base_url=server.url), tools=tools)
        assert server.bodies[0]["tools"] == tools
    assert completion.tool_calls == (("a", "search", '{"query": "x"'), ("", "", '{"query":"y"}'))
    assert (completion.text, completion.finish_reason) == ("", "tool_calls")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": "hi"}]}',
        b'{"error": {"message": ["a", {"b": 1}]}}',
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b"[" * 100_000,
        b'{"choices": [{"message": {"content": "\xff"}}]}',
    ],
)
def test_a_body_that_is_no_completion_is_a_failure_that_may_pass(body: bytes) -> None:
    outcome = read(body, "application/json")
    assert isinstance(outcome, Failure) and outcome.retry and outcome.problem


def test_counts_of_tokens_are_believed_only_when_they_can_be() -> None:
    for count in (-1, 1.5, "7", None, True, 10**30, [], {}):
        reply = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count, "completion_tokens": 2}}
        outcome = read(json.dumps(reply).encode(), "")
        assert outcome.usage == Usage(0, 2)
    parts = {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}, 3]}}], "usage": "no"}
    assert read(json.dumps(parts).encode(), "") == Completion("ab")


def test_a_text_that_is_no_unicode_is_told_before_it_is_sent() -> None:
    with ChatServer() as server:
        with pytest.raises(ModelError, match="not valid Unicode"):
            ask(ChatClient("tiny", base_url=server.url), [{"role": "user", "content": "\ud800"}])
        assert server.requests == 0


def test_the_counts_are_the_servers_over_many_requests_with_faults() -> None:
    faults = [fault for fault in FAULTS if fault not in ("hang", "drip", "slow", "no_choices", "429_date")]
    with ChatServer(faults=faults, rate=0.3, seed=5, retry_after=0.001) as server:
        client = ChatClient("tiny", base_url=server.url, prices=(1.0, 1.0), retries=12)

        async def many() -> list[Completion]:
            asks = [client.complete([{"role": "user", "content": f"question {i}"}]) for i in range(300)]
            return await asyncio.gather(*asks)

        completions = asyncio.run(many())
        spent = client.spent
        assert {fault for fault in faults if server.faults[fault] == 0} == set(), "each kind was met"
        assert (spent.requests, spent.input_tokens, spent.output_tokens) == (server.requests, *server.tokens)
    assert spent.retries == spent.requests - 300
    assert spent.input_tokens == sum(completion.usage.input_tokens for completion in completions)
    assert spent.cost == pytest.approx(sum(server.tokens) / 1e6)


def test_the_faults_of_a_run_are_those_of_its_seed() -> None:
    def faults(seed: int) -> dict[str, int]:
        with ChatServer(faults=("500", "empty", "reset"), rate=0.5, seed=seed) as server:
            client = ChatClient("tiny", base_url=server.url)
            asyncio.run(gather(client, 40))
        return dict(server.faults)

    assert faults(1) == faults(1) != faults(2)


async def gather(client: ChatClient, count: int) -> list[Completion]:
    return await asyncio.gather(*[client.complete([{"role": "user", "content": str(i)}]) for i in range(count)])


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_no_more_requests_are_under_way_than_allowed(concurrency: int) -> None:
    with ChatServer(latency=0.01 * concurrency) as server:
        asyncio.run(gather(ChatClient("tiny", base_url=server.url, concurrency=concurrency), 60))
        assert server.peak == concurrency
        assert server.opened <= concurrency


def test_a_wait_before_a_retry_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(script=["429_retry_after"], retry_after=0.6) as server:
        client = ChatClient("tiny", base_url=server.url, concurrency=1)

        async def main() -> float:
            first = asyncio.ensure_future(client.complete(ASK))
            await asyncio.sleep(0.1)
            start = time.monotonic()
            await client.complete(ASK)
            await first
            return time.monotonic() - start

        start = time.monotonic()
        asyncio.run(main())
        assert list(server.times)[1] - start < 0.5


def test_a_request_that_is_given_up_leaves_its_place() -> None:
    with ChatServer(script=["hang"] * 5) as server:
        client = ChatClient("tiny", base_url=server.url, concurrency=2)

        async def main() -> None:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.complete(ASK), 0.1)
            await asyncio.wait_for(gather(client, 4), 5)

        asyncio.run(main())


def test_one_client_serves_loops_one_after_the_other_and_at_once() -> None:
    with ChatServer(latency=0.01) as server:
        client = ChatClient("tiny", base_url=server.url, concurrency=4)
        for _ in range(3):
            asyncio.run(gather(client, 5))
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(asyncio.run, gather(client, 10)) for _ in range(4)]:
                assert len(done.result()) == 10
        assert client.spent.requests == server.requests == 55
        assert not client._lanes._lanes, "each loop took its connections with it"


def test_synchronous_code_in_many_threads_shares_the_background_loop() -> None:
    with ChatServer(latency=0.01) as server:
        client = ChatClient("tiny", base_url=server.url)
        with ThreadPoolExecutor(8) as threads:
            texts = list(
                threads.map(lambda i: run(client.complete([{"role": "user", "content": str(i)}])).text, range(40))
            )
        assert texts == [str(i) for i in range(40)]
        assert server.peak > 1


def test_the_background_loop_does_not_wait_for_itself() -> None:
    async def inner() -> int:
        return 1

    async def outer() -> int:
        return run(inner())

    with pytest.raises(RuntimeError, match="await the coroutine instead"):
        run(outer())
    assert run(inner()) == 1


def test_a_copy_is_the_client_and_a_pickle_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", CANARY)
    with ChatServer() as server:
        client = ChatClient("tiny", base_url=server.url, key_variable="MY_KEY", temperature=0.5, max_output_tokens=9)
        ask(client)
        assert copy.deepcopy(client) is client
        pickled = pickle.dumps(client)
        again = pickle.loads(pickled)
        assert ask(again) == ask(client)
        assert (again.name, again.spent.requests, client.spent.requests) == (client.name, 1, 2)
        assert server.headers[-1]["authorization"] == server.headers[-2]["authorization"] == f"Bearer {CANARY}"
    assert CANARY.encode() not in pickled
    assert client.name == "tiny(temperature=0.5, max_output_tokens=9)"


def in_child(client: ChatClient, results: Any) -> None:
    texts = [run(client.complete(ASK)).text, asyncio.run(client.complete(ASK)).text]
    results.put((texts, client.spent.requests))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_client_works_in_a_child_process_and_counts_from_zero(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ChatServer() as server:
        client = ChatClient("tiny", base_url=server.url)
        run(client.complete(ASK))
        results = context.SimpleQueue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: what is tested here
            child = context.Process(target=in_child, args=(client, results), daemon=True)
            child.start()
        child.join(60)
        assert child.exitcode == 0
        assert results.get() == ([ASK[0]["content"]] * 2, 2)
        assert run(client.complete(ASK)).text and client.spent.requests == 2, "the parent goes on"
        assert server.requests == 4


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"-e '\.\[llm\]'"):
        ask(ChatClient("tiny", base_url="http://127.0.0.1:9/v1"))


def test_the_test_server_is_faster_than_what_it_measures() -> None:
    """2,000 requests a second over raw sockets, so that a slow test is the client's doing."""
    body = msgspec.json.encode({"model": "tiny", "messages": ASK})
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def one(port: int, count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
        writer.close()
        await writer.wait_closed()

    async def main(port: int) -> float:
        start = time.process_time()
        await asyncio.gather(*[one(port, 50) for _ in range(20)])
        return time.process_time() - start

    with ChatServer() as server:
        seconds = asyncio.run(main(server.port))
    assert 1000 / seconds > 2000, f"{1000 / seconds:.0f} requests a second of processor time, client and server"


def test_a_client_that_is_dropped_closes_its_connections() -> None:
    with ChatServer() as server:
        client = ChatClient("tiny", base_url=server.url)
        run(client.complete(ASK))
        assert len(server._open) == 1
        del client
        gc.collect()
        deadline = time.monotonic() + 5
        while server._open and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not server._open
