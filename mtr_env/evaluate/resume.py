"""What a run's folder holds already: episodes of the same run, or a refusal that says what differs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from mtr_env.errors import DatasetError
from mtr_env.evaluate.folder import (
    RunInfo,
    Say,
    cut_torn_line,
    drop_traces,
    is_outage,
    lock,
    read_info,
    read_traces,
    setup_identity,
    why_worlds_differ,
)
from mtr_env.evaluate.start import Start


class Kept(NamedTuple):
    """The episodes that a folder holds, by their numbers, and its starts so far. ``outages`` are those of the episodes
    that an outage ended."""

    done: frozenset[int] = frozenset()
    outages: frozenset[int] = frozenset()
    starts: tuple[Start, ...] = ()


def resume(folder: Path, file: IO[bytes], info: RunInfo, ids: Sequence[str], say: Say) -> Kept:
    """What the folder holds, after a torn last line was cut off; refuses the episodes of another run."""
    path = folder / "traces.jsonl"
    if file.seek(0, os.SEEK_END) == 0:
        return Kept()
    before = read_info(folder / "run.json")
    if before is None:
        raise DatasetError(f"{path} has traces, but no run.json beside it says whose; give another --out.")
    why = why_worlds_differ(before.setup.world, info.setup.world, (before.questions, info.questions))
    _refuse_other(before.identity(), info.identity(), f"{folder} holds another run", why)
    if None not in (before.policy_source, info.policy_source) and before.policy_source != info.policy_source:
        raise DatasetError(
            f"{folder} holds episodes of {info.policy!r} as it was before its file was edited (digest "
            f"{before.policy_source} there, {info.policy_source} here); two versions in one folder would be the result "
            "of neither. Give a new --out, or take the edit back to go on."
        )
    cut = cut_torn_line(file)
    if cut:
        say(f"{path}: the last line was torn (the run was killed); cut off {cut} bytes, the episode is played again.")
    done: set[int] = set()
    outages: set[int] = set()
    for trace in read_traces(path, say):
        i = trace.seed - info.seed
        episode = f"{path} holds an episode (question {trace.question.id!r}, seed {trace.seed}) that"
        _refuse_other(setup_identity(trace.setup), setup_identity(info.setup), f"{episode} is not of this run")
        if i < 0 or trace.question.id != ids[i % len(ids)]:
            raise DatasetError(f"{episode} is not of this run; give another --out.")
        if i in done:
            raise DatasetError(f"{episode} stands in it twice.")
        done.add(i)
        if is_outage(trace):
            outages.add(i)
    return Kept(frozenset(done), frozenset(outages), before.starts)


def forget_outages(folder: Path, info: RunInfo, ids: Sequence[str], say: Say) -> None:
    """Takes the episodes that an outage ended out of the folder, so that they are played again; what they have used
    stays in ``usage.jsonl``. A kill leaves them all there or none of them."""
    path = folder / "traces.jsonl"
    if not path.exists():
        return
    with open(path, "a+b") as file:
        lock(file, path)
        outages = [i for i in resume(folder, file, info, ids, say).outages if i < info.episodes]
        if outages:
            say(f"{folder}: {len(outages)} episodes that an outage ended are played again.")
            (folder / "summary.json").unlink(missing_ok=True)  # it counts them
            drop_traces(path, {info.seed + i for i in outages})


def tell(folder: Path, kept: Kept, info: RunInfo, say: Say) -> None:
    """Says what a user should know of the episodes that are there, if any are."""
    there = f"{folder} holds {len(kept.done)} episodes already"
    if kept.done and len(kept.done) < info.episodes:
        say(f"{there}; going on.")
        _tell_commits(folder, kept.starts, info.starts[-1], say)
    elif kept.done:
        shown = f"; what follows is of all {len(kept.done)}" if len(kept.done) > info.episodes else ""
        again = (
            f" An outage ended {len(kept.outages)} of them; --retry-unscored plays these again." if kept.outages else ""
        )
        say(f"{there} ({info.episodes} asked for): nothing to play{shown}.{again}")


def _tell_commits(folder: Path, earlier: Sequence[Start], now: Start, say: Say) -> None:
    here = now.commit
    others = [commit for commit in dict.fromkeys(start.commit for start in earlier) if commit not in (None, here)]
    if others and here is not None:
        say(
            f"{folder}: this start is of commit {here}, earlier ones of {', '.join(filter(None, others))}: the "
            "episodes may have been played by different code. A new --out plays all of them by this one."
        )


def _refuse_other(there: Mapping[str, Any], here: Mapping[str, Any], what: str, why_world: str = "") -> None:
    differences = [
        f"world fingerprint is {there[name]!r} there and {here[name]!r} here{why_world}"
        if name == "world"
        else f"{name} is {there[name]!r} there and {here[name]!r} here"
        for name in here
        if there[name] != here[name]
    ]
    if differences:
        raise DatasetError(f"{what}: {'; '.join(differences)}. Give another --out.")
