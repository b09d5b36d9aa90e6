"""The two action grammars: how tools, calls, answers and observations are written as text, and read back.

Both are invertible (``parse(render(x)) == x``) and linear in the length of the text: tags are found with ``str.find``,
never with a regular expression over the whole text, so a policy cannot stall training with a long action. Where a
``<`` or a line break inside a value could close or forge a tag or a line, it is written as ``&lt;`` or ``&#10;`` in
plain text and as ``\\u003c`` in JSON.
"""

from __future__ import annotations

from mtr_env.grammar.base import (
    MAX_ACTION_CHARS,
    MAX_CALLS_PER_STEP,
    MAX_JSON_DEPTH,
    Action,
    Grammar,
    Prompt,
    Result,
    escape,
    malformed,
    to_json,
    unescape,
)
from mtr_env.grammar.hermes import HermesGrammar
from mtr_env.grammar.react import ReactGrammar

GRAMMARS: dict[str, Grammar] = {
    g.name: g for g in (HermesGrammar(), HermesGrammar("compact"), ReactGrammar(), ReactGrammar("compact"))
}


def get_grammar(grammar: str | Grammar) -> Grammar:
    """The grammar called ``grammar``, or the object itself. Raises ``ValueError`` for an unknown name."""
    if not isinstance(grammar, str):
        return grammar
    if grammar not in GRAMMARS:
        raise ValueError(f"Unknown grammar {grammar!r}; expected one of {', '.join(map(repr, GRAMMARS))}.")
    return GRAMMARS[grammar]


__all__ = [
    "GRAMMARS",
    "MAX_ACTION_CHARS",
    "MAX_CALLS_PER_STEP",
    "MAX_JSON_DEPTH",
    "Action",
    "Grammar",
    "HermesGrammar",
    "Prompt",
    "ReactGrammar",
    "Result",
    "escape",
    "get_grammar",
    "malformed",
    "to_json",
    "unescape",
]
