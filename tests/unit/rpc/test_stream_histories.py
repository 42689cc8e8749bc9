"""G8: whatever happens around it, a stream sends each event that it should, once, in order, or says from where they are kept.

STEPS=10000 in the environment searches as long; the default is for every run.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskmeter.rpc import backlog, fanout
from tests.unit.rpc.followers import Follower, World
from tests.waiting import wait_until_async

STEPS_PER_HISTORY = 50
HISTORIES = max(1, int(os.environ.get("STEPS", "1000")) // STEPS_PER_HISTORY)
TENANTS = ("default", "other")
TAGS: tuple[dict[str, str], ...] = ({}, {"colour": "red"}, {"colour": "blue"})


class Subscriber:
    """What one subscriber wants, from where, and what it was sent over all of its streams."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.tenant = dice.choice(TENANTS)
        mine = [task.token for task in world.tasks if task.tenant == self.tenant]
        self.tokens = dice.sample(mine, dice.randint(0, min(2, len(mine))))
        self.kinds = dice.choice(([], [1], [6], [1, 6]))
        self.tags = dice.choice(TAGS)
        first, head = world.store.first_seq, world.service.hub.head_seq
        self.begin = dice.choice([head + 1, first, dice.randint(first, head + 1)])
        self.seen: list[int] = []
        self.lost = False
        self.token = ""
        self.reached = self.begin - 1
        start: dict[str, Any] = {"from_seq": self.begin}
        if self.begin == head + 1 and dice.random() < 0.5:
            start = {"snapshot_first": True}
        self.stream = self.open(**start)

    def open(self, **start: Any) -> Follower:
        fields = {"tokens": self.tokens, "kinds": self.kinds, "tags": self.tags, "bookmark_interval_seconds": 0.1}
        return self.world.follow(self.tenant, **fields, **start)

    async def reconnect(self) -> None:
        """Hang up wherever it is, and go on from the last token."""
        await self.collect()
        if not self.lost:
            self.stream = self.open(**({"resume_token": self.token} if self.token else {"from_seq": self.begin}))

    async def collect(self) -> None:
        await self.stream.close()
        self.token = self.stream.resume_token or self.token
        self.reached = max(self.reached, self.stream.reached)
        self.seen += self.stream.seqs
        self.check_lost()

    def check_lost(self) -> None:
        error = self.stream.error
        if error is None:
            return
        assert error.reason == "EVENTS_COMPACTED", error
        self.lost = True
        assert int(error.metadata["first_available_seq"]) > self.reached + 1

    def should_have(self, up_to: int) -> list[int]:
        return [
            seq
            for seq, task, kind in self.world.history
            if self.begin <= seq <= up_to
            and task.tenant == self.tenant
            and (not self.tokens or task.token in self.tokens)
            and (not self.kinds or kind in self.kinds)
            and self.tags.items() <= task.tags.items()
        ]


async def run_history(world: World, seed: int) -> None:
    dice = random.Random(seed)
    for tenant in TENANTS:
        for tags in TAGS:
            await world.add_task(tenant, tags)
    subscribers: list[Subscriber] = []
    for _ in range(STEPS_PER_HISTORY):
        step = dice.random()
        alive = [each for each in subscribers if not each.lost and each.stream.error is None]
        if step < 0.5 or not alive:
            kinds = "".join(dice.choices("ms", k=dice.choice((1, 1, 3, 20))))
            await world.say(dice.choice(world.tasks), kinds, dice.choice((5, 50, 50, 1500)))
        elif step < 0.6:
            dice.choice(alive).stream.reads.clear()
        elif step < 0.7:
            dice.choice(alive).stream.reads.set()
        elif step < 0.8:
            await dice.choice(alive).reconnect()
        elif step < 0.85:
            await world.compact(dice.randint(1, world.service.hub.head_seq))
        if len(subscribers) < 6 and (not subscribers or step > 0.85):
            subscribers.append(Subscriber(world, dice))
    head = world.service.hub.head_seq
    for each in subscribers:
        each.stream.reads.set()
        stream = each.stream
        await wait_until_async(lambda stream=stream: stream.error or stream.reached >= head, f"all is sent (seed {seed})")  # type: ignore[misc]
        await each.collect()
        assert each.seen == each.should_have(each.reached if each.lost else head), f"seed {seed}"


@pytest.mark.guarantee("G8")
async def test_g8_no_history_loses_repeats_or_disorders_an_event(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "RING_BYTES", 4096)
    monkeypatch.setattr(fanout, "PIECE_BYTES", 700)
    monkeypatch.setattr(fanout, "STREAMS_PER_TURN", 2)
    monkeypatch.setattr(backlog, "PAGE_BYTES", 1000)
    monkeypatch.setattr(fanout, "TICK_SECONDS", 0.0005)
    directory: Path = tmp_path_factory.mktemp("histories")
    seeds = _seeds(HISTORIES)
    for number, seed in enumerate(seeds):
        world = World(directory / f"{number}.db")
        try:
            await run_history(world, seed)
        finally:
            await world.close()


def _seeds(count: int) -> list[int]:
    found: list[int] = []

    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def draw(seed: int) -> None:
        found.append(seed)

    draw()
    return found
