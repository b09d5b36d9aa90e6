"""Loading and saving what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load(name: str, max_tokens: int) -> tuple[Any, Any]:
    """The model and its tokenizer, from a folder or a hub id, with float32 weights (mixed precision keeps those).

    Raises ``SystemExit`` when the model cannot read ``max_tokens`` tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and max_tokens > context:
        raise SystemExit(f"--max-tokens {max_tokens}: {name} reads at most {context} tokens; lower it to that.")
    return model, AutoTokenizer.from_pretrained(name)


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
    """The final weights, the tokenizer, and ``log.json``: what the trainer logged, entry by entry."""
    trainer.save_model(str(out))
    if trainer.accelerator.is_main_process:
        tokenizer.save_pretrained(out)
        (out / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
        print(f"saved {out}", flush=True)
