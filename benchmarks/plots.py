"""One kind of plot for the tables of results: a mean, with its interval, for each series of each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtr_env.evaluate.summary import Interval
from mtr_env.policies import POLICY_NAMES

COLOURS = 10


class Mark(NamedTuple):
    """A mean in [0, 1] and its 95% interval, where there is one."""

    mean: float
    interval: Interval | None = None


def draw(path: Path, title: str, label: str, marks: Mapping[str, Mapping[str, Mark]]) -> None:
    """Writes ``marks`` (group to series to mark) as an SVG; the same marks give the same bytes.

    Raises ``ImportError`` with the fix when matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install -e '.[train]'.") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for group in marks.values() for name in group))
    colours = dict(zip(names, map(pyplot.get_cmap("tab10").colors.__getitem__, places(names)), strict=True))
    with pyplot.rc_context({"svg.hashsalt": "mtr-env", "font.size": 10}):
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.2 * (len(names) + 1) * len(marks)), layout="constrained")
        for g, group in enumerate(marks.values()):
            for n, name in enumerate(names):
                if name in group:
                    y = g * (len(names) + 1) + n
                    _bar(axes, y, group[name], colours[name], name if g == _first(marks, name) else None)
        middle = (len(names) - 1) / 2
        axes.set_yticks([g * (len(names) + 1) + middle for g in range(len(marks))], list(marks))
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.1), xlabel=label, title=title)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def places(names: Sequence[str]) -> list[int]:
    """The place of each name among ten colours: a built-in policy has the same one in every plot, and what is none has
    one of those that are left.

    >>> places(["chaser", "tiny", "oracle"]), places(["oracle", "chaser"])
    ([3, 5, 0], [0, 3])
    """
    others = sorted(set(names) - set(POLICY_NAMES))
    left = COLOURS - len(POLICY_NAMES)
    return [
        POLICY_NAMES.index(name) if name in POLICY_NAMES else len(POLICY_NAMES) + others.index(name) % left
        for name in names
    ]


def _first(marks: Mapping[str, Mapping[str, Mark]], name: str) -> int:
    """The first group that has the series: its bar stands for it in the legend."""
    return next(g for g, group in enumerate(marks.values()) if name in group)


def _bar(axes: Any, y: float, mark: Mark, colour: object, label: str | None) -> None:
    low, high = mark.interval or (mark.mean, mark.mean)
    spread = None if mark.interval is None else [[mark.mean - low], [high - mark.mean]]
    axes.barh(y, mark.mean, 0.85, color=colour, label=label, xerr=spread, error_kw={"elinewidth": 0.8})
    axes.text(high + 0.01, y, f"{mark.mean:.2f}", va="center", fontsize=7)
