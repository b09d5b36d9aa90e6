"""The taskset of mtr-env under a name that verifiers finds: ``vf-eval mtr-taskset``, ``vf-validate mtr-taskset``."""

from mtr_env.adapters.verifiers import MTRTaskset

__all__ = ["MTRTaskset"]
