"""``LocalModel``: a checkpoint of transformers plays, in the text of the grammar, on this machine."""

from __future__ import annotations

import inspect
import time
from hashlib import blake2b
from typing import Any

from mtr_env import draw
from mtr_env.encoding import Encoder
from mtr_env.extras import needed
from mtr_env.grammar import Grammar, get_grammar
from mtr_env.policies.base import Messages, Tools
from mtr_env.policies.usage import EpisodeUsage, UsageBook
from mtr_env.trace import Trace

DIGEST_VALUES = 64
"""Of each tensor of weights, so many values are part of a checkpoint's digest."""


def load_local(checkpoint: str, grammar: str | Grammar = "hermes", *, temperature: float = 0.0) -> LocalModel:
    """The policy of a checkpoint, a folder or hub id: on the first CUDA device in the checkpoint's own precision, else
    on the CPU in float32.

    Raises ``ImportError`` without PyTorch and transformers, ``OSError`` for a folder or id that has no checkpoint,
    ``ValueError`` as :class:`LocalModel`.
    """
    with needed("train", "A local model"):
        import torch
        from transformers import AutoTokenizer
    cuda = torch.cuda.is_available()
    model = load_weights(checkpoint, "auto" if cuda else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return LocalModel(model.to("cuda" if cuda else "cpu"), tokenizer, grammar, temperature=temperature, name=checkpoint)


def load_weights(checkpoint: str, dtype: Any) -> Any:
    """The causal language model of a folder or hub id, all its weights trainable. A LoRA adapter is merged into its
    base, which may itself be the folder of an adapter.

    Raises ``OSError`` for a folder or id that has no checkpoint, or an adapter whose base is not there.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import find_adapter_config_file

    if find_adapter_config_file(checkpoint) is None:
        return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    with needed("train", "A LoRA adapter"):
        from peft import PeftConfig, PeftModel
    name = PeftConfig.from_pretrained(checkpoint).base_model_name_or_path
    try:
        base = load_weights(name, dtype)
    except (OSError, TypeError) as error:  # TypeError: it records no base
        raise OSError(
            f"{checkpoint} holds a LoRA adapter for {name!r}, which is no checkpoint here: put it back, or write where "
            "it is as base_model_name_or_path into adapter_config.json."
        ) from error
    model: Any = PeftModel.from_pretrained(base, checkpoint).merge_and_unload()
    model.requires_grad_(True)  # peft had frozen the base
    model.name_or_path = model.config._name_or_path = checkpoint  # what an adapter trained on it records as its base
    return model


def weights_digest(model: Any) -> str:
    """Eight hexadecimal digits that another training of the same model has others of."""
    digest = blake2b(digest_size=4)
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().flatten()[:DIGEST_VALUES].float().cpu().tolist()
        digest.update(f"{name} {tuple(tensor.shape)} {values}".encode())
    return digest.hexdigest()


class LocalModel:
    """Reads the prompt of the environment through the tokenizer's chat template, and what it writes is the action.

    One episode at a time: what is sampled depends on the episode alone, so a run that was interrupted ends in the same
    bytes (for many episodes at once, serve the model and play ``--policy chat``). The key-value cache lives as long as
    the episode, and tokens that were sampled are never tokenised again. ``temperature`` 0 is greedy; other sampling
    settings of the checkpoint are not used. An action has at most ``most`` tokens, and what does not fit into the
    model's context is not written: such an action is malformed.

    ``name`` and a digest of the weights stand in :attr:`name`. Raises ``ValueError`` for a tokenizer without a chat
    template that appends (:class:`~mtr_env.encoding.Encoder`) or that loses the grammar's tags, and for a negative
    temperature.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        grammar: str | Grammar = "hermes",
        *,
        temperature: float = 0.0,
        most: int = 512,
        name: str = "model",
    ) -> None:
        if not temperature >= 0:
            raise ValueError(f"The temperature is a number of at least 0, found {temperature!r}.")
        self.model = model.eval()
        self.encoder = Encoder(tokenizer)
        self.grammar = get_grammar(grammar)
        self.encoder.check(self.grammar)
        self.temperature = temperature
        self.most = most
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        self.stops = _stops(model, self.encoder.eos)
        self.name = f"local({name}, weights={weights_digest(model)}, temperature={temperature:g}, most={most})"
        self.book = UsageBook()
        keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"use_cache": True} | ({"logits_to_keep": 1} if keeps else {})

    def for_episode(self, trace: Trace) -> LocalPlayer:
        """See :class:`~mtr_env.policies.base.EpisodicPolicy`. Raises ``ValueError`` when the episode speaks another
        grammar."""
        if trace.setup.grammar != self.grammar.name:
            raise ValueError(f"The model writes {self.grammar.name!r}; the episode speaks {trace.setup.grammar!r}.")
        return LocalPlayer(self, trace)

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        """What the episode of this question and seed has used so far. As at an endpoint, the whole conversation is the
        input of each action."""
        return self.book.of(question_id, seed)

    def logits(self, tokens: list[int], cache: Any) -> tuple[Any, Any]:
        """The logits after the last of the new tokens, a float32 vector on the CPU, and the cache that holds these."""
        import torch

        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.model.device)
            found = self.model(input_ids=ids, past_key_values=cache, **self._options)
        return found.logits[0, -1].float().cpu(), found.past_key_values

    def pick(self, logits: Any, generator: Any) -> int:
        """The next token."""
        import torch

        if self.temperature == 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits / self.temperature).softmax(-1), 1, generator=generator))


class LocalPlayer:
    """Plays one episode."""

    def __init__(self, policy: LocalModel, trace: Trace) -> None:
        self._policy, self._key = policy, (trace.question.id, trace.seed)
        self._read: list[int] = []  # the tokens in the cache
        self._context: list[int] = []  # the conversation so far, with the last action
        self._cache: Any = None
        policy.book.begin(*self._key)

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """The model's next action."""
        encoder = self._policy.encoder
        began = time.perf_counter()
        if not self._context:
            context = encoder.prompt([dict(message) for message in messages])
        else:
            closing = [] if self._context[-1] == encoder.eos else [encoder.eos]
            context = [*self._context, *closing, *encoder.between(messages[-1]["content"])]
        said = self._sample(context, turn=len(messages))
        self._context = [*context, *said]
        read = len(context) if said else 0
        self._policy.book.add(*self._key, read, len(said), time.perf_counter() - began, None)
        return encoder.text(said)

    def _sample(self, context: list[int], turn: int) -> list[int]:
        """The tokens of an action, with the one that ends it where the model wrote it."""
        import torch

        policy, said = self._policy, list[int]()
        room = policy.most if policy.context is None else min(policy.most, policy.context - len(context))
        generator = torch.Generator().manual_seed(draw.bits("local", *self._key, turn) >> 1)
        new = context[len(self._read) :]
        while len(said) < room:
            logits, self._cache = policy.logits(new, self._cache)
            self._read += new
            token = policy.pick(logits, generator)
            new = [token]
            said.append(policy.encoder.eos if token in policy.stops else token)
            if token in policy.stops:
                break
        return said


def _stops(model: Any, eos: int) -> frozenset[int]:
    """The tokens that end a turn: the tokenizer's, and what the checkpoint names beside it."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset({eos, *(named if isinstance(named, list) else [named])} - {None})
