"""What the training programs do between steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class StopAt(TrainerCallback):
    """Ends the training after the step during which a file appears: so that a control gets another program's time."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See ``TrainerCallback``."""
        if self.file.exists():
            control.should_training_stop = True


class Evaluate(TrainerCallback):
    """Logs ``evaluate()``, a mapping of names to numbers, as ``eval/<name>``: before the first step, after every
    ``every`` steps and after the last. (Logged at a step's end, it would take the place of the step's own entry.)"""

    def __init__(self, evaluate: Callable[[], dict[str, float]], every: int) -> None:
        self.evaluate = evaluate
        self.every = every
        self.trainer: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See ``TrainerCallback``."""
        if state.global_step % self.every == 0:
            self._log()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """See ``TrainerCallback``."""
        self._log()

    def _log(self) -> None:
        self.trainer.log({f"eval/{name}": value for name, value in self.evaluate().items()})
