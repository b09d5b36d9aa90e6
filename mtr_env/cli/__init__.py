"""The ``mtr-env`` command: list, play, run, score, compare, report, audit, serve, lint-tools, world.

It ends with 0 when all went well, 1 when ``world verify`` finds a difference or ``lint-tools`` a tool that cannot be
used, 2 after an error of the user or of a file (a message on stderr), 130 after Ctrl-C.
"""

from __future__ import annotations

from mtr_env.cli.commands import main

__all__ = ["main"]
