"""LOG events for a stream: pieces of the output files, outside the sequence, each with its byte offset."""

from __future__ import annotations

import os
import time

from taskmeter.core.service import Service
from taskmeter.errors import NotFoundError
from taskmeter.model.task import Task
from taskmeter.rpc.convert.frame import EVENTS, frame
from taskmeter.rpc.kept_output import kept_offset
from taskmeter.rpc.stream_request import Subscription
from taskmeter.v1 import event_pb2, item_pb2  # noqa: F401  # item: needed by event's descriptor pool

CHUNK_BYTES = 64 * 1024
CHUNKS_PER_TURN = 8
_STREAMS = {"stdout": event_pb2.LOG_STREAM_STDOUT, "stderr": event_pb2.LOG_STREAM_STDERR}


class LogChunks:
    """Positions in the output files of the stream's tasks. From now: only what is written after the stream began."""

    def __init__(self, service: Service, wanted: Subscription) -> None:
        self._service = service
        self._wanted = wanted
        self._offsets: dict[tuple[str, int, str], int] = {}
        self._attempts: dict[str, int] = {}
        """The oldest attempt of each task that may have bytes left to send."""
        self.drained = False
        if wanted.from_now:
            for token in wanted.tokens:
                task = service.find(token, wanted.tenant)
                self._attempts[token] = task.attempt
                for name in _STREAMS:
                    self._offsets[token, task.attempt, name] = self._size(token, task.attempt, name)

    def take(self) -> list[bytes]:
        """Return framed LOG events for what was written since the last call, at most a few per file."""
        frames: list[bytes] = []
        drained = True
        for token in self._wanted.tokens:
            try:
                task = self._service.find(token, self._wanted.tenant)
            except NotFoundError:
                continue  # deleted meanwhile
            ended = task.ended  # asked before reading, as which attempt is the newest: what it wrote last is seen
            attempt = self._attempts.setdefault(token, task.attempt)
            while True:
                for name, number in _STREAMS.items():
                    frames += self._read(task, attempt, name, number)
                empty = all(self._offsets.get((token, attempt, name), 0) >= self._size(token, attempt, name) for name in _STREAMS)
                if not empty or attempt == task.attempt:
                    break
                attempt = self._attempts[token] = attempt + 1
            drained &= ended and empty
        self.drained = drained
        return frames

    def _size(self, token: str, attempt: int, name: str) -> int:
        try:
            return os.stat(self._service.executor.path_of(token, attempt, name), follow_symlinks=False).st_size
        except OSError:
            return 0

    def _read(self, task: Task, attempt: int, name: str, number: event_pb2.LogStream) -> list[bytes]:
        key = (task.token, attempt, name)
        offset = self._offsets.get(key, 0)
        if self._size(*key) <= offset:
            return []
        frames = []
        starts = self._service.log_starts
        descriptor = os.open(self._service.executor.path_of(*key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for _ in range(CHUNKS_PER_TURN):
                offset = kept_offset(descriptor, offset, starts.get(key, 0))
                data = os.pread(descriptor, CHUNK_BYTES, offset)
                if not data or offset < starts.get(key, 0):
                    break  # in the second case the head was cut off while it was read: begin anew next time
                event = event_pb2.Event(time=time.time(), token=task.token, attempt=attempt, tags=task.tags)
                event.log.stream = number
                event.log.offset = offset
                event.log.data = data
                frames.append(frame(EVENTS, event.SerializeToString()))
                offset += len(data)
        finally:
            os.close(descriptor)
        self._offsets[key] = offset
        return frames
