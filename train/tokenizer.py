"""The word tokenizer of the tiny model: every word of the synthetic world is one token, wherever it stands.

    >>> tokenizer = build()
    >>> text = 'Who directed "The Silver Harbor" (1987)?'
    >>> tokenizer.decode(tokenizer.encode(text)) == text
    True

A small model learns to copy a name in minutes when the name is the same token after a quote, a space or a line break
(issue notes in ``train/README.md``). So a word has no leading-space variant: inside, a word is written with a mark in
front, and the one space between two words is not written at all. Long fixed pieces of the grammar and of the prompt are
one token each, which halves the length of an episode.
"""

from __future__ import annotations

import re
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agents.thoughts import thought
from mtr_env.grammar import get_grammar
from mtr_env.relations import RELATIONS
from mtr_env.tool import Toolset
from mtr_env.toolmakers import specs
from mtr_env.trace import Call
from mtr_env.worlds.synthetic_text import vocabulary

MARK = "\u2581"
END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PUNCTUATION = list("\n \t!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@cache
def build() -> PreTrainedTokenizerFast:
    """The tokenizer; the same on every machine."""
    pieces = [*ROLES, END, PAD, UNKNOWN, *_fixed_pieces()]
    words = sorted({*vocabulary(), *_tool_words()})
    names = [*pieces, *PUNCTUATION, *[MARK + word for word in words if re.fullmatch(r"\w+", word)]]
    ids = {name: i for i, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\b(?=\w)"), MARK),
            normalizers.Replace(Regex(rf"(?<=\w) (?={MARK})"), ""),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{MARK}\w+|[^\w{MARK}]"), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace(Regex(rf"(?<=\w){MARK}"), " "), decoders.Replace(MARK, "")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )
    fast.add_tokens([piece for piece in pieces if piece not in (END, PAD, UNKNOWN)])
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _fixed_pieces() -> list[str]:
    """Texts that are the same in every episode, each one token."""
    tool = specs.SEARCH
    prompt = get_grammar("hermes-compact").render_prompt("?", Toolset((tool,)))
    head, tail = prompt.system.split(tool.signature())
    return [
        head,
        tail,
        "Question: ",
        "<think>",
        '</think>\n<tool_call>\n{"name":"',
        '<tool_call>\n{"name":"',
        '","arguments":{"',
        '":"',
        '","',
        '"}}\n</tool_call>',
        "<answer>",
        "</answer>",
        '<tool_response>\n{"name":"',
        '","content":{"status":"',
        '","message":"',
        '":["',
        '"]}}\n</tool_response>',
        '"}}\n</tool_response>',
        '"],"total":',
        "}}\n</tool_response>",
        '"result":',
        '"results":[{"title":"',
        '","snippet":"',
        '"},{"title":"',
        '"}]}}\n</tool_response>',
        ": string) ",
        ": string, ",
        " & ",
        '":{"error":{"code":"',
        *[f"- {spec.description}" for spec in _all_specs()],
    ]


def _all_specs() -> list:
    relations = sorted(RELATIONS)
    utilities = [specs.SEARCH, specs.OPEN_PAGE, specs.FIND_IN_PAGE, specs.CALCULATE, specs.COMPARE_DATES]
    return [*utilities, *map(specs.relation_tool, relations), *map(specs.inverse_tool, relations)]


def _tool_words() -> set[str]:
    """Words of tool names, arguments, responses and messages."""
    words = set(
        (
            "tool_call tool_response answer think ok not_found ambiguous error message candidates string number "
            "integer There is no such record page with this title More than one has have give the full Several name "
            "No matches query The does not contain text service temporarily unavailable try again Nothing was found "
            "Expected a number an operator or parenthesis before expression is longer than characters ends where "
            "expected Division by zero closed date such"
        ).split()
    )
    for spec in _all_specs():
        words.add(spec.name)
        words |= {*spec.parameters["properties"], *spec.response["properties"], "snippet"}
        words.update(
            re.findall(r"\w+", thought(Call(spec.name, dict.fromkeys(spec.parameters["properties"], "")), spec))
        )
    return words
