"""A run: a policy plays a world into a folder that a kill at any byte cannot spoil.

The folder holds ``run.json`` (what is being played; written first), ``traces.jsonl`` (one finished episode a line,
append-only), ``summary.json`` and, where a model is asked, ``usage.jsonl``. Episode ``i`` plays the world's question
``i`` modulo their number with the episode seed ``seed + i``. The summary is computed from the files, never from what
was in memory, so scoring them again gives the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.evaluate.folder import (
    UNSCORED_ALARM,
    RunInfo,
    Say,
    lock,
    logger,
    read_each_once,
    read_info,
    sort_traces,
    traces_file,
    write_json,
)
from mtr_env.evaluate.players import load_policy, source_digest
from mtr_env.evaluate.playing import Playing, open_usage
from mtr_env.evaluate.resume import forget_outages, resume, tell
from mtr_env.evaluate.spending import Budget, Meter, read_usage, summarize_usage
from mtr_env.evaluate.start import start_now
from mtr_env.evaluate.summary import Summary, summarize
from mtr_env.llm import Spent
from mtr_env.policies.base import AnyPolicy
from mtr_env.reward import Rubric
from mtr_env.trace import Trace


def score_file(path: str | os.PathLike[str], rubric: str | Rubric | None = None, say: Say = logger.warning) -> Summary:
    """Scores saved traces again: the file, or ``traces.jsonl`` of the folder ``path``. The policy's name comes from
    ``run.json`` beside it, if there is one. Raises as :func:`~mtr_env.evaluate.folder.read_each_once` and
    :func:`summarize`, :class:`DatasetError` when no episode is finished, and ``OSError``."""
    file = traces_file(path)
    summary = _summary(file, rubric, read_info(file.with_name("run.json")), say)
    if not summary.episodes:
        raise DatasetError(f"{file} holds no finished episode.")
    return summary


def _summary(file: Path, rubric: str | Rubric | None, info: RunInfo | None, say: Say) -> Summary:
    """Of a file of traces; ``traces.jsonl`` of a run knows what is still to be played and what was used."""
    summary = summarize(
        read_each_once(file, say),
        rubric,
        info.policy if info else None,
        unscored_alarm=info.unscored_alarm if info else UNSCORED_ALARM,
    )
    return with_usage(summary, file, info)


def with_usage(summary: Summary, file: Path, info: RunInfo | None) -> Summary:
    """The summary of this file of traces, with what stands beside it where it is that of a run."""
    if info is None or file.name != "traces.jsonl":
        return summary
    return msgspec.structs.replace(
        summary,
        unplayed=max(0, info.episodes - summary.episodes),
        usage=summarize_usage(read_usage(file.with_name("usage.jsonl"))),
    )


def run(
    game: Game,
    policy: str | AnyPolicy,
    out: str | os.PathLike[str],
    *,
    policy_name: str | None = None,
    episodes: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    concurrency: int = 64,
    budget: Budget | None = None,
    tool_spent: Callable[[], Spent] | None = None,
    unscored_alarm: float = UNSCORED_ALARM,
    retry_unscored: bool = False,
    command: Sequence[str] = (),
    on_episode: Callable[[int, int, Trace], None] | None = None,
    say: Say = logger.warning,
) -> Summary:
    """Plays ``episodes`` episodes, or ``samples`` of each question (each question once unless given), into the folder
    ``out`` and summarizes them.

    ``policy`` is one, or its name for :func:`~mtr_env.evaluate.players.load_policy`; ``policy_name`` stands in the
    files (for a policy without a name its class or function is named).
    Episodes that the folder holds already are not played again, so the same call goes on after an interruption, and
    one with more ``episodes`` or ``samples`` goes further. An asynchronous policy, and any policy where the ToolActor
    waits for a network (``remote``), plays ``concurrency`` episodes at a time; lines are written as episodes end, and
    put into the order of the episodes when all have. After each episode ``on_episode(done, episodes, trace)`` is
    called; what a user should know otherwise is passed to ``say``. The result is that of an uninterrupted run, byte for
    byte, when the policy's actions depend on the episode only (those of this package's do).

    What a policy says of an episode (``policy.usage(question_id, seed)``, as
    :class:`~mtr_env.policies.chat.AutoAgent`'s), and what ``tool_spent`` says of the tools' model, goes to
    ``usage.jsonl``. When the ``budget`` is used up no other episode begins: what is left is neither played nor scored,
    ``Summary.unplayed`` counts it, and the same call plays it later. Where more than the share ``unscored_alarm`` of
    the episodes are unscored, ``Summary.alarm`` and ``say`` say so.

    With ``retry_unscored`` the episodes of the folder that an outage ended are played again, once; what they used still
    counts. Where the first :data:`~mtr_env.evaluate.playing.OUTAGES_IN_A_ROW` episodes of a start all end in an outage,
    no other begins.

    Raises :class:`DatasetError` when the folder holds another run (it says what differs), one of a policy whose source
    file was edited since, or is in use, ``ValueError`` for ``episodes`` or ``samples`` below 1 or both, and for a
    budget of what the policy does not count, ``OSError`` when it cannot be written, and what the policy raises, with a
    note of the episode and of what is kept.
    """
    player = load_policy(policy, game) if isinstance(policy, str) else policy
    name = policy if isinstance(policy, str) else getattr(policy, "__qualname__", type(policy).__qualname__)
    name = policy_name or name
    ids = game.world.ids
    episodes = _episodes(len(ids), episodes, samples)
    budget = budget or Budget()
    meter = Meter(player, tool_spent)
    budget.check(meter)
    folder = _made(out)
    path = folder / "traces.jsonl"
    start = start_now(command)
    info = RunInfo(
        name, seed, episodes, start.command, game.setup, len(ids), unscored_alarm, (start,), source_digest(name)
    )
    if retry_unscored:
        forget_outages(folder, info, ids, say)
    with open(path, "a+b") as file:
        lock(file, path)
        kept = resume(folder, file, info, ids, say)
        tell(folder, kept, info, say)
        todo = [i for i in range(episodes) if i not in kept.done]
        info = msgspec.structs.replace(info, starts=(*kept.starts, start) if todo else kept.starts)
        write_json(folder / "run.json", info)
        if todo:
            (folder / "summary.json").unlink(missing_ok=True)  # it speaks of fewer episodes
        with open_usage(folder / "usage.jsonl", meter, budget) as usage:
            playing = Playing(file, usage, meter, budget, episodes - len(todo), episodes, on_episode)
            try:
                playing.play(game, player, ((ids[i % len(ids)], seed + i) for i in todo), concurrency)
            except Exception as error:
                kept_in = f"{playing.kept} finished episodes are kept in {path}"
                error.add_note(f"mtr-env: {kept_in}; the same command goes on there.")
                raise
        sort_traces(path)
        summary = _summary(path, game.rubric, info, say)
        write_json(folder / "summary.json", summary)
    for text in filter(None, (playing.stopped_by(summary.unplayed), playing.exceeded(), summary.alarm)):
        say(f"{folder}: {text}")
    return summary


def _made(out: str | os.PathLike[str]) -> Path:
    """The folder, there now."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"--out is a folder, for the run's files; {str(folder)!r} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _episodes(questions: int, episodes: int | None, samples: int | None) -> int:
    if episodes is not None and samples is not None:
        raise ValueError("Give episodes (how many in all) or samples (of each question), not both.")
    for name, number in (("episodes", episodes), ("samples", samples)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, found {number}.")
    return questions * (samples or 1) if episodes is None else episodes
