"""Training programs: pretrain (the tiny base model), collect, sft, grpo. Run from the repository's root."""
