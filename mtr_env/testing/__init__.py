"""What those who write an adapter, or a plug of their own, test it with."""

from __future__ import annotations

from mtr_env.testing.checks import NotConforming
from mtr_env.testing.conformance import check_policy, check_reward_part, check_tool_maker
from mtr_env.testing.conformance_actor import check_tool_actor

__all__ = ["NotConforming", "check_policy", "check_reward_part", "check_tool_actor", "check_tool_maker"]
