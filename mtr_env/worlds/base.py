"""What every world is: an ordered collection of questions with a name, a split, a source and a fingerprint."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from mtr_env.errors import DatasetError, UnknownQuestionError
from mtr_env.question import Question, WorldInfo


class World(Protocol):
    """An ordered collection of questions. ``question`` raises :class:`UnknownQuestionError` for an unknown id."""

    @property
    def info(self) -> WorldInfo:
        """Name, split, source and fingerprint."""

    @property
    def ids(self) -> Sequence[str]:
        """The question ids in order; reading one is cheap, the questions themselves are made on demand."""

    def question(self, question_id: str) -> Question:
        """The question with this id."""


def questions(world: World) -> Iterator[Question]:
    """All questions of a world in order, made one at a time."""
    return (world.question(question_id) for question_id in world.ids)


def unknown_question(question_id: Any, ids: Sequence[str]) -> UnknownQuestionError:
    """The error for an id that is not there: how many there are, an example, near misses."""
    known = list(islice(ids, 2000))
    near = difflib.get_close_matches(str(question_id), known, n=3)
    hint = f" Did you mean {', '.join(repr(n) for n in near)}?" if near else ""
    example = f", e.g. {known[0]!r}" if known else ""
    return UnknownQuestionError(
        f"No question with id {question_id!r}; this world holds {len(ids)} questions{example}.{hint}"
    )


def check_limit(limit: Any) -> None:
    """Raises :class:`DatasetError` for what cannot say how many questions a world has; ``None`` stands for all."""
    if limit is not None and (not hasattr(limit, "__index__") or limit < 1):
        raise DatasetError(f"limit must be an integer of at least 1 or None, found {limit!r}.")
