"""The client of a chat endpoint: one request in, one completion or one ``ModelError`` out."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Sequence
from random import SystemRandom
from typing import Any

from msgspec import Struct

from mtr_env.llm.dialect import Dialect
from mtr_env.llm.endpoint import Endpoint, ModelError, read_key, scrub
from mtr_env.llm.lanes import Lane, Lanes, import_openai, make_clients
from mtr_env.llm.reply import Completion, Failure, read, refused
from mtr_env.tool import Schema
from mtr_env.trace import Usage

__all__ = ["ChatClient", "Completion", "ModelError", "Spent"]

BACKOFF = 0.5  # seconds before the first retry; doubled each time
LONGEST_BACKOFF = 16.0
_JITTER = SystemRandom()  # touches no stream that a user seeded, and differs after a fork


class Spent(Struct, frozen=True):
    """What a client has used in this process. ``cost`` in USD, ``None`` without prices.

    ``requests`` counts what was sent, with ``retries``, the requests sent again after a failure.
    """

    requests: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


class ChatClient:
    """A model behind an OpenAI-compatible chat endpoint (extra ``llm``).

    ``base_url`` is the server's (``http://127.0.0.1:8000/v1``); without it, ``OPENAI_BASE_URL`` or OpenAI itself. The
    key is read from the environment variable ``key_variable`` at the first request of an event loop and held by that
    loop's connections alone; servers other than OpenAI may do without. An ``api_key`` takes its place: it is kept in
    memory and written nowhere. At most ``concurrency`` requests are under way per event loop, each bounded by
    ``timeout`` seconds from sending to the last byte. What may pass (429, 408, 409, 5xx, timeouts, broken connections,
    bodies that are no completion) is sent again up to ``retries`` times, after the wait that the server asks for (at
    most 60 s) or one that doubles from half a second. ``prices`` are USD per million input and output tokens.
    ``temperature=None`` sends none, for models that refuse it.

    A server that refuses structured output gets the schema in the prompt from then on. One client may serve many
    threads and event loops; a copy is the client itself, a pickle holds its settings and no credentials (one that was
    given an ``api_key``, or a ``base_url`` with a password, is not pickled). It counts from 0 in every process.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 60.0,
        retries: int = 6,
        prices: tuple[float, float] | None = None,
        temperature: float | None = 0.0,
        max_output_tokens: int = 1024,
        api_key: str | None = None,
    ) -> None:
        if not model:
            raise ValueError("model is the name that the server knows it by, such as 'gpt-5-mini'.")
        for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
            if value < least:
                raise ValueError(f"{name} is at least {least}, found {value}.")
        if not timeout > 0 or max_output_tokens < 1:
            raise ValueError(f"timeout and max_output_tokens are positive, found {timeout} and {max_output_tokens}.")
        self.model, self.key_variable = model, key_variable
        self.concurrency, self.timeout, self.retries, self.prices = concurrency, timeout, retries, prices
        self.temperature, self.max_output_tokens = temperature, max_output_tokens
        self._endpoint = Endpoint.of(base_url or os.environ.get("OPENAI_BASE_URL") or None, api_key)
        self._credentials_given = api_key is not None or bool(base_url and self._endpoint.basic)
        heat = "default" if temperature is None else f"{temperature:g}"
        self.name = f"{model}(temperature={heat}, max_output_tokens={max_output_tokens})"
        self._dialect = Dialect("max_completion_tokens" if self._endpoint.is_openai else "max_tokens")
        self._begin()

    def _begin(self) -> None:
        """What belongs to this process: connections, and the counts."""
        self._lanes = Lanes()
        self._tally = _Tally()
        self._end = weakref.finalize(self, self._lanes.close)
        self._end.atexit = False
        _CLIENTS.add(self)

    def __repr__(self) -> str:
        return f"ChatClient({self.name!r})"

    def __deepcopy__(self, memo: object) -> ChatClient:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._credentials_given:
            raise TypeError(
                "A client with credentials in its base_url, or with an api_key, is not pickled, since a file would "
                f"hold them: give them in the environment variables OPENAI_BASE_URL and {self.key_variable}, which "
                "every process reads."
            )
        names = "model key_variable concurrency timeout retries prices temperature max_output_tokens".split()
        settings = {name: getattr(self, name) for name in names}
        return _restore, ({**settings, "base_url": None if self._endpoint.basic else self._endpoint.url},)

    @property
    def spent(self) -> Spent:
        """What was used so far in this process."""
        return self._tally.spent(self.prices)

    def check(self) -> None:
        """Raises now what would end every request: ``ImportError`` without the package, :class:`ModelError` without a
        key where one is needed."""
        import_openai()
        read_key(self.key_variable, self._endpoint)

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        schema: Schema | None = None,
        tools: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        max_output_tokens: int | None = None,
    ) -> Completion:
        """The model's answer to a conversation; with ``schema``, ``text`` is meant to be JSON that satisfies it, maybe
        with reasoning or a code fence around it (:func:`mtr_env.llm.answers.read_json`).

        ``max_output_tokens`` takes the place of the client's. A refusal or a filtered answer is a ``finish_reason``.
        Raises :class:`ModelError` when there is no answer after the retries, or at once when no retry can help.
        """
        wanted = {
            "model": self.model,
            "messages": list(messages),
            "temperature": self.temperature,
            "seed": seed,
            "tools": tools or None,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        key = read_key(self.key_variable, self._endpoint)
        lane = await self._lanes.current(
            lambda: make_clients(self._endpoint, key, self.timeout, self.concurrency), self.concurrency
        )
        outcome = await self._ask(lane, body, schema, max_output_tokens or self.max_output_tokens)
        if isinstance(outcome, Failure):
            raise ModelError(self._explain(outcome, key))
        return outcome

    async def _ask(self, lane: Lane, body: dict[str, Any], schema: Schema | None, tokens: int) -> Completion | Failure:
        """Sends a request until it is answered, or no retry can help, or none is left."""
        sent = retries = 0
        while True:
            try:
                content = self._dialect.write(body, schema, tokens)
            except UnicodeEncodeError:
                return Failure("a message is not valid Unicode text", retry=False)
            outcome = await self._send(lane, content, again=sent > 0)
            sent += 1
            if isinstance(outcome, Completion):
                return outcome
            self._dialect.learn(outcome, content)
            if self._dialect.write(body, schema, tokens) != content:
                continue  # in another form, at once
            if not outcome.retry or retries >= self.retries:
                many = f" (after {sent} requests)" if sent > 1 else ""
                return outcome._replace(problem=outcome.problem.rstrip(".") + many)
            await asyncio.sleep(_backoff(retries) if outcome.after is None else outcome.after)
            retries += 1

    async def _send(self, lane: Lane, content: bytes, *, again: bool) -> Completion | Failure:
        """One request, within the bounds of concurrency and time. What the libraries raise ends here."""
        openai, httpx2 = import_openai()
        async with lane.place() as openai_client:
            self._tally.sent(again)
            try:
                async with asyncio.timeout(self.timeout):
                    response = await openai_client.post("/chat/completions", cast_to=httpx2.Response, content=content)
            except (TimeoutError, openai.APITimeoutError):
                return Failure(f"no whole answer within {self.timeout:g} s", retry=True)
            except openai.APIStatusError as error:
                return refused(error.status_code, error.body, error.response.headers)
            except (openai.APIConnectionError, httpx2.HTTPError, OSError) as error:
                return Failure(f"the connection failed ({type(error.__cause__ or error).__name__})", retry=True)
        outcome = read(response.content, response.headers.get("content-type", ""))
        self._tally.used(outcome.usage)
        return outcome

    def _explain(self, failure: Failure, key: str) -> str:
        """A failure as a sentence that names the model, the server and the fix, and holds no secret."""
        given = self._endpoint.key is not None
        where = "given as api_key" if given else f"in the environment variable {self.key_variable}"
        fix = {
            401: f"Check the key {where}",
            403: f"The key {where} may not use this model",
            404: "Check the model's name and base_url, which mostly ends in /v1",
        }.get(failure.status or 0)
        if failure.status in (400, 422) and "temperature" in failure.problem:
            fix = "Give temperature=None for a model that takes none"
        problem = scrub(failure.problem, (key, *self._endpoint.secrets))
        return f"{self.model!r} at {self._endpoint.url}: {problem.rstrip('.')}.{f' {fix}.' if fix else ''}"


def _restore(settings: dict[str, Any]) -> ChatClient:
    return ChatClient(**settings)


_CLIENTS: weakref.WeakSet[ChatClient] = weakref.WeakSet()


def _begin_in_child() -> None:
    for client in list(_CLIENTS):
        client._end.detach()
        client._begin()


os.register_at_fork(after_in_child=_begin_in_child)


def _backoff(retries: int) -> float:
    """Seconds before the next request: doubled each time, and spread so that clients do not come back together."""
    return float(min(LONGEST_BACKOFF, BACKOFF * 2**retries) * (0.5 + _JITTER.random() / 2))


class _Tally:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0, 0, 0, 0]

    def sent(self, again: bool) -> None:
        self._add(1, int(again), 0, 0)

    def used(self, usage: Usage) -> None:
        self._add(0, 0, usage.input_tokens, usage.output_tokens)

    def _add(self, *counts: int) -> None:
        with self._lock:
            self._counts = [old + new for old, new in zip(self._counts, counts, strict=True)]

    def spent(self, prices: tuple[float, float] | None) -> Spent:
        requests, retries, read, written = self._counts
        cost = None if prices is None else (read * prices[0] + written * prices[1]) / 1e6
        return Spent(requests, retries, read, written, cost)
