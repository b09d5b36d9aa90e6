"""Seeded noise around any ToolActor: tools that fail, find nothing, answer in part or contradict the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from mtr_env import draw
from mtr_env.question import View
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import ask, respond_many
from mtr_env.trace import Call, Response

KINDS = ("tool_failure", "not_found", "partial", "contradicting")


class Noise(Struct, frozen=True):
    """Probabilities in [0, 1] of each kind of noise in a response; together at most 1.

    Computing tools only fail; a kind that cannot apply (part of a single value, a contradiction in running text) leaves
    the response as it is.
    """

    tool_failure: float = 0.0
    not_found: float = 0.0
    partial: float = 0.0
    contradicting: float = 0.0

    def __post_init__(self) -> None:
        values = [getattr(self, kind) for kind in KINDS]
        if any(not 0 <= value <= 1 for value in values) or sum(values) > 1 + 1e-9:
            raise ValueError(f"Noise probabilities lie in [0, 1] and sum to at most 1, found {self}.")

    @classmethod
    def of(cls, noise: float | Mapping[str, float] | Noise | None) -> Noise:
        """From a single number (shared equally by all kinds), a mapping of kinds, a ``Noise``, or ``None``.

        >>> Noise.of(0.2).partial, Noise.of({"partial": 0.1}).partial
        (0.05, 0.1)
        """
        if isinstance(noise, Noise):
            return noise
        if isinstance(noise, str):
            raise ValueError(f"noise is a number or a mapping of kinds such as {{'partial': 0.1}}, found {noise!r}.")
        if isinstance(noise, Mapping):
            unknown = sorted(set(noise) - set(KINDS))
            if unknown:
                raise ValueError(f"Unknown kind of noise {unknown[0]!r}; expected some of {', '.join(KINDS)}.")
            return cls(**noise)
        return cls(*[float(noise or 0.0) / len(KINDS)] * len(KINDS))

    @property
    def is_none(self) -> bool:
        """Whether every probability is 0."""
        return not any(getattr(self, kind) for kind in KINDS)


class NoisyToolActor:
    """Adds noise to another ToolActor. Which call is hit, and how, is a function of seed, question, call and attempt:
    the same call again is a new draw, so a retry after a failure can succeed."""

    def __init__(self, inner: ToolActor, noise: float | Mapping[str, float] | Noise) -> None:
        self.inner = inner
        self.noise = Noise.of(noise)
        settings = ", ".join(f"{kind}={getattr(self.noise, kind):g}" for kind in KINDS)
        self.name = f"{inner.name} + noise({settings})"
        self.remote: bool = getattr(inner, "remote", False)

    def __deepcopy__(self, memo: object) -> NoisyToolActor:
        return self

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        return self._disturb(self.inner.respond(call, spec, view, history, key), spec, view, key)

    async def arespond(self, request: ToolRequest) -> Response:
        """See :class:`~mtr_env.toolactors.base.AsyncToolActor`."""
        return self._disturb(await ask(self.inner, request), request.spec, request.view, request.key)

    def respond_many(self, requests: Sequence[ToolRequest]) -> list[Response | Exception]:
        """See :class:`~mtr_env.toolactors.base.BatchToolActor`; one by one where the inner actor has no batch form."""
        responses = respond_many(self.inner, requests)
        return [
            response if isinstance(response, Exception) else self._disturb(response, r.spec, r.view, r.key)
            for r, response in zip(requests, responses, strict=True)
        ]

    def _disturb(self, response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response:
        point = draw.uniform("noise", key.seed, key.question_id, key.call, key.attempt)
        for kind in KINDS:
            point -= getattr(self.noise, kind)
            if point < 0:
                return _DISTURB[kind](response, spec, view, key) or response
        return response


def _tool_failure(response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response:
    value = {"status": "error", "message": "The service is temporarily unavailable; try again."}
    return Response(value, (), "noise", note="tool_failure")


def _not_found(response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response | None:
    if not _is_ok(response) or spec.binding.startswith("compute:"):
        return None
    return Response({"status": "not_found", "message": "Nothing was found."}, (), "noise", note="not_found")


def _partial(response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response | None:
    """The first half of every list and of a page's text."""
    if not _is_ok(response):
        return None
    value = {name: _half(item) for name, item in response.value.items()}
    if value == response.value:
        return None
    if "total" in value:
        value["total"] = max(len(item) for item in value.values() if isinstance(item, list))
    stated = " ".join(_texts(value))
    sources = tuple(ref for ref in response.sources if _is_stated(ref, view, stated))
    return Response(value, sources, "noise", note="partial")


def _half(item: Any) -> Any:
    if isinstance(item, list) and len(item) > 1:
        return item[: (len(item) + 1) // 2]
    if isinstance(item, str) and len(item) > 120 and ". " in item:
        end = item.find(". ", len(item) // 3)
        return item[: end + 1] if end > 0 else item
    return item


def _contradicting(response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response | None:
    """Another object of the same relation in place of what a relation tool found."""
    kind, _, relation = spec.binding.partition(":")
    if not _is_ok(response) or kind != "relation":
        return None
    field = spec.response["then"]["required"][1]
    others = [f.object for f in view.facts if f.relation == relation and f.object not in response.value[field]]
    if not others:
        return None
    wrong = draw.choice(sorted(set(others)), "contradict", key.seed, key.question_id, key.call, key.attempt)
    return Response({**response.value, field: [wrong]}, (), "noise", note="contradicting")


def _is_ok(response: Response) -> bool:
    return isinstance(response.value, dict) and response.value.get("status") == "ok"


def _is_stated(ref: str, view: View, stated: str) -> bool:
    """Whether a shortened response still says what a reference stands for."""
    if ref.startswith("t"):
        fact = view.facts[int(ref[1:])]
        return fact.subject in stated and fact.object in stated
    if not ref.startswith("p"):
        return False
    paragraph, _, sentence = ref[1:].partition("s")
    place = view.paragraphs[int(paragraph)]
    return (place.sentences[int(sentence)] if sentence else place.title) in stated


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


_DISTURB = {
    "tool_failure": _tool_failure,
    "not_found": _not_found,
    "partial": _partial,
    "contradicting": _contradicting,
}
