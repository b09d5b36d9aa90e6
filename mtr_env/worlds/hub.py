"""Whole splits from the Hugging Face hub, through ``datasets`` (extra ``data``), only when a user asks for one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import msgspec

from mtr_env.errors import DatasetError
from mtr_env.extras import install


class Repository(NamedTuple):
    """Where a data set is on the hub; ``splits`` maps our names of splits to the hub's."""

    id: str
    config: str | None
    splits: dict[str, str]


_USUAL = {"train": "train", "validation": "validation"}
REPOSITORIES: dict[str, Repository] = {
    "hotpotqa": Repository("hotpotqa/hotpot_qa", "distractor", _USUAL),
    "musique": Repository("dgslibisey/MuSiQue", None, _USUAL),
    "2wikimultihopqa": Repository("framolfese/2WikiMultihopQA", None, _USUAL),
    "bamboogle": Repository("chiayewken/bamboogle", None, {"validation": "test", "test": "test"}),
}


def fetch(world: str, split: str, limit: int | None = None) -> bytes:
    """The rows of a split as JSON Lines, in the hub's order, the first ``limit`` of them.

    Raises ImportError without ``datasets``, and :class:`DatasetError` when the hub does not answer (``datasets`` gives
    up after about 23 s of retries). Tested with a stand-in for ``datasets``; not run here against the hub itself, which
    the machine this was written on cannot reach.
    """
    repository = REPOSITORIES[world]
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            f"Reading {world} from the hub needs datasets, which is not installed: {install('data')}. "
            'Or give a local file: source="FILE" in Python, --source FILE on the command line.'
        ) from error
    try:
        with _without_retry_notes():
            rows = load_dataset(repository.id, repository.config, split=repository.splits[split])
        return b"\n".join([msgspec.json.encode(row) for row in islice(rows, limit)])
    except Exception as error:  # datasets, huggingface_hub, httpx and pyarrow each have exceptions of their own
        raise DatasetError(
            f"Cannot load {repository.id} ({split}) from the Hugging Face hub: {type(error).__name__}: {error}. "
            'If you have the file, give it: source="FILE" in Python, --source FILE on the command line.'
        ) from error


@contextmanager
def _without_retry_notes() -> Iterator[None]:
    """Two log lines for each retry say less than the error that follows them."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
