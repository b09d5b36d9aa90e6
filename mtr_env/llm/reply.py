"""What a chat endpoint answered: a completion, or a failure with what to do about it. Everything in it is untrusted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from mtr_env.trace import Usage

RETRIED = frozenset({408, 409, 429})  # and every 5xx but 501
MAX_TOKENS = 2**40  # a larger count is nonsense
LONGEST_WAIT = 60.0  # seconds that a Retry-After may ask for; a server that asks for more is asked earlier


class Completion(Struct, frozen=True):
    """A model's answer, untrusted. ``text`` is ``""`` where there is none.

    ``tool_calls`` are (id, name, arguments as JSON text). ``finish_reason`` is ``"stop"``, ``"length"``,
    ``"tool_calls"``, ``"content_filter"``, ``"refusal"`` or a server's own word. ``usage`` is 0 where the server does
    not report it.
    """

    text: str
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    finish_reason: str = "stop"
    usage: Usage = Usage()


class Failure(NamedTuple):
    """A request without a completion. ``after`` is the wait in seconds that the server asked for."""

    problem: str
    retry: bool
    status: int | None = None
    after: float | None = None
    usage: Usage = Usage()


def read(body: bytes, content_type: str) -> Completion | Failure:
    """A response body with status 200."""
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deeply
        what = f"{len(body)} bytes of {content_type.partition(';')[0][:40] or 'an unnamed type'}"
        return Failure(f"an answer that is not whole JSON ({what})", retry=True)
    reply = reply if isinstance(reply, dict) else {}
    usage = _usage(reply.get("usage"))
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        problem = _message(reply) or "an answer without choices"
        return Failure(problem, retry=True, usage=usage)
    calls = _tool_calls(message.get("tool_calls"))
    reason = choice.get("finish_reason")
    reason = reason[:40] if isinstance(reason, str) and reason else "tool_calls" if calls else "stop"
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        reason = "refusal"
    return Completion(_text(message.get("content")), calls, reason, usage)


def refused(status: int, body: Any, headers: Mapping[str, str]) -> Failure:
    """A response with another status. OpenAI's "no money left" comes as 429, and no wait helps against it."""
    error = body.get("error", body) if isinstance(body, dict) else body
    spent = isinstance(error, dict) and "insufficient_quota" in (error.get("code"), error.get("type"))
    retry = not spent and (status in RETRIED or (status >= 500 and status != 501))
    message = _message(body)
    problem = f"status {status}: {message}" if message else f"status {status}"
    return Failure(problem, retry, status, retry_after(headers))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that ``Retry-After`` asks for (a number or an HTTP date), at most :data:`LONGEST_WAIT`.

    >>> retry_after({"retry-after": "2.5"}), retry_after({"retry-after": "soon"}), retry_after({"retry-after": "1e9"})
    (2.5, None, 60.0)
    """
    text = headers.get("retry-after", "").strip()
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, 0.0), LONGEST_WAIT) if wait == wait else None


def _usage(value: Any) -> Usage:
    counts = value if isinstance(value, dict) else {}
    return Usage(_count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0


def _text(content: Any) -> str:
    """A string, or the text parts of a list as some servers send it."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _tool_calls(calls: Any) -> tuple[tuple[str, str, str], ...]:
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            arguments = function.get("arguments")
            if not isinstance(arguments, str):  # some servers send the object itself
                arguments = "" if arguments is None else msgspec.json.encode(arguments).decode()
            found.append((_string(call.get("id")), _string(function.get("name")), arguments))
    return tuple(found)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _message(body: Any) -> str:
    """What a server says about an error, in the forms that servers use."""
    for _ in range(3):
        if not isinstance(body, dict):
            break
        body = next((body[name] for name in ("error", "message", "detail") if body.get(name)), "")
    if isinstance(body, (dict, list)):
        return msgspec.json.encode(body)[:2000].decode(errors="replace")
    return body if isinstance(body, str) else ""
