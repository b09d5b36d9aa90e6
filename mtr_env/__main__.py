"""``python -m mtr_env``: the same as the ``mtr-env`` command."""

from __future__ import annotations

import sys

from mtr_env.cli import main

if __name__ == "__main__":
    sys.exit(main())
