"""Sampled tokens stay as they were sampled; the mask is 1 on the policy's tokens and on no others."""

from __future__ import annotations

import gymnasium as gym
import pytest
from msgspec.structs import replace

from mtr_env.encoding import Encoder
from mtr_env.grammar import GRAMMARS, Grammar
from mtr_env.policies.oracle import Oracle
from mtr_env.rollout import play
from mtr_env.testing.byte_tokenizer import END, PAIR, ByteTokenizer
from mtr_env.trace import TokenRecord, Trace
from mtr_env.transcript import Message

ENCODER = Encoder(ByteTokenizer())


def played() -> tuple[Trace, list[Message]]:
    env = gym.make("MTR-2WikiMultiHopQA-v0").unwrapped
    trace = play(env, Oracle(), question_id=env.question_ids[1])
    _, info = env.reset(seed=0, options={"question_id": trace.question.id})
    return trace, info["messages"]


def test_the_ids_of_a_trace_are_those_of_the_whole_conversation() -> None:
    trace, prompt = played()
    encoded = ENCODER.trace(trace, prompt)
    turns = list(prompt)
    for step in trace.steps:
        turns += [{"role": "assistant", "content": step.action}, {"role": "user", "content": step.observation}]
    whole = ByteTokenizer().apply_chat_template(turns[:-1], tokenize=False)
    assert ByteTokenizer().decode(encoded.prompt + encoded.completion) == whole


def test_the_mask_covers_the_actions_with_their_end_of_turn_and_nothing_else() -> None:
    trace, prompt = played()
    encoded = ENCODER.trace(trace, prompt)
    assert len(encoded.mask) == len(encoded.completion)
    own = [i for i, masked in zip(encoded.completion, encoded.mask, strict=True) if masked]
    assert ByteTokenizer().decode(own) == "".join(step.action + END for step in trace.steps)
    other = [i for i, masked in zip(encoded.completion, encoded.mask, strict=True) if not masked]
    seen = [f"[user]{step.observation}{END}[assistant]" for step in trace.steps[:-1]]
    assert ByteTokenizer().decode(other) == "".join(seen)


def test_recorded_ids_are_kept_though_encoding_would_give_others() -> None:
    trace, prompt = played()
    first = trace.steps[0]
    canonical = ENCODER.action(first.action)
    at = next(i for i in range(len(canonical)) if canonical[i : i + 2] == list(b"to"))
    sampled = [*canonical[:at], PAIR, *canonical[at + 2 :]]
    assert ENCODER.text(sampled) == first.action and sampled != canonical
    recorded = replace(trace, steps=(replace(first, tokens=TokenRecord(tuple(sampled))), *trace.steps[1:]))
    encoded = ENCODER.trace(recorded, prompt)
    assert encoded.completion[: len(sampled)] == sampled
    assert encoded.mask[: len(sampled)] == [1] * len(sampled)


def test_an_action_is_read_without_its_end_of_turn_token() -> None:
    assert ENCODER.text([*b"abc", 256]) == "abc"
    assert ENCODER.text([*b"abc"]) == "abc"
    assert ENCODER.text([]) == ""


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [("chat_template", None, "has no chat template"), ("eos_token_id", None, "has no eos_token")],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_at_the_start(attribute: str, value: object, message: str) -> None:
    tokenizer = ByteTokenizer()
    setattr(tokenizer, attribute, value)
    with pytest.raises(ValueError, match=message):
        Encoder(tokenizer)


def test_a_template_may_open_a_turn_with_more_than_it_keeps_of_one() -> None:
    class WithoutThinking(ByteTokenizer):
        def apply_chat_template(self, conversation, **options):  # type: ignore[no-untyped-def]
            opening = "<think></think>" if options["add_generation_prompt"] else ""
            return super().apply_chat_template(conversation, **options) + opening

    encoder = Encoder(WithoutThinking())
    between = encoder.between("seen")
    assert ByteTokenizer().decode(between) == f"[user]seen{END}[assistant]<think></think>"


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    class Rewriting(ByteTokenizer):
        def apply_chat_template(self, conversation, **options):  # type: ignore[no-untyped-def]
            kept = [m for m in conversation if m["role"] != "system"] if len(conversation) > 2 else conversation
            return super().apply_chat_template(kept, **options)

    with pytest.raises(ValueError, match="does not append"):
        Encoder(Rewriting())


class WithoutTags(ByteTokenizer):
    """Knows neither a tag nor what is called `lost`: they become a question mark."""

    unk_token_id = ord("?")

    def __init__(self, lost: str) -> None:
        self.lost = lost

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return super().encode(text.replace(self.lost, "?"))


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=str)
def test_every_grammar_comes_back_from_the_ids_of_bytes(grammar: Grammar) -> None:
    ENCODER.check(grammar)


@pytest.mark.parametrize(
    ("grammar", "lost", "message"),
    [
        ("hermes", "<tool_call>", "loses '<tool_call>' of the grammar 'hermes'.* Choose another grammar, or add it"),
        ("hermes", "</answer>", "loses '</answer>' of the grammar 'hermes'"),
        ("hermes", "<tool_response>", "loses '<tool_response>' of the grammar 'hermes'"),
        ("react-compact", "Final", "loses 'Final' of the grammar 'react-compact'"),
        ("hermes", "\n", r"loses '\\n' of the grammar"),
        ("hermes", "assistant", "does not know 'assistant' of its own chat template: add it"),
    ],
)
def test_a_tokenizer_that_loses_a_piece_of_the_grammar_is_refused(grammar: str, lost: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(WithoutTags(lost)).check(GRAMMARS[grammar])
