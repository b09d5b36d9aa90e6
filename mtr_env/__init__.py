"""Simulated tool worlds for multi-hop questions as Gymnasium environments.

Importing the package registers ``MTR-HotpotQA-v0``, ``MTR-MuSiQue-v0``, ``MTR-2WikiMultiHopQA-v0``,
``MTR-Bamboogle-v0`` and ``MTR-Synthetic-v0``.
"""

from __future__ import annotations

from mtr_env.registration import ENV_IDS, register_envs
from mtr_env.reward import score
from mtr_env.trace import Trace
from mtr_env.version import __version__

register_envs()

__all__ = ["ENV_IDS", "Trace", "__version__", "score"]
