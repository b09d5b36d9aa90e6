"""Whole splits from the Hugging Face hub, through ``datasets`` (extra ``data``), only when a user asks for one."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import msgspec

from mtr_env.errors import DatasetError


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
            f"Reading {world} from the hub needs `datasets`: pip install 'mtr-env[data]'. "
            "Or give a local file: source='path/to/file'."
        ) from error
    try:
        rows = load_dataset(repository.id, repository.config, split=repository.splits[split])
        return b"\n".join([msgspec.json.encode(row) for row in islice(rows, limit)])
    except Exception as error:  # datasets, huggingface_hub, httpx and pyarrow each have exceptions of their own
        raise DatasetError(
            f"Cannot load {repository.id} ({split}) from the Hugging Face hub: {type(error).__name__}: {error}. "
            f"If you have the file, give it: open_world({world!r}, source='path/to/file', split={split!r})."
        ) from error
