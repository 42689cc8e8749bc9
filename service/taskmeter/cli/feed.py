"""All that comes in about one task, gathered by threads into one queue: status, output, what its work says, lost connections."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from taskmeter.client.items import ItemStats
from taskmeter.client.status import Event, TaskStatus
from taskmeter.client.sync import SyncClient
from taskmeter.errors import NotFoundError, TaskmeterError, UnavailableError
from taskmeter.model.event import EventKind
from taskmeter.model.state import State

STREAMS = ("stdout", "stderr")
MAX_QUEUED = 256
"""Messages of output; then the daemon is not read from until the terminal has caught up."""
MISSING_FILE_SECONDS = 0.1
COUNT_SECONDS = 1.0
"""Between two counts of items."""


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes the task wrote."""

    stream: str
    data: bytes
    offset: int
    """Where in the stream they stand."""
    lost_bytes: int = 0
    """So many right before them are no longer kept."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone and will be made again."""

    error: TaskmeterError


@dataclass(frozen=True, slots=True)
class Closed:
    """One source has said all."""

    source: str
    error: TaskmeterError | None = None


Arrival = TaskStatus | Output | Lost | ItemStats | Event


class Feed:
    """Follow a task until it has ended and all its output has come.

    Args:
        interval_seconds: how often the status is wanted at most; None = only at the end.
        streams: which outputs to follow.
        last_lines: begin so many lines before the end of the output; None = at its beginning.
        attempt: whose output alone; None = from `first_attempt` on that of each that follows.
        first_attempt: where that begins; None = with the newest.
        with_work: counts of items and messages, too.
    """

    def __init__(
        self,
        client: SyncClient,
        token: str,
        *,
        interval_seconds: float | None,
        streams: Sequence[str] = STREAMS,
        last_lines: int | None = None,
        attempt: int | None = None,
        first_attempt: int | None = None,
        with_work: bool = False,
    ) -> None:
        self._client = client
        self._token = token
        self._interval_seconds = interval_seconds
        self._last_lines = last_lines
        self._attempt = attempt
        self._first_attempt = first_attempt
        self._sources: dict[str, Callable[[str], None]] = {"status": self._follow_status}
        self._sources |= dict.fromkeys(streams, self._follow_output)
        if with_work:
            self._sources |= {"items": self._follow_items, "messages": self._follow_messages}
        self._open = set(self._sources)
        self._queue: queue.Queue[Arrival | Closed] = queue.Queue(MAX_QUEUED)
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._revive = client.on_disconnect
        client.on_disconnect = self._lost
        self.status: TaskStatus | None = None

    def __enter__(self) -> Self:
        for source, follow in self._sources.items():
            threading.Thread(target=self._run, args=(follow, source), name=f"taskmeter-{source}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._client.on_disconnect = self._revive

    @property
    def finished(self) -> bool:
        """The task has ended and everything was handed out."""
        return not self._open

    @property
    def task_ended(self) -> bool:
        """Its last status was handed out; output may still come."""
        return "status" not in self._open

    def get(self, timeout_seconds: float) -> Arrival | None:
        """Return the next thing, or None if nothing came in time. Raises what ended a source early."""
        try:
            item = self._queue.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(item, Closed):
            self._open.discard(item.source)
            if item.error is not None:
                raise item.error
            return None
        if isinstance(item, TaskStatus):
            self.status = item
        return item

    def get_all(self, timeout_seconds: float) -> list[Arrival]:
        """Wait for something, then return all that is there."""
        found: list[Arrival] = []
        wait = timeout_seconds
        while not self.finished and len(found) < MAX_QUEUED:
            item = self.get(wait)
            if item is not None:
                found.append(item)
            if self._queue.empty():
                break
            wait = 0.0
        return found

    def _run(self, follow: Callable[[str], None], source: str) -> None:
        error: TaskmeterError | None = None
        try:
            follow(source)
        except TaskmeterError as problem:
            error = problem
        if source == "status":
            self._ended.set()
        if not self._stopping.is_set():
            self._queue.put(Closed(source, error))

    def _follow_status(self, _: str) -> None:
        if self._interval_seconds is None:
            self._queue.put(self._client.wait_task(self._token))
            return
        for status in self._client.watch(self._token, interval_seconds=self._interval_seconds):
            if self._stopping.is_set():
                return
            self._queue.put(status)

    def _follow_items(self, _: str) -> None:
        """Count from time to time; once more when the task has ended, because all was reported by then."""
        reported = -1
        while True:
            ended = self._ended.wait(COUNT_SECONDS)
            with suppress(UnavailableError):  # it is being restarted, and others say so
                stats = self._client.get_item_stats(self._token)
                if stats.event_count != reported and not self._stopping.is_set():
                    reported = stats.event_count
                    self._queue.put(stats)
            if ended or self._stopping.is_set():
                return

    def _follow_messages(self, _: str) -> None:
        for event in self._client.events([self._token], kinds=[EventKind.MESSAGE], until_terminal=True):
            if self._stopping.is_set():
                return
            self._queue.put(event)

    def _follow_output(self, source: str) -> None:
        """Follow one attempt's output; if none was named, that of the first wanted, else the newest, and of all after it."""
        attempt = self._attempt if self._attempt is not None else self._first_attempt
        if attempt is None:
            attempt = self._newest_attempt()
        last_lines = self._last_lines
        while True:
            self._follow_attempt(source, attempt, last_lines)
            if self._attempt is not None or self._stopping.is_set() or self._newest_attempt() <= attempt:
                return
            attempt += 1
            last_lines = None

    def _newest_attempt(self) -> int:
        return self._client.wait_task(self._token, tuple(State)).attempt  # at once, and over a restart of the daemon

    def _follow_attempt(self, source: str, attempt: int, last_lines: int | None) -> None:
        while True:
            try:
                for chunk in self._client.read_file(self._token, source, attempt=attempt, follow=True, last_lines=last_lines):
                    if self._stopping.is_set():
                        return
                    if chunk.data:
                        self._queue.put(Output(source, chunk.data, chunk.offset, chunk.lost_bytes))
                return
            except NotFoundError as error:
                if error.reason != "FILE_NOT_FOUND":
                    raise
                if self._ended.is_set() or self._newest_attempt() > attempt:  # it ended without having written
                    return
            self._ended.wait(MISSING_FILE_SECONDS)

    def _lost(self, error: TaskmeterError) -> None:
        if not self._stopping.is_set():
            self._queue.put(Lost(error))
        if self._revive is not None:
            self._revive(error)
