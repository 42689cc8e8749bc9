"""Clients of ours that follow all events, whatever is done to their connections, and a load that makes events."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from taskmeter import Client, SyncClient, TaskmeterError
from tests.daemon import Daemon

BOOKMARK_SECONDS = 0.2
PATIENCE_SECONDS = 120.0


class Load:
    """`with Load(daemon):` starts short tasks and changes another's metadata, also over restarts of the daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._start, self._change)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(PATIENCE_SECONDS)

    def _start(self) -> None:
        with SyncClient(state_dir=self._daemon.state_dir, timeout_seconds=5.0) as client:
            while not self._over.is_set():
                self._attempt(partial(client.start, ["true"]))

    def _change(self) -> None:
        with SyncClient(state_dir=self._daemon.state_dir, timeout_seconds=5.0) as client:
            token = client.start(["sleep", "600"]).token
            number = 0
            while not self._over.is_set():
                number += 1
                self._attempt(partial(client.update_task, token, set_metadata={"n": str(number)}))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except TaskmeterError:
            self._over.wait(0.05)


class Followed:
    """What a follower has seen."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []
        """Each event's seq and token, in the order in which the application got them."""
        self.until = math.inf
        """It is done when it has seen everything up to here."""
        self.lost_count = 0
        self.lost_reasons: set[str] = set()

    def lost(self, error: TaskmeterError) -> None:
        self.lost_count += 1
        self.lost_reasons.add(error.reason)

    def take(self, delivery: Any) -> bool:
        """Note what came; tell whether that is all."""
        self.events += [(event.seq, event.token) for event in delivery.events]
        return bool(delivery.seq >= self.until)


class Follower(Followed):
    """Follows with the blocking client, in a thread."""

    def __init__(self, **where: Any) -> None:
        super().__init__()
        self._where = where
        self._error: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001  # whatever it was: `done` raises it
            self._error = error

    def _follow(self) -> None:
        with SyncClient(**self._where, on_disconnect=self.lost) as client:
            for delivery in client.stream(from_seq=1, bookmark_interval_seconds=BOOKMARK_SECONDS):
                if self.take(delivery):
                    return

    async def done(self) -> None:
        await asyncio.to_thread(self.thread.join, PATIENCE_SECONDS)
        if self._error is not None:
            raise self._error
        assert not self.thread.is_alive(), f"it has seen {len(self.events)} events of {self.until}"


class AsyncFollower(Followed):
    """Follows with the asynchronous client, in a task of the running loop."""

    def __init__(self, **where: Any) -> None:
        super().__init__()
        self._where = where
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async with Client(**self._where, on_disconnect=self.lost) as client:
            async for delivery in client.stream(from_seq=1, bookmark_interval_seconds=BOOKMARK_SECONDS):
                if self.take(delivery):
                    return

    async def done(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._task


def stored(daemon: Daemon, head_seq: int) -> list[tuple[int, str]]:
    """Read all events over one connection, by plain gRPC."""
    found: list[tuple[int, str]] = []
    stream = daemon.calls.StreamEvents(from_seq=1, timeout=PATIENCE_SECONDS)
    for message in stream:
        found += [(event.seq, event.token) for event in message.events if event.seq <= head_seq]
        if message.seq >= head_seq:
            stream.cancel()
            break
    assert [seq for seq, _ in found] == list(range(1, head_seq + 1))
    return found
