"""The ladder: the evidence answers what it can, a model the rest."""

from __future__ import annotations

from collections.abc import Sequence

from mtr_env.errors import ToolsetError
from mtr_env.question import View
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import ask, respond_many
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Call, Response


class LadderToolActor:
    """Asks ``grounded`` first, and ``llm`` (any ToolActor) where that has no binding for the tool or does not find what
    is asked for. Each response says by its ``origin`` who gave it.

    A computation is never passed on: an expression that cannot be computed is the call's mistake. A cassette belongs
    around the model (``LadderToolActor(GroundedToolActor(), CassetteToolActor(LLMToolActor(...), path))``), as the
    evidence costs nothing.
    """

    def __init__(self, grounded: GroundedToolActor, llm: ToolActor) -> None:
        self.grounded = grounded
        self.llm = llm
        self.name = f"ladder({grounded.name}, {llm.name})"
        self.remote: bool = getattr(llm, "remote", False)
        self.uses_history: bool = getattr(llm, "uses_history", False)

    def __deepcopy__(self, memo: object) -> LadderToolActor:
        return self

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        found = self._find(ToolRequest(call, spec, view, history, key))
        return self.llm.respond(call, spec, view, history, key) if found is None else found

    async def arespond(self, request: ToolRequest) -> Response:
        """As :meth:`respond`, awaiting the model."""
        found = self._find(request)
        return await ask(self.llm, request) if found is None else found

    def respond_many(self, requests: Sequence[ToolRequest]) -> list[Response | Exception]:
        """See :class:`~mtr_env.toolactors.base.BatchToolActor`; the model gets what is left as one batch."""
        found = [self._find(request) for request in requests]
        left = [request for request, response in zip(requests, found, strict=True) if response is None]
        rest = iter(respond_many(self.llm, left) if left else ())
        return [next(rest) if response is None else response for response in found]

    def _find(self, request: ToolRequest) -> Response | None:
        """What the evidence answers, or ``None``."""
        spec = request.spec
        try:
            response = self.grounded.respond(request.call, spec, request.view, request.history, request.key)
        except ToolsetError:
            return None
        found = isinstance(response.value, dict) and response.value.get("status") == "ok"
        return response if found or spec.binding.startswith("compute:") else None
