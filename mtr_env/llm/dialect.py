"""What a server was found not to understand, and how the same request is then written. Learnt once for each client."""

from __future__ import annotations

import logging
import re
from typing import Any

import msgspec

from mtr_env.llm.reply import Failure
from mtr_env.tool import Schema

logger = logging.getLogger("mtr_env")

_NO_SCHEMA = re.compile(r"response_format|json_schema|json schema|structured.output|guided|grammar", re.I)
# A limit that is too large (a context overflow) is named as well, and no other name helps against it.
_NO_LIMIT = re.compile(r"max_(?:completion_)?tokens", re.I)
_UNKNOWN = re.compile(
    r"unsupported|not supported|n.t support|unrecogni[sz]ed|unknown|unexpected|not permitted|use 'max", re.I
)
_REFUSALS = frozenset({400, 415, 422, 501})
_INSTRUCTION = "Answer with one JSON value that satisfies this JSON Schema, and with nothing else:\n"


class Dialect:
    """The form of a client's requests. Shared by its threads: a change made twice is the same change."""

    def __init__(self, limit: str) -> None:
        self.limit = self._first_limit = limit
        self.schema_in_prompt = False

    def write(self, body: dict[str, Any], schema: Schema | None, tokens: int) -> bytes:
        """A request's body as this server understands it. Raises as ``msgspec.json.encode`` does."""
        body = {**body, self.limit: tokens}
        if schema is not None and self.schema_in_prompt:
            body["messages"] = with_schema(body["messages"], schema)
        elif schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
        return msgspec.json.encode(body)

    def learn(self, failure: Failure, sent: bytes) -> None:
        """Notes what a refusal says about the form of the request."""
        if failure.status not in _REFUSALS:
            return
        if b'"response_format":' in sent and _NO_SCHEMA.search(failure.problem):
            if not self.schema_in_prompt:
                logger.warning("The server refuses response_format: from now on the schema stands in the prompt.")
            self.schema_in_prompt = True
        elif _NO_LIMIT.search(failure.problem) and _UNKNOWN.search(failure.problem) and self.limit == self._first_limit:
            self.limit = "max_tokens" if self.limit == "max_completion_tokens" else "max_completion_tokens"


def with_schema(messages: list[dict[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """The messages with the schema in the system message, which chat templates want first and single."""
    wish = _INSTRUCTION + msgspec.json.encode(schema).decode()
    if messages and messages[0].get("role") == "system" and isinstance(messages[0].get("content"), str):
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{wish}"}, *messages[1:]]
    return [{"role": "system", "content": wish}, *messages]
