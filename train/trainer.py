"""TRL's trainers without what costs time on a CPU and changes no result: padding, and words nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer, SFTTrainer
from trl.trainer import utils as trl_utils

Batch = dict[str, Any]


@contextmanager
def labelled_positions_only() -> Iterator[None]:
    """On a CPU, too, only positions with a label are projected onto the vocabulary.

    TRL 1.16 does so where Triton runs, and projects every position elsewhere, for compilers that would compile again
    for each number of labels. A CPU has none, and of an episode's tokens a quarter are the policy's own.
    """
    where_triton_runs = trl_utils._use_triton
    trl_utils._use_triton = lambda device: device.type == "cpu" or where_triton_runs(device)
    try:
        yield
    finally:
        trl_utils._use_triton = where_triton_runs


class LabelledSFTTrainer(SFTTrainer):
    """TRL's ``SFTTrainer`` within :func:`labelled_positions_only`."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """See ``Trainer``."""
        with labelled_positions_only():
            return super().train(*args, **kwargs)


class TrimmedGRPOTrainer(GRPOTrainer):
    """Sorts a step's sequences by length before they are split into batches, and cuts each batch to its longest.

    TRL pads all sequences of a step to the longest and splits them in random order, so with episodes of very different
    length most of what it computes is padding. The step's gradient is the same: the default loss (``dapo``)
    normalises over the step, whichever batch a sequence is in (``bnpo`` would not). It takes
    ``gradient_accumulation_steps`` above 1 to have something to sort into. It trains within
    :func:`labelled_positions_only`.
    """

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """See ``Trainer``."""
        with labelled_positions_only():
            return super().train(*args, **kwargs)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not before and self._buffered_inputs is not None:
            self._buffered_inputs = sorted_and_cut(self._buffered_inputs)
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return inputs


def sorted_and_cut(batches: list[Batch]) -> list[Batch]:
    """The same sequences in batches of similar length: prompts, (rows, columns) padded on the left, and completions,
    padded on the right, without the columns that are padding in every row."""
    rows = len(batches[0]["prompt_ids"])
    whole = {name: _joined([batch[name] for batch in batches]) for name in batches[0]}
    lengths = whole["prompt_mask"].sum(1) + whole["completion_mask"].sum(1)
    order = lengths.argsort(stable=True)
    return [_cut({name: _rows(value, pick) for name, value in whole.items()}) for pick in order.split(rows)]


def _joined(values: list[Any]) -> Any:
    """The column of a whole step; what is one value for the step stays as it is."""
    first = values[0]
    if isinstance(first, torch.Tensor) and first.ndim:
        return torch.cat(values)
    return [item for value in values for item in value] if isinstance(first, list) else first


def _rows(value: Any, pick: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim:
        return value[pick]
    return [value[i] for i in pick.tolist()] if isinstance(value, list) else value


def _cut(batch: Batch) -> Batch:
    prompt, completion = (int(batch[name].sum(1).max()) for name in ("prompt_mask", "completion_mask"))
    return {
        name: (value[:, -prompt:] if name.startswith("prompt") else value[:, :completion])
        if isinstance(value, torch.Tensor) and value.ndim > 1
        else value
        for name, value in batch.items()
    }
