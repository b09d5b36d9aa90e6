"""What `mtr-env compare` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtr_env.cli.tables import SHOWN, columns, wrapped
from mtr_env.evaluate import Comparison, Difference, Flip


def comparison(found: Comparison) -> str:
    """A comparison of two runs, with the first questions that flipped."""
    lines = []
    for name, side in (("A", found.a), ("B", found.b)):
        counts = f"{side.episodes} episodes, {side.unscored} unscored, seed {side.seed}"
        lines.append(wrapped(f"{name}: {side.path}, policy {side.policy or 'unknown'}: {counts}"))
    pairs = (
        f"pairs {found.pairs} of {found.questions} questions; left out: {found.unscored_pairs} pairs unscored in A or B"
    )
    lines += [
        wrapped(f"{pairs}, {found.unpaired} episodes without a partner"),
        "",
        _differences("", found.measures),
        "",
        _differences("EM by family", found.families),
        "",
        _differences("per episode", found.costs, _FORMS),
        "",
        _flips("right now, or more often", found.gained),
        _flips("no longer right, or less often", found.lost),
    ]
    if found.measures["em"].noise is None:
        lines.append(
            wrapped("noise: unknown; --noise-floor DIR DIR (one policy, other seeds) or runs with --samples show it")
        )
    lines += [wrapped(f"note: {note}") for note in found.notes]
    return "\n".join(lines)


_FORMS = {"tokens": ",.0f", "USD": ".4f", "seconds": ".2f"}  # calls, like what is in [0, 1]: ".3f"


def _differences(what: str, found: Mapping[str, Difference], forms: Mapping[str, str] = {}) -> str:
    rows = [(what, "pairs", "A", "B", "B - A", "95% interval", "p", "noise")]
    for name, one in found.items():
        form = forms.get(name, ".3f")
        a, b, change = (_formed(value, f) for value, f in ((one.a, form), (one.b, form), (one.difference, f"+{form}")))
        interval = "" if one.interval is None else f"[{one.interval[0]:{form}}, {one.interval[1]:{form}}]"
        rows.append((name, str(one.pairs), a, b, change, interval, _p_value(one), _noise(one)))
    return columns(rows)


def _formed(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _p_value(one: Difference) -> str:
    if not one.pairs:
        return "-"
    return "<0.0001" if one.p_value < 0.0001 else f"{one.p_value:.4f}"


def _noise(one: Difference) -> str:
    if one.noise is None:
        return "-"
    said = {None: "too few pairs", True: "within it", False: "above it"}
    return f"{one.noise:.3f}, {said[one.within_noise]}"


def _flips(what: str, flips: Sequence[Flip]) -> str:
    shown = ", ".join(
        flip.question_id if {flip.a, flip.b} == {0.0, 1.0} else f"{flip.question_id} ({flip.a:.2f} to {flip.b:.2f})"
        for flip in flips[:SHOWN]
    )
    more = f", and {len(flips) - SHOWN} more (--json has all)" if len(flips) > SHOWN else ""
    return wrapped(f"{what} ({len(flips)}): {shown or 'none'}{more}")
