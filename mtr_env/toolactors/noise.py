"""Seeded noise around any ToolActor: tools that fail, find nothing, answer in part or contradict the evidence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from mtr_env import draw
from mtr_env.contract import Contract
from mtr_env.question import View
from mtr_env.text import json_texts
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import ask, checked, respond_many
from mtr_env.trace import Call, Response

KINDS = ("tool_failure", "not_found", "partial", "contradicting")


class Noise(Struct, frozen=True):
    """Probabilities in [0, 1] of each kind of noise in a response; together at most 1.

    Computing tools only fail; a kind that cannot apply (part of a single value, a contradiction in running text,
    something that the tool's schema forbids) leaves the response as it is.
    """

    tool_failure: float = 0.0
    not_found: float = 0.0
    partial: float = 0.0
    contradicting: float = 0.0

    def __post_init__(self) -> None:
        values = [getattr(self, kind) for kind in KINDS]
        if any(not 0 <= value <= 1 for value in values) or sum(values) > 1 + 1e-9:
            raise ValueError(f"Noise probabilities lie in [0, 1] and sum to at most 1, found {_settings(self)}.")

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


class NoiseSchedule(Struct, frozen=True):
    """Noise that changes as training goes on: at each progress in [0, 1] of ``points`` (in rising order) a
    :class:`Noise`, linear between two points, constant before the first and after the last.

    An episode's progress is where its seed lies from the first of ``seeds`` (0) to the second (1), so a saved trace
    says all that its noise depends on. The episodes of ``mtr_env.adapters.trl.make_rollout_func`` have seeds that rise
    with the optimisation step: :meth:`over_steps`.
    """

    points: tuple[tuple[float, Noise], ...]
    seeds: tuple[int, int]

    def __post_init__(self) -> None:
        places = [place for place, _ in self.points]
        if not places or sorted(set(places)) != places or not 0 <= places[0] <= places[-1] <= 1:
            raise ValueError(f"A schedule's points are at rising places in [0, 1], found {places}.")
        if not self.seeds[0] < self.seeds[1]:
            raise ValueError(f"seeds are the first and the last, which is larger, found {self.seeds}.")

    @classmethod
    def of(cls, points: Mapping[float, float | Mapping[str, float] | Noise], seeds: tuple[int, int]) -> NoiseSchedule:
        """From progress to noise in any form that :meth:`Noise.of` takes.

        >>> NoiseSchedule.of({0.0: 0.0, 1.0: 0.4}, seeds=(0, 99)).at(0.5).partial
        0.05
        """
        return cls(tuple([(float(place), Noise.of(noise)) for place, noise in points.items()]), seeds)

    @classmethod
    def over_steps(cls, points: Mapping[float, float | Mapping[str, float] | Noise], steps: int) -> NoiseSchedule:
        """:meth:`of` over the optimisation steps of a training, from the first (0) to the last of ``steps`` (1).

        >>> schedule = NoiseSchedule.over_steps({0.0: 0.0, 1.0: 0.4}, steps=100)
        >>> round(schedule.progress_of(draw.group_seed(0, 50, "question")), 1)
        0.5
        """
        return cls.of(points, (0, max(steps, 1) * draw.SEEDS_PER_STEP))

    def at(self, progress: float) -> Noise:
        """The noise at a progress."""
        after = bisect_right(self.points, progress, key=lambda point: point[0])
        if after == 0 or after == len(self.points):
            return self.points[max(after - 1, 0)][1]
        (a, low), (b, high) = self.points[after - 1 : after + 1]
        share = (progress - a) / (b - a)
        return Noise(*[(1 - share) * getattr(low, kind) + share * getattr(high, kind) for kind in KINDS])

    def progress_of(self, seed: int) -> float:
        """The progress of the episode with this seed."""
        first, last = self.seeds
        return min(max((seed - first) / (last - first), 0.0), 1.0)


class NoisyToolActor:
    """Adds noise to another ToolActor. Which call is hit, and how, is a function of seed, question, call and attempt:
    the same call again is a new draw, so a retry after a failure can succeed. Put it around a cassette, not into one:
    what is recorded is then free of noise."""

    def __init__(self, inner: ToolActor, noise: float | Mapping[str, float] | Noise | NoiseSchedule) -> None:
        self.inner = inner
        self.noise = noise if isinstance(noise, NoiseSchedule) else Noise.of(noise)
        self.name = f"{inner.name} + noise({_settings(self.noise)})"
        self.remote: bool = getattr(inner, "remote", False)
        self.uses_history: bool = getattr(inner, "uses_history", False)

    def __deepcopy__(self, memo: object) -> NoisyToolActor:
        return self

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        return self._disturb(checked(self.inner.respond(call, spec, view, history, key)), spec, view, key)

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
        noise = self.noise
        if isinstance(noise, NoiseSchedule):
            noise = noise.at(noise.progress_of(key.seed))
        point = draw.uniform("noise", key.seed, key.question_id, key.call, key.attempt)
        for kind in KINDS:
            point -= getattr(noise, kind)
            if point < 0:
                return _disturbed(kind, response, spec, view, key)
        return response


def _disturbed(kind: str, response: Response, spec: ToolSpec, view: View, key: CallKey) -> Response:
    """The response with this noise; as it is where it breaks its schema, or the noise would."""
    contract = Contract(Toolset((spec,)))
    if contract.check_response(response.value, spec) is not None:
        return response
    noisy = _DISTURB[kind](response, spec, view, key)
    return response if noisy is None or contract.check_response(noisy.value, spec) is not None else noisy


def _settings(noise: Noise | NoiseSchedule) -> str:
    if isinstance(noise, Noise):
        return ", ".join(f"{kind}={getattr(noise, kind):g}" for kind in KINDS)
    points = "; ".join(f"at {place:g}: {_settings(stage)}" for place, stage in noise.points)
    return f"{points}; seeds {noise.seeds[0]} to {noise.seeds[1]}"


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
    if spec.binding.startswith("inverse:"):
        value["total"] = max(len(item) for item in value.values() if isinstance(item, list))
    stated = " ".join(json_texts(value))
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


_DISTURB = {
    "tool_failure": _tool_failure,
    "not_found": _not_found,
    "partial": _partial,
    "contradicting": _contradicting,
}
