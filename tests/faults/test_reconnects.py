"""G8: however often its connection breaks or the daemon dies, a client hands out every event once, in order."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from functools import partial

import pytest

from tests.daemon import Daemon
from tests.faults.followers import AsyncFollower, Follower, Load, stored
from tests.faults.size import new_seed, wanted_count
from tests.proxy import Proxy
from tests.waiting import wait_until_async

RECONNECT_COUNT = wanted_count(30)
KILL_COUNT = max(3, RECONNECT_COUNT // 50)
CUT_AFTER_SECONDS = (0.0, 0.005, 0.05, 0.15)
KILL_AFTER_SECONDS = (0.05, 0.6)
LONGEST_SECONDS = 60.0 + RECONNECT_COUNT
EVENTS_BETWEEN = 20


def cut_often(proxies: tuple[Proxy, ...], chance: random.Random) -> None:
    """Cut them at random moments until each has been connected as often as is wanted."""
    pause = threading.Event()
    while any(proxy.connection_count <= RECONNECT_COUNT for proxy in proxies):
        pause.wait(chance.choice(CUT_AFTER_SECONDS))
        for proxy in proxies:
            proxy.cut()


def follow_on(followers: tuple[Follower, AsyncFollower], count: int) -> bool:
    return min(len(each.events) for each in followers) >= count


@pytest.mark.guarantee("G8")
@pytest.mark.timeout(LONGEST_SECONDS + 300)
async def test_g8_streams_that_are_cut_at_random_moments_see_every_event_once(
    daemon: Daemon, record_property: Callable[[str, object], None]
) -> None:
    seed = new_seed()
    with Proxy(daemon.home / "a", daemon.target) as first, Proxy(daemon.home / "b", daemon.target) as second, Load(daemon):
        followers = Follower(target=first.target, key=daemon.key), AsyncFollower(target=second.target, key=daemon.key)
        await wait_until_async(partial(follow_on, followers, 1), "they have begun")  # the first connection must succeed
        cutter = asyncio.to_thread(cut_often, (first, second), random.Random(seed))
        await asyncio.wait_for(cutter, LONGEST_SECONDS)
        await finish(daemon, followers, record_property, first.connection_count + second.connection_count, seed)


@pytest.mark.guarantee("G8")
@pytest.mark.timeout(LONGEST_SECONDS + 300)
async def test_g8_streams_of_a_daemon_that_is_killed_under_load_see_every_event_once(
    daemon: Daemon, record_property: Callable[[str, object], None]
) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    pause = threading.Event()
    followers = Follower(state_dir=daemon.state_dir), AsyncFollower(state_dir=daemon.state_dir)
    with Load(daemon):
        for _ in range(KILL_COUNT):
            seen = min(len(each.events) for each in followers)
            await wait_until_async(partial(follow_on, followers, seen + EVENTS_BETWEEN), "they follow", 30)
            await asyncio.to_thread(pause.wait, chance.uniform(*KILL_AFTER_SECONDS))
            await asyncio.to_thread(daemon.restart)
        await finish(daemon, followers, record_property, KILL_COUNT, seed)


async def finish(
    daemon: Daemon,
    followers: tuple[Follower, AsyncFollower],
    record_property: Callable[[str, object], None],
    count: int,
    seed: int,
) -> None:
    """To be called while the load goes on: what the followers have to see ends somewhere in the middle."""
    head_seq = int(daemon.calls.GetServerInfo().head_seq)
    for each in followers:
        each.until = head_seq
    for each in followers:
        await each.done()
    expected = await asyncio.to_thread(stored, daemon, head_seq)
    print(f"seed {seed}: {count} faults, {head_seq} events, {[each.lost_count for each in followers]} connections lost")
    record_property("faults", count)
    for each in followers:
        assert [event for event in each.events if event[0] <= head_seq] == expected
        assert each.lost_count
