"""A model from nothing, of any size: random weights, and a BPE tokenizer of the words of collected traces.

    python -m train.scratch --traces runs/gpu/traces.jsonl --out runs/gpu/base

It can be trained on any world, so it shows what a machine makes of a larger model where there is no hub to take one
from. (The base of the demo, ``train.pretrain``, reads the synthetic world only: each of its words is a token.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtr_env.evaluate import read_traces
from mtr_env.grammar import get_grammar
from train.options import option, parse


@dataclass
class Args:
    """What the model is made of; the defaults give 31 million parameters."""

    traces: Path = option(Path("runs/traces/kept.jsonl"), "the tokenizer's merges are those of these traces")
    out: Path = option(Path("runs/base"), "where the checkpoint goes")
    vocabulary: int = option(8192, "tokens, the 256 bytes among them")
    width: int = option(512, "size of the hidden states")
    layers: int = option(8, "transformer blocks")
    heads: int = option(8, "attention heads")
    context: int = option(4096, "tokens that it reads at most")
    seed: int = option(0, "of the weights")


def texts(path: Path) -> Iterator[str]:
    """What a policy reads and writes in the traces."""
    for trace in read_traces(path):
        prompt = get_grammar(trace.setup.grammar).render_prompt(trace.question.text, trace.toolset)
        yield from (prompt.system, prompt.user)
        for step in trace.steps:
            yield from (step.action, step.observation)


def make_tokenizer(path: Path, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer, so that no text is lost, with the chat template of ``train/base``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from train.tokenizer import CHAT_TEMPLATE, END, PAD, ROLES

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(path), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(args: Args, tokenizer: Any) -> Any:
    """A Llama with tied embeddings and random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(args.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=args.vocabulary,
            hidden_size=args.width,
            intermediate_size=3 * args.width,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            num_key_value_heads=args.heads,
            max_position_embeddings=args.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def main(argv: list[str] | None = None) -> None:
    """Makes and saves the model."""
    args = parse(Args, "scratch", __doc__.split("\n", 1)[0], argv)
    if not args.traces.exists():
        raise SystemExit(f"--traces {args.traces}: there is no such file; `python -m train.collect` makes one.")
    tokenizer = make_tokenizer(args.traces, args.vocabulary)
    model = make_model(args, tokenizer)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens: {args.out}")


if __name__ == "__main__":
    main()
