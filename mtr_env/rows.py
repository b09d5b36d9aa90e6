"""What adapters make a trainer's data set from: the episodes as they begin, and which question a prompt asks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtr_env import draw
from mtr_env.episode import Game, Stage
from mtr_env.errors import InfrastructureError
from mtr_env.toolactors.noise import NoiseSchedule
from mtr_env.trace import Trace

logger = logging.getLogger("mtr_env")
Prompt = Sequence[Mapping[str, str]]
"""Chat messages."""


def chosen(game: Game, questions: int | Sequence[str] | None) -> Sequence[str]:
    """The ids of the questions to train on: the first so many, those named, or all."""
    ids = game.world.ids if questions is None else questions
    return game.world.ids[:ids] if isinstance(ids, int) else ids


def beginnings(game: Game, question_ids: Sequence[str], seed: int) -> Iterator[tuple[str, Stage, Trace]]:
    """The episodes of a data set, each with its question's id, as they begin. A question whose ToolMaker cannot be
    reached is left out, with a warning in the ``mtr_env`` log; raises ``InfrastructureError`` when no other is left."""
    missing: list[str] = []
    for question_id in question_ids:
        stage, trace = game.begin(question_id, seed)
        if trace.stop_reason is None:
            yield question_id, stage, trace
            continue
        missing.append(f"question {question_id!r} is left out: {trace.faults[-1].message}")
        logger.warning("%s", missing[-1])
    if missing and len(missing) == len(question_ids):
        raise InfrastructureError(f"No question can be trained on: {missing[-1]}")


def lasting_seed(seed: int, question_id: str) -> int:
    """The seed of a question's episodes where a data set's row fixes it: the same in every rollout and epoch."""
    return draw.bits("group", seed, question_id) >> 2


def refuse_schedule(game: Game) -> Game:
    """The game, for adapters where a question keeps its seed (:func:`lasting_seed`), or all have one. Raises
    ``ValueError`` for tools with a :class:`~mtr_env.toolactors.noise.NoiseSchedule`, which goes by seeds that rise: it
    would never move."""
    actor: Any = game.tool_actor
    while actor is not None:
        if isinstance(getattr(actor, "noise", None), NoiseSchedule):
            raise ValueError(
                "A NoiseSchedule follows seeds that rise with the training, but here a question keeps its seed: train "
                "through make_rollout_func (mtr_env.adapters.trl) or verl, or give noise that stays the same."
            )
        actor = getattr(actor, "inner", None)
    return game


class Asked:
    """Which question a prompt asks, for trainers that hand a rollout its prompt and nothing else of its row."""

    def __init__(self) -> None:
        self._questions: dict[str, str] = {}

    def add(self, prompt: Prompt, question_id: str) -> None:
        """Notes what a prompt asks; raises ``ValueError`` when another question has the same one."""
        known = self._questions.setdefault(_key(prompt), question_id)
        if known != question_id:
            raise ValueError(
                f"Questions {known!r} and {question_id!r} have the same prompt, so a rollout could not tell them "
                "apart; leave one of them out."
            )

    def question(self, prompt: Prompt) -> str:
        """The question's id; raises ``ValueError`` for a prompt that was not noted."""
        question_id = self._questions.get(_key(prompt))
        if question_id is None:
            raise ValueError("A prompt of no row that was made here: make the data set with the object that plays it.")
        return question_id


def _key(prompt: Prompt) -> str:
    return json.dumps([[m["role"], m["content"]] for m in prompt])
