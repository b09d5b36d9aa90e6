"""Numbers that others published in the setting of these data sets, each with its protocol and how it was read.

They stand beside our tables and never in them: other questions, other tools (search over Wikipedia), other metrics.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

COLUMNS = ("HotpotQA", "2WikiMultiHopQA", "MuSiQue", "Bamboogle")
SEARCH_R1 = "S-R1"
ZERO_SEARCH = "ZeroSearch"
TAKEN = "S-R1?"

PROTOCOLS = {
    SEARCH_R1: "trained on NQ and HotpotQA, E5 over the 2018 Wikipedia, top 3, at most 4 turns, strict exact match",
    ZERO_SEARCH: "the table of ZeroSearch: Google, 500 questions, *containment* of the gold answer, called exact match",
    "StepSearch": "the table of StepSearch",
    TAKEN: "taken as S-R1, which these papers compare under; not checked paper by paper",
    "unknown": "not found out",
}
READ = {"table": "read in the authors' own table or README", "notes": "through third-party notes: check before citing"}


class System(Struct, frozen=True):
    """One row: percent of questions for each of :data:`COLUMNS`, ``None`` where nothing could be read."""

    name: str
    base: str
    scores: tuple[float | None, float | None, float | None, float | None]
    protocol: str
    read: Literal["table", "notes"]


_7B, _3B = "Qwen2.5-7B", "Qwen2.5-3B"
SYSTEMS = (
    System("MTR (arXiv 2510.06825)", "not found", (None, None, None, 40.0), "unknown", "notes"),
    System("the strongest baseline of MTR's paper", "not found", (None, None, None, 33.3), "unknown", "notes"),
    System("Search-o1", _7B, (17.0, 27.0, 8.6, 30.4), ZERO_SEARCH, "table"),
    System("ZeroSearch-base", _7B, (32.0, 34.0, 18.0, 33.3), ZERO_SEARCH, "table"),
    System("ZeroSearch-inst", _7B, (34.6, 35.2, 18.4, 27.8), ZERO_SEARCH, "table"),
    System("IRCoT", _7B, (14.1, 14.2, 7.2, 21.6), "StepSearch", "table"),
    System("StepSearch, base", _7B, (38.0, 38.5, 21.6, 46.7), TAKEN, "table"),
    System("Search-R1 PPO, base", _7B, (43.3, 38.2, 19.6, 43.2), SEARCH_R1, "notes"),
    System("Search-R1 PPO, inst", _3B, (32.4, 31.9, 10.3, 26.4), SEARCH_R1, "notes"),
    System("ReSearch", _7B, (41.9, 41.2, 20.5, 40.0), TAKEN, "notes"),
    System("AutoRefine, base", _3B, (40.5, 39.3, 15.7, 34.4), TAKEN, "table"),
    System("AutoRefine, base", _7B, (45.1, 40.5, 18.7, 51.2), TAKEN, "table"),
    System("Tree-GRPO", _7B, (44.6, 42.3, 20.2, 44.0), TAKEN, "table"),
    System("SSRL Sim2Real (trained without search, tested with it)", _7B, (42.0, 53.4, 29.4, 54.5), TAKEN, "table"),
    System("ICRL", _7B, (42.6, 53.6, 26.0, 48.0), TAKEN, "notes"),
    System("Interact-RAG (HotpotQA: about)", "Qwen3-8B", (45.5, 69.6, 34.8, 50.9), TAKEN, "notes"),
)

OTHER_METRICS = (
    "Left out, since no exact match is reported: R1-Searcher and MaskSearch (a language model judges), DeepResearcher "
    "and IGPO (word F1)."
)


def block() -> list[str]:
    """The block of published numbers, with its heading."""
    lines = [
        "## Published numbers of others",
        "",
        "**Not comparable with the tables above**, and among each other only within one protocol: other questions, "
        "real search in place of simulated tools, trained on other data. Exact match as the source has it, in percent.",
        "",
        f"| system | base | {' | '.join(COLUMNS)} | protocol | source |",
        f"|{'---|' * (4 + len(COLUMNS))}",
    ]
    for system in SYSTEMS:
        scores = ["?" if score is None else f"{score:.1f}" for score in system.scores]
        lines.append(f"| {system.name} | {system.base} | {' | '.join(scores)} | {system.protocol} | {system.read} |")
    lines += ["", *[f"- Protocol *{name}*: {about}." for name, about in PROTOCOLS.items()]]
    lines += [f"- Source *{name}*: {about}." for name, about in READ.items()]
    return [*lines, f"- {OTHER_METRICS}"]
