"""Adapters to other people's trainers and evaluators: one file each, one extra each, none importing another."""
