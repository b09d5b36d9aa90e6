"""Sampling for small models on one device: the key-value cache lives as long as the episodes do.

``model.generate`` reads an episode from its beginning for every action; here a round reads only what is new, which on a
CPU is a third of the time. vLLM does the same by its prefix cache; this is for where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from mtr_env.adapters.trl import Sampled, padding


class RoomyLayer(DynamicLayer):
    """A layer of the cache, (rows, heads, columns, size of a head), with room for columns to come: a new token is
    written and not, as in ``DynamicLayer``, a new cache beside the old one."""

    ROOM = 64

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``CacheLayerMixin``."""
        used, new = self.get_seq_length(), key_states.shape[-2]
        if used == 0 or used + new > self._rooms[0].shape[-2]:
            rows, heads, _, size = key_states.shape
            rooms = [key_states.new_empty(rows, heads, used + new + self.ROOM, size) for _ in range(2)]
            if used:
                rooms[0][:, :, :used], rooms[1][:, :, :used] = self.keys, self.values
            self._rooms = rooms
            self.is_initialized = True
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, used : used + new] = states
        self.keys, self.values = (room[:, :, : used + new] for room in self._rooms)
        return self.keys, self.values

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Keeps some rows, and of each row some columns, (rows, columns)."""
        shape = (-1, self.keys.shape[1], -1, self.keys.shape[3])
        at = columns[:, None, :, None].expand(shape)
        rooms = [torch.nn.functional.pad(x[rows].gather(2, at), (0, 0, 0, self.ROOM)) for x in (self.keys, self.values)]
        self._rooms = rooms
        self.keys, self.values = (room[:, :, : columns.shape[1]] for room in rooms)


class CachedSampler:
    """A :data:`~mtr_env.adapters.trl.Sampler` over a causal language model; temperature 0 is greedy.

    It recognises a round of the same episodes by their tokens: each context continues one of the last round, in its
    order. Anything else begins anew. Draws come from PyTorch's global generator.
    """

    def __init__(self, model: Any, tokenizer: Any, temperature: float = 1.0) -> None:
        self.model = model
        self.eos = tokenizer.eos_token_id
        self.pad = padding(tokenizer)
        self.temperature = temperature
        self._read: list[list[int]] = []  # of each row, the tokens that the cache holds
        self._cache = Cache(layer_class_to_replicate=RoomyLayer)
        self._known = torch.zeros(0, 0, dtype=torch.long)  # (rows, columns of the cache): 1 where there is a token

    @torch.no_grad()
    def __call__(self, contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        """One sample for each context, up to and including the end-of-turn token, of at most ``most`` tokens."""
        training = self.model.training
        self.model.eval()
        try:
            self._keep(contexts)
            new = [list(context[len(read) :]) for context, read in zip(contexts, self._read, strict=True)]
            samples: list[list[int]] = [[] for _ in contexts]
            going = [True] * len(contexts)
            for _ in range(most):
                tokens = self._sample(self._feed(new)).tolist()
                for row, token in enumerate(tokens):
                    if going[row]:
                        samples[row].append(token)
                        going[row] = token != self.eos
                if not any(going):
                    break
                new = [[token] if on else [] for token, on in zip(tokens, going, strict=True)]
            return [Sampled(sample, None) for sample in samples]
        finally:
            self.model.train(training)

    def _keep(self, contexts: Sequence[Sequence[int]]) -> None:
        """Keeps the rows of the cache that these contexts continue; none if one of them continues no row."""
        rows, row = [], 0
        for context in contexts:
            while row < len(self._read) and not _continues(context, self._read[row]):
                row += 1
            if row == len(self._read):
                self._read = [[] for _ in contexts]
                self._cache = Cache(layer_class_to_replicate=RoomyLayer)
                self._known = torch.zeros(len(contexts), 0, dtype=torch.long, device=self.model.device)
                return
            rows.append(row)
            row += 1
        self._read = [self._read[row] for row in rows]
        # Columns that hold a token come first; their order does not matter, for a key knows its own position.
        width = max(map(len, self._read))
        known, columns = self._known[rows].sort(dim=1, descending=True, stable=True)
        self._known = known[:, :width]
        for layer in self._cache.layers:
            layer.select(torch.tensor(rows, device=self.model.device), columns[:, :width])

    def _feed(self, new: Sequence[list[int]]) -> torch.Tensor:
        """Reads each row's new tokens; the logits after its last one, (rows, vocabulary)."""
        device = self.model.device
        width = max(map(len, new))
        ids = torch.tensor([tokens + [self.pad] * (width - len(tokens)) for tokens in new], device=device)
        real = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in new], device=device)
        before = self._known.sum(1, keepdim=True)
        self._known = torch.cat([self._known, real], 1)
        hidden = self.model.get_decoder()(
            input_ids=ids,
            attention_mask=self._known,
            position_ids=(before + real.cumsum(1) - 1).clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        for read, tokens in zip(self._read, new, strict=True):
            read += tokens
        last = (real.sum(1) - 1).clamp(min=0)
        return self.model.get_output_embeddings()(hidden[torch.arange(len(new), device=device), last])

    def _sample(self, logits: torch.Tensor) -> torch.Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial((logits.float() / self.temperature).softmax(-1), 1)[:, 0]


def _continues(context: Sequence[int], read: Sequence[int]) -> bool:
    return len(context) > len(read) and list(context[: len(read)]) == list(read)
