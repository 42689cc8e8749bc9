"""The event engine: who lags, who does not read, and who comes first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskmeter.core.ports import Block
from taskmeter.errors import TaskmeterError
from taskmeter.rpc import backlog, fanout, stream_events
from tests.unit.rpc.followers import World
from tests.waiting import wait_until_async


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "t.db")
    yield made
    await made.close()


@pytest.mark.guarantee("G8")
async def test_g8_resuming_at_one_below_and_one_above_the_first_kept_and_in_the_future(world: World) -> None:
    task = await world.add_task()
    for _ in range(9):
        await world.say(task)
    await world.compact(5)
    assert (world.store.first_seq, world.service.hub.head_seq) == (5, 10)

    async def outcome(**start: Any) -> tuple[str, dict[str, str]] | list[int]:
        follower = world.follow(**start)
        await wait_until_async(lambda: follower.error or follower.reached >= 10, "it is through")
        await follower.close()
        return (follower.error.reason, dict(follower.error.metadata)) if follower.error else follower.seqs

    store = world.store.store_id
    assert await outcome(from_seq=5) == [5, 6, 7, 8, 9, 10]
    assert await outcome(from_seq=6) == [6, 7, 8, 9, 10]
    assert await outcome(from_seq=4) == ("EVENTS_COMPACTED", {"first_available_seq": "5"})
    assert await outcome(resume_token=f"{store}.4") == [5, 6, 7, 8, 9, 10]
    assert await outcome(resume_token=f"{store}.3") == ("EVENTS_COMPACTED", {"first_available_seq": "5"})
    assert await outcome(from_seq=11) == [], "what comes next"
    assert await outcome(from_seq=12) == ("SEQ_IN_FUTURE", {"head_seq": "10"})
    assert await outcome(resume_token=f"{store}.11") == ("SEQ_IN_FUTURE", {"head_seq": "10"})
    assert (await outcome(resume_token="0123456789abcdef.10"))[0] == "STORE_CHANGED"


@pytest.mark.guarantee("G8")
async def test_g8_what_is_compacted_before_a_stream_came_to_it_ends_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "RING_BYTES", 4096)
    monkeypatch.setattr(backlog, "PAGE_BYTES", 4096)
    monkeypatch.setattr(fanout, "PIECE_BYTES", 3000)
    world = World(tmp_path / "small.db")
    task = await world.add_task()
    for _ in range(200):
        await world.say(task, size_bytes=1000)
    follower = world.follow(from_seq=1)
    follower.stall_after = 3
    await wait_until_async(lambda: len(follower.messages) == 3, "it has begun")
    await world.compact(150)
    follower.reads.set()
    await wait_until_async(lambda: follower.error, "it is told")
    assert follower.error is not None and follower.error.reason == "EVENTS_COMPACTED"
    assert follower.error.metadata["first_available_seq"] == "150"
    assert follower.seqs == list(range(1, follower.reached + 1)), "no gap before that"
    assert 0 < follower.reached < 149
    await world.close()


@pytest.mark.guarantee("G8", "G10")
async def test_g8_g10_who_does_not_read_is_ended_with_aborted_and_told_where_to_resume(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.streams.slow_consumer_seconds = 0.05
    monkeypatch.setattr(stream_events, "SWEEP_SECONDS", 0.01)
    task = await world.add_task()
    follower, other = world.follow(from_seq=1), world.follow(from_seq=1)
    await wait_until_async(lambda: follower.reached == 1, "it reads")
    follower.reads.clear()
    await world.say(task)
    await wait_until_async(lambda: follower.error, "it is ended")
    assert isinstance(follower.error, TaskmeterError)
    assert follower.error.code == "ABORTED" and follower.error.metadata["seq"] == "1"
    assert follower.error.metadata["resume_token"] == follower.resume_token, "what it was not given comes again"
    assert follower.task.done() and follower.task.cancelling() == 0
    await wait_until_async(lambda: other.reached == 2, "others go on")
    again = world.follow(resume_token=follower.error.metadata["resume_token"])
    await wait_until_async(lambda: again.seqs == [2], "it goes on where it was")
    for each in (other, again):
        await each.close()
    assert not world.streams._fanout._feeds and not world.streams._open, "nothing is left of them"


async def test_a_snapshot_under_load_has_no_gap_after_it(world: World) -> None:
    tasks = [await world.add_task() for _ in range(150)]
    stop = False

    async def write() -> None:
        number = 0
        while not stop:
            await world.say(tasks[number % len(tasks)])
            number += 1

    writer = asyncio.ensure_future(write())
    followers = []
    for _ in range(20):
        followers.append(world.follow(snapshot_first=True))
        await world.say(tasks[0])
    stop = True
    await writer
    head = world.service.hub.head_seq
    for follower in followers:
        await wait_until_async(lambda follower=follower: follower.reached >= head, "all is sent")  # type: ignore[misc]
        last = next(message for message in follower.messages if message.seq)
        before = [message for message in follower.messages if message is not last and not message.seq]
        assert len({status.token for message in (*before, last) for status in message.statuses}) == 150
        assert follower.seqs == list(range(last.seq + 1, head + 1))
        assert all(status.seq for message in before for status in message.statuses)
        await follower.close()


async def test_a_message_is_shared_by_all_in_step_and_sent_once_per_tick(world: World) -> None:
    task = await world.add_task()
    followers = [world.follow(from_seq=2, kinds=[6]) for _ in range(40)]
    others = [world.follow(from_seq=2, tokens=[task.token]) for _ in range(3)]
    await wait_until_async(lambda: all(each.messages for each in (*followers, *others)), "they follow")
    assert len(world.streams._fanout._feeds) == 2, "one feed per filter"
    await asyncio.gather(*(world.say(task) for _ in range(30)))
    await wait_until_async(lambda: all(each.reached == 31 for each in (*followers, *others)), "all is sent")
    for each in (*followers, *others):
        assert each.seqs == list(range(2, 32))
        assert len(each.messages) < 25, "several events per message"
        await each.close()


async def test_a_task_s_followers_are_not_woken_by_others_and_skip_what_is_not_theirs(world: World) -> None:
    mine, other = await world.add_task(), await world.add_task()
    follower = world.follow(from_seq=3, tokens=[mine.token], bookmark_interval_seconds=60)
    await wait_until_async(lambda: follower.messages, "it follows")
    await wait_until_async(lambda: world.streams._fanout._by_interest[("default", mine.token)][0].waiting, "it waits")
    for _ in range(50):
        await world.say(other)
    assert not world.streams._fanout._due and len(follower.messages) == 1
    await world.say(mine)
    await wait_until_async(lambda: follower.seqs == [53], "its own comes")
    await follower.close()


async def test_a_huge_backlog_starves_neither_other_streams_nor_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "PIECE_BYTES", 200)
    task = await world.add_task()
    await asyncio.gather(*(world.say(task, "m" * 50) for _ in range(100)))
    behind = world.follow(from_seq=1)
    await wait_until_async(lambda: behind.seqs, "it has begun")
    new = world.follow(from_seq=world.service.hub.head_seq + 1)
    published: list[int] = []
    publish = world.service.hub.on_block

    def on_block(block: Block) -> None:
        published.append(len(behind.seqs))
        publish(block)

    world.service.hub.on_block = on_block
    await world.say(task)
    async with asyncio.timeout(10):
        while not new.seqs:  # noqa: ASYNC110  # turn by turn: between two looks of a clock it could get it all
            await asyncio.sleep(0)
    assert len(behind.seqs) - published[0] < 100, "the other has the newest before the first had much of its backlog meanwhile"
    await wait_until_async(lambda: len(behind.seqs) == 5002, "it gets all in the end")
    for each in (behind, new):
        await each.close()


async def test_the_loop_has_a_turn_between_every_few_streams_of_a_tick(world: World) -> None:
    task = await world.add_task()
    followers = [world.follow() for _ in range(10 * fanout.STREAMS_PER_TURN)]
    await wait_until_async(lambda: all(each.messages for each in followers), "they follow")
    [feed] = world.streams._fanout._feeds.values()
    await wait_until_async(lambda: len(feed.waiting) == len(followers), "they wait")
    loop = asyncio.get_running_loop()
    counts: list[int] = []

    def look() -> None:
        counts.append(sum(bool(each.seqs) for each in followers))
        if counts[-1] < len(followers):
            loop.call_soon(look)

    await world.say(task)
    look()
    await wait_until_async(lambda: counts[-1] == len(followers), "all have it")
    steps = [after - before for before, after in pairwise(counts)]
    assert max(steps) <= fanout.STREAMS_PER_TURN
    for each in followers:
        await each.close()


async def test_streams_stand_back_for_a_call_that_ends_work_but_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MOST_HOLDS", 1)
    monkeypatch.setattr(fanout, "HOLD_SECONDS", 0.05)
    task = await world.add_task()
    follower = world.follow()
    await wait_until_async(lambda: follower.messages, "it follows")
    [feed] = world.streams._fanout._feeds.values()
    await wait_until_async(lambda: feed.waiting, "it waits")
    begin = time.monotonic()
    with world.streams.precedence:
        await world.say(task)
        await wait_until_async(lambda: follower.seqs == [2], "it is told while the call is still under way")
    assert time.monotonic() - begin >= 0.05
    monkeypatch.setattr(fanout, "MOST_HOLDS", 10**6)
    with world.streams.precedence:
        await world.say(task)
        await wait_until_async(lambda: world.streams._fanout._holds_left < 10**6 - 1, "it is held more than once")
        assert follower.seqs == [2]
    await wait_until_async(lambda: follower.seqs == [2, 3], "it is told when the call is over")
    await follower.close()


async def test_statuses_are_conflated_with_the_number_skipped_and_encoded_once_for_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await world.add_task()
    encoded = 0
    status_of_entry = world.service.status_of_entry

    def count(entry: object) -> bytes:
        nonlocal encoded
        encoded += 1
        return status_of_entry(entry)  # type: ignore[arg-type]

    monkeypatch.setattr(world.service, "status_of_entry", count)
    monkeypatch.setattr(world.service.meter, "is_open", lambda _: True, raising=False)
    followers = [world.follow(include_status=True, status_interval_seconds=0.1) for _ in range(5)]
    await wait_until_async(lambda: all(any(m.statuses for m in each.messages) for each in followers), "the first came")
    world.meter.versions[task.token] = 8
    await wait_until_async(lambda: all(any(m.conflated for m in each.messages) for each in followers), "the newest came")
    for each in followers:
        assert sum(message.conflated for message in each.messages) == 7
        assert [status.token for message in each.messages for status in message.statuses] == [task.token] * 2
        await each.close()
    assert encoded == 2
