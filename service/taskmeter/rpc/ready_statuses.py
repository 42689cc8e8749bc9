"""Statuses for streams: each version of a live task's status is encoded and framed once, however many streams are to get it."""

from __future__ import annotations

from taskmeter.core.service import Entry, Service
from taskmeter.model.state import State
from taskmeter.rpc.convert.frame import STATUSES, frame

MOST = 4096
"""Of about 600 bytes each."""


class ReadyStatuses:
    """The newest framed status of the tasks that streams asked for last."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ready: dict[str, tuple[tuple[int, int], bytes]] = {}

    def frame_of(self, entry: Entry, version: tuple[int, int]) -> bytes:
        """Return the framed status of a live task, whose version is this one right now."""
        if entry.task.state is State.NONE:
            return frame(STATUSES, self._service.status_of_entry(entry))  # its place in the queue changes without it
        token = entry.task.token
        found = self._ready.pop(token, None)
        if found is None or found[0] != version:
            found = version, frame(STATUSES, self._service.status_of_entry(entry))
        self._ready[token] = found
        if len(self._ready) > MOST:
            del self._ready[next(iter(self._ready))]
        return found[1]
