"""A tokenizer without a model: one token a byte, with a second spelling for some pairs of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

END = "\x03"
"""The text of the end-of-turn token."""
PAIR = 300
"""An id for "to": decoding gives the same text as the two byte ids, encoding never gives it."""


class ByteTokenizer:
    """Ids 0 to 255 are bytes, 256 ends a turn, 300 is a non-canonical spelling of the bytes of "to"."""

    eos_token_id: int | None = 256
    chat_template: Any = "roles in brackets"

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text."""
        return [256 if byte == ord(END) else byte for byte in text.encode()]

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        pieces = {256: END.encode(), PAIR: b"to"}
        return b"".join(pieces.get(i) or bytes([i]) for i in token_ids).decode(errors="replace")

    def apply_chat_template(
        self, conversation: Sequence[Mapping[str, str]], *, tokenize: bool = True, add_generation_prompt: bool = False
    ) -> Any:
        """The text of a conversation."""
        turns = [f"[{m['role']}]{m['content']}{END}" for m in conversation]
        return "".join(turns) + ("[assistant]" if add_generation_prompt else "")
