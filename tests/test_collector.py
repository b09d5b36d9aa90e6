"""The garbage collector looks seldom while many episodes are under way, and as before afterwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import ExitStack, aclosing

import pytest

from mtr_env.collector import seldom
from mtr_env.policies import make_policy
from mtr_env.registration import make_game
from mtr_env.rollout import aplay_many


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_more_episodes_make_it_look_less_often_until_they_have_ended() -> None:
    with seldom(10_000):
        assert gc.get_threshold() == (200_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_it_never_looks_more_often_than_before() -> None:
    with seldom(3):
        assert gc.get_threshold() == (700, 10, 10)


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0, 10, 10)
    with seldom(10_000):
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_any_number_of_episodes_is_a_threshold() -> None:
    with seldom(10**12):
        assert gc.get_threshold()[0] == 1_000_000


def test_several_at_once_may_end_in_any_order() -> None:
    one, other = ExitStack(), ExitStack()
    one.enter_context(seldom(1000))
    other.enter_context(seldom(10_000))
    one.close()
    assert gc.get_threshold()[0] == 200_000
    one.enter_context(seldom(1000))
    other.close()
    assert gc.get_threshold()[0] == 20_000
    one.close()
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("leave_early", [False, True])
def test_playing_many_episodes_gives_the_threshold_back(leave_early: bool) -> None:
    game = make_game("MTR-Synthetic-v0", limit=4)

    async def main() -> None:
        episodes = ((question_id, 0) for question_id in game.world.ids)
        async with aclosing(aplay_many(game, make_policy("oracle"), episodes, concurrency=500)) as traces:
            async for _ in traces:
                assert gc.get_threshold()[0] == 10_000
                if leave_early:
                    break

    asyncio.run(main())
    assert gc.get_threshold() == (700, 10, 10)
