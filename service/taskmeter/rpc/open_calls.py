"""Calls that are under way: streams are counted per key, and all of a key's calls end within a second when it does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Self

from taskmeter.core.keyring import Keyring
from taskmeter.errors import AuthenticationError, LimitError
from taskmeter.rpc.auth import Caller

SWEEP_SECONDS = 0.25
"""How often expiry is looked for while a key that expires has calls open."""
RETRY_AFTER_SECONDS = 5.0
MOST_REPORT_STREAMS = 256
"""Of the report key of one attempt, which every process of a task has: about 40 kB each."""


class OpenCall:
    """One call: `with` it while it is answered. `ended` is why it was cut off."""

    __slots__ = ("_calls", "caller", "ended", "is_stream", "task")

    def __init__(self, calls: OpenCalls, caller: Caller, *, is_stream: bool) -> None:
        self._calls = calls
        self.caller = caller
        self.is_stream = is_stream
        self.ended: AuthenticationError | None = None
        self.task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self.task = asyncio.current_task()
        self._calls.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.leave(self)


class OpenCalls:
    """All calls that take time."""

    def __init__(self, keyring: Keyring, max_streams: int) -> None:
        """Let a key that has no such quota have `max_streams` open."""
        self._keyring = keyring
        self._max_streams = max_streams
        self._open: set[OpenCall] = set()
        self._streams: Counter[str] = Counter()
        self._sweep_planned = False
        keyring.on_change = self.end_refused

    def guard(self, caller: Caller, *, is_stream: bool = False) -> OpenCall:
        """Return what holds the call's place. Raises `LimitError` TOO_MANY_STREAMS."""
        if is_stream:
            quota = caller.quotas.stream_count
            most = self._max_streams if quota is None else quota
            if caller.reports_on is not None:
                most = min(most, MOST_REPORT_STREAMS)
            if self._streams[caller.key_id] >= most:
                raise LimitError(
                    f"this key has {most} streams open, as many as it may",
                    reason="TOO_MANY_STREAMS",
                    hint="close some; one StreamEvents can follow many tasks",
                    metadata={"quota": "stream_count", "limit": str(most)},
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
        return OpenCall(self, caller, is_stream=is_stream)

    def enter(self, call: OpenCall) -> None:
        self._open.add(call)
        if call.is_stream:
            self._streams[call.caller.key_id] += 1
        if call.caller.key.expire_time and not self._sweep_planned:
            self._plan_sweep()

    def leave(self, call: OpenCall) -> None:
        self._open.discard(call)
        if call.is_stream:
            self._streams[call.caller.key_id] -= 1
            if not self._streams[call.caller.key_id]:
                del self._streams[call.caller.key_id]

    def end_refused(self) -> None:
        """Cut off the calls of keys that are revoked, expired or gone; each answers UNAUTHENTICATED."""
        now = time.time()
        for call in list(self._open):
            if call.caller.reports_on is not None:  # it is in no list, and ends with its attempt
                continue
            try:
                self._keyring.check_alive(call.caller.key, now)
            except AuthenticationError as error:
                if call.ended is None and call.task is not None:
                    call.ended = error
                    call.task.cancel()

    def _plan_sweep(self) -> None:
        self._sweep_planned = True
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweep_planned = False
        self.end_refused()
        if any(call.caller.key.expire_time for call in self._open):
            self._plan_sweep()
