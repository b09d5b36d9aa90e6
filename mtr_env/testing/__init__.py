"""What those who write an adapter, or a plug of their own, test it with."""

from __future__ import annotations

from mtr_env.testing.conformance import (
    NotConforming,
    check_policy,
    check_reward_part,
    check_tool_actor,
    check_tool_maker,
)

__all__ = ["NotConforming", "check_policy", "check_reward_part", "check_tool_actor", "check_tool_maker"]
