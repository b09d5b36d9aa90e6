"""The ``mtr-env`` command: list, play, run, score, compare, report, audit, serve, lint-tools, world.

It ends with 0 when all went well, 2 after an error of the user or of a file (a message on stderr), 130 after Ctrl-C,
and 1 when ``run`` or ``score`` has not one scored episode, ``world verify`` finds a difference, or ``lint-tools`` a
tool that cannot be used.
"""

from __future__ import annotations

from mtr_env.cli.commands import main

__all__ = ["main"]
