"""Official answer metrics: exact match, cover exact match and word F1 against the best of several gold answers.

Sources: the HotpotQA evaluation script (``hotpot_evaluate_v1.py``, also used by 2WikiMultiHopQA), the SQuAD
normaliser that MuSiQue uses, and the containment form that ZeroSearch-style papers print as "EM" (here ``cover_em``,
so that nobody mixes them up).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from mtr_env.text import normalize_answer
from mtr_env.trace import Trace

_CLOSED = ("yes", "no", "noanswer")


class Metrics(NamedTuple):
    """Reported, never paid: each is in [0, 1]."""

    em: float
    cover_em: float
    f1: float


def exact_match(prediction: str, gold: str) -> bool:
    """Equality after the official normalisation.

    >>> exact_match("the Eiffel Tower.", "Eiffel tower")
    True
    """
    return normalize_answer(prediction) == normalize_answer(gold)


def cover_exact_match(prediction: str, gold: str) -> bool:
    """Containment of the normalised gold answer in the normalised prediction (ZeroSearch prints this as "EM")."""
    wanted = normalize_answer(gold)
    return bool(wanted) and wanted in normalize_answer(prediction)


def f1(prediction: str, gold: str) -> float:
    """Word F1 after normalisation; a yes/no answer that differs earns nothing, as in the HotpotQA script.

    >>> round(f1("Barack Obama", "Barack Hussein Obama"), 2), f1("yes it is", "yes")
    (0.8, 0.0)
    """
    p, g = normalize_answer(prediction), normalize_answer(gold)
    if p != g and (p in _CLOSED or g in _CLOSED):
        return 0.0
    predicted, wanted = p.split(), g.split()
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * common / (len(predicted) + len(wanted)) if common else 0.0


def answer_metrics(prediction: str | None, golds: Iterable[str]) -> Metrics:
    """The best value of each metric over the gold answers; all 0 without an answer.

    >>> answer_metrics("NYC", ["New York City", "NYC"])
    Metrics(em=1.0, cover_em=1.0, f1=1.0)
    """
    if prediction is None:
        return Metrics(0.0, 0.0, 0.0)
    p = normalize_answer(prediction)
    normal = [normalize_answer(gold) for gold in golds]
    if p in normal and p:
        return Metrics(1.0, 1.0, 1.0)
    return Metrics(
        float(p in normal),
        float(any(g in p for g in normal if g)),
        max(f1(p, g) for g in normal) if normal else 0.0,
    )


def metrics(trace: Trace) -> Metrics:
    """The answer metrics of a trace."""
    return answer_metrics(trace.answer, trace.question.golds)
