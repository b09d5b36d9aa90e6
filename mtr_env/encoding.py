"""Traces as token ids: one encoder makes the ids and masks of supervised fine-tuning and of reinforcement learning.

Tokens that a policy sampled are never tokenised again: decoding and encoding again may give other ids. A sequence
grows by appending: the prompt's ids, then for each step the ids of the action (sampled, or encoded from text when a
teacher wrote it) and the ids that stand between two actions (the end of the turn, the observation, the opening of the
next turn). ``mask`` is 1 on the policy's own tokens and 0 on all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from mtr_env.episode import Stage
from mtr_env.grammar import Grammar
from mtr_env.grammar.base import Result
from mtr_env.trace import Call, TokenRecord, Trace
from mtr_env.transcript import Message, messages

_MARK = "\u2063mtr\u2063"  # stands for an action while the chat template is asked what follows one


class Tokenizer(Protocol):
    """What is needed of a tokenizer; those of ``transformers`` have it."""

    eos_token_id: int | None
    chat_template: Any

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """The ids of a text."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = ...) -> str:
        """The text of ids."""

    def apply_chat_template(
        self, conversation: Sequence[Mapping[str, str]], *, tokenize: bool = ..., add_generation_prompt: bool = ...
    ) -> Any:
        """The text of a conversation."""


class Encoded(NamedTuple):
    """A sequence: ``prompt`` ids, then ``completion`` ids with a ``mask`` of the same length (1 = policy token)."""

    prompt: list[int]
    completion: list[int]
    mask: list[int]


class Encoder:
    """Encodes conversations of one tokenizer, with its chat template.

    ``eos`` is the id that ends a turn. Raises ``ValueError`` when the tokenizer has no chat template or no end-of-turn
    token, or a template that changes or drops what stands before a later turn.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if getattr(tokenizer, "chat_template", None) is None:
            raise ValueError(
                "The tokenizer has no chat template: set tokenizer.chat_template, or use an instruct model's."
            )
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no eos_token: it is what ends a turn.")
        self.tokenizer = tokenizer
        self.eos: int = tokenizer.eos_token_id
        opening = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
        self._opening = opening
        self._begun = self._render(opening)
        self._said = self._render(opening, add_generation_prompt=False)
        self.between("observation")  # fails at the start, not in the middle of a training

    def check(self, grammar: Grammar) -> None:
        """Raises ``ValueError`` with the fix when a call, an answer or an observation of the grammar does not come back
        from its ids, or the tokenizer does not know a mark of its own chat template."""
        spoken = (
            grammar.render_call(Call("search", {"query": "1"}), thought="1"),
            grammar.render_answer("1"),
            grammar.render_result(Result("search", {"status": "ok", "total": 1})),
        )
        fix = "add it (tokenizer.add_tokens, then model.resize_token_embeddings) or choose another model"
        for text in spoken:
            back = self.tokenizer.decode(self._ids(text), skip_special_tokens=False)
            if back != text:
                raise ValueError(
                    f"The tokenizer loses {_first_lost(text, back)!r} of the grammar {grammar.name!r}, so no action "
                    f"could be read: {text!r} comes back as {back!r}. Choose another grammar, or {fix}."
                )
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if unknown is None or unknown == self.eos:  # the latter: a vocabulary that knows every byte
            return
        turns = [{"role": role, "content": spoken[1]} for role in ("system", "user", "assistant")]
        text = self._render(turns)
        if unknown in (ids := self._ids(text)):
            back = self.tokenizer.decode(ids, skip_special_tokens=False)
            raise ValueError(
                f"The tokenizer does not know {_first_lost(text, back)!r} of its own chat template: {fix}, or use a "
                "template of marks that it knows."
            )

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
        if not isinstance(text, str):
            raise ValueError("The tokenizer's chat template does not give text.")
        return text

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids of the conversation up to the place where the policy writes its first action."""
        return self._ids(self._render(messages))

    def between(self, observation: str) -> list[int]:
        """The ids between an action and the next one, the end-of-turn token that the policy itself writes excluded."""
        turns = [{"role": "assistant", "content": _MARK}, {"role": "user", "content": observation}]
        text = self._render([*self._opening, *turns])
        before, found, after = text.partition(_MARK)
        # A turn to come may open with more than one that was written, such as an empty thought (enable_thinking=False).
        if not (found and before.startswith(self._said) and self._begun.startswith(before)):
            raise ValueError(
                "The chat template does not append: it rewrites earlier turns when later ones come, so sampled tokens "
                "could not be kept. Use a template that renders an assistant turn as it was written."
            )
        ids = self._ids(after)
        return ids[1:] if ids[:1] == [self.eos] else ids

    def action(self, text: str) -> list[int]:
        """The ids of an action that was written, not sampled, with the end-of-turn token."""
        return [*self._ids(text), self.eos]

    def text(self, sampled: Sequence[int]) -> str:
        """The action that sampled ids say: without the end-of-turn token."""
        ids = list(sampled[:-1]) if sampled and sampled[-1] == self.eos else list(sampled)
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def trace(self, trace: Trace, messages: Sequence[Message]) -> Encoded:
        """The ids and mask of a trace, from its prompt's ``messages``: those that were sampled where the trace has them
        (``Step.tokens``), else those of the action's text."""
        completion: list[int] = []
        mask: list[int] = []
        for number, step in enumerate(trace.steps):
            own = list(step.tokens.ids) if step.tokens is not None else self.action(step.action)
            completion += own
            mask += [1] * len(own)
            if number + 1 < len(trace.steps):
                other = self.between(step.observation)
                completion += other
                mask += [0] * len(other)
        return Encoded(self.prompt(messages), completion, mask)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _first_lost(text: str, back: str) -> str:
    """The tag, word or character at which a text and what came back from its ids part."""
    pieces = re.finditer(r"</?\w+>|<\|\w+\|>|\w+|\s|.", text)
    same = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
    return next((piece[0] for piece in pieces if piece.end() > same), text)


class TokenEpisode:
    """An episode that a trainer samples: its ``trace``, and the token sequence that grows with it.

    ``prompt_ids``, then ``completion_ids`` with a ``mask`` (1 = policy token) and ``logprobs`` of the same length (0 on
    tokens that the policy did not sample). ``cut`` says whether the trainer's token budget ended it.
    """

    def __init__(self, encoder: Encoder, stage: Stage, trace: Trace) -> None:
        self.encoder = encoder
        self.stage = stage
        self.trace = trace
        self.prompt_ids = encoder.prompt(messages(trace, stage.prompt))
        self.completion_ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] = []
        self.cut = False

    @property
    def context(self) -> list[int]:
        """All tokens so far."""
        return self.prompt_ids + self.completion_ids

    def append(self, ids: Sequence[int], own: bool, logprobs: Sequence[float] | None = None) -> None:
        """Adds tokens: the policy's ``own``, or the world's."""
        self.completion_ids += ids
        self.mask += [int(own)] * len(ids)
        self.logprobs += logprobs if logprobs is not None else [0.0] * len(ids)

    def acted(self, trace: Trace, sampled: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """Takes the trace with the step that the ``sampled`` ids made (:meth:`Encoder.text`), and adds these and what
        stands between them and the next action."""
        self.append(sampled, own=True, logprobs=logprobs)
        step = replace(trace.steps[-1], tokens=TokenRecord(tuple(sampled), tuple(logprobs or ())))
        self.trace = replace(trace, steps=(*trace.steps[:-1], step))
        if trace.stop_reason is None:
            closing = [] if sampled[-1:] == [self.encoder.eos] else [self.encoder.eos]
            self.append([*closing, *self.encoder.between(step.observation)], own=False)

    @property
    def has_logprobs(self) -> bool:
        """Whether every sampled token has its log-probability."""
        records = [step.tokens for step in self.trace.steps if step.tokens is not None]
        return all(len(record.logprobs) == len(record.ids) for record in records)
