"""Loading and saving what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtr_env.encoding import Encoder
from mtr_env.evaluate import write_json
from mtr_env.grammar import get_grammar
from mtr_env.policies.local import load_weights
from train.options import said_plainly


def load(name: str, max_tokens: int, grammar: str | None = None) -> tuple[Any, Any]:
    """The model and its tokenizer, from a folder or a hub id, with float32 weights (mixed precision keeps those). The
    folder of a LoRA adapter gives its base with the adapter merged into it.

    Raises ``SystemExit`` with the fix when the model cannot read ``max_tokens`` tokens, or the tokenizer cannot write
    the ``grammar``. A tokenizer without a padding token pads with its end-of-turn token, which is said.
    """
    import torch
    from transformers import AutoTokenizer

    model = load_weights(name, torch.float32)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and max_tokens > context:
        raise SystemExit(f"--max-tokens {max_tokens}: {name} reads at most {context} tokens; lower it to that.")
    tokenizer = AutoTokenizer.from_pretrained(name)
    check_tokenizer(tokenizer, grammar)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # no loss is taken on padding
        print(f"The tokenizer has no padding token; {tokenizer.eos_token!r} takes its place.", flush=True)
    return model, tokenizer


def check_tokenizer(tokenizer: Any, grammar: str | None) -> None:
    """Raises ``SystemExit`` with the fix for a tokenizer that cannot encode conversations, or loses the grammar."""
    with said_plainly(ValueError):
        encoder = Encoder(tokenizer)
        if grammar is not None:
            encoder.check(get_grammar(grammar))


def adapter(rank: int) -> Any:
    """A LoRA configuration of this rank on all linear layers, or ``None`` for rank 0: all weights are trained.

    Raises ``SystemExit`` when ``peft`` is not installed.
    """
    if rank == 0:
        return None
    try:
        from peft import LoraConfig
    except ImportError:
        raise SystemExit("LoRA needs the package peft: pip install peft.") from None
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def save(trainer: Any, tokenizer: Any, out: Path) -> None:
    """The final weights, the tokenizer, and ``log.json``: what the trainer logged, entry by entry.

    LoRA matrices are merged into their model, so that the folder stands alone. Where several devices share the weights
    (FSDP, DeepSpeed) no process has the model: there the adapter is saved, and its base is what the program began with.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload") and not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        trainer.model = model.merge_and_unload()
    if trainer.accelerator.is_main_process:
        for left in out.glob("adapter_*"):  # of an earlier run: with it, the folder would be read as an adapter's
            left.unlink()
    trainer.save_model(str(out))
    if trainer.accelerator.is_main_process:
        tokenizer.save_pretrained(out)
        write_json(out / "log.json", trainer.state.log_history)
        print(f"saved {out}", flush=True)
