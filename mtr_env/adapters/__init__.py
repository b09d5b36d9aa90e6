"""Adapters to other people's trainers and evaluators: one file each (TRL's two forms: two), one extra each, none
importing another."""
