"""A small progress bar."""

from __future__ import annotations

import sys
import time


class Progress:
    """Count, rate, time left and a running figure on stderr: a bar that moves on a terminal, else a line every 10 s."""

    def __init__(self, unit: str, quiet: bool = False) -> None:
        self._unit, self._quiet = unit, quiet
        self._moves = sys.stderr.isatty()
        self._started = self._next = time.monotonic()
        self._before: int | None = None  # how many were done before we began

    def __call__(self, done: int, total: int, note: str) -> None:
        """Called after each one; prints now and then."""
        now = time.monotonic()
        if self._before is None:
            self._before = done - 1
        if self._quiet or (now < self._next and not (self._moves and done == total)):
            return
        self._next = now + (0.1 if self._moves else 10)
        rate = (done - self._before) / max(now - self._started, 1e-3)
        minutes, seconds = divmod(round((total - done) / rate), 60)
        line = f"{done}/{total} {self._unit}, {rate:.1f}/s, {minutes}:{seconds:02} left, {note}"
        filled = 30 * done // total
        text = f"\r[{'#' * filled}{' ' * (30 - filled)}] {line}\x1b[K" if self._moves else f"{line}\n"
        print(text, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        self._next = self._started + (0 if self._moves else 10)
        return self

    def __exit__(self, *error: object) -> None:
        if self._moves and not self._quiet and self._before is not None:
            print(file=sys.stderr)


class Phases:
    """A progress of its own for each phase of a work over questions."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._phase = ""
        self._progress: Progress | None = None

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Called after each question of a phase."""
        if self._progress is None or phase != self._phase:
            self.__exit__()
            self._phase, self._progress = phase, Progress("questions", self._quiet).__enter__()
        self._progress(done, total, phase)

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.__exit__()
