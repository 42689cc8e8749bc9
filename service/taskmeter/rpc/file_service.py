"""FileService: read what a task wrote to stdout and stderr, from any offset, its last lines, or live until it ends."""

from __future__ import annotations

import asyncio
import os
import stat

from taskmeter.core.service import Service
from taskmeter.errors import InvalidArgumentError, NotFoundError
from taskmeter.model.state import State
from taskmeter.model.task import Task
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks, checked_token
from taskmeter.rpc.kept_output import kept_offset
from taskmeter.rpc.methods import Context, Method, Stream
from taskmeter.v1 import file_service_pb2 as pb

CHUNK_BYTES = 256 * 1024
FOLLOW_POLL_SECONDS = 0.1
READABLE = ("stdout", "stderr")


class FileServicer:
    """The methods of `taskmeter.v1.FileService`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.closing = False

    def methods(self) -> dict[str, Method]:
        return {"ReadFile": Stream(self.read_file)}

    async def read_file(self, request: pb.ReadFileRequest, caller: Caller, context: Context) -> None:
        task = self._service.find(checked_token(request.token), caller.tenant)
        attempt = self._checked(request, task)
        if task.spec.attach is not None:
            raise NotFoundError(
                f"there is no {request.path}: the process was attached",
                reason="FILE_NOT_FOUND",
                hint="its output goes where it went before",
            )
        if task.spec.external is not None:
            raise NotFoundError(f"there is no {request.path}: the work runs elsewhere", reason="FILE_NOT_FOUND")
        descriptor = await self._open(request, task, attempt)
        if descriptor is None:
            await context.write(pb.ReadFileResponse(end=True).SerializeToString())
            return
        try:
            await self._copy(request, caller, context, attempt, descriptor)
        finally:
            os.close(descriptor)

    def _checked(self, request: pb.ReadFileRequest, task: Task) -> int:
        checks = Checks()
        if request.path not in READABLE:
            problem = f"must be one of {', '.join(READABLE)}"
            raise InvalidArgumentError(f"path: {problem}", reason="PATH_INVALID", fields=[("path", problem)])
        checks.count("offset", request.offset)
        checks.count("max_bytes", request.max_bytes)
        if request.HasField("last_lines"):
            checks.count("last_lines", request.last_lines)
            if request.offset:
                checks.add("last_lines", "excludes offset")
        attempt = request.attempt if request.HasField("attempt") else task.attempt
        if not 0 <= attempt <= task.attempt:
            checks.add("attempt", f"this task has attempts 0 to {task.attempt}")
        checks.done()
        return attempt

    def _running(self, token: str, tenant: str, attempt: int) -> bool:
        """Whether the attempt may still write. A stream that is to end because the daemon goes counts as not running."""
        task = self._service.find(token, tenant)
        return task.attempt == attempt and not task.ended and not self.closing

    async def _open(self, request: pb.ReadFileRequest, task: Task, attempt: int) -> int | None:
        """Open the file; None when the task ended without ever having written one. With `follow`, wait for it to appear."""
        path = self._service.executor.path_of(task.token, attempt, request.path)
        while True:
            running = self._running(task.token, task.tenant, attempt)
            try:
                # The task owns this directory entry: a link or a pipe in its place is not followed and does not block.
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                if not running or not request.follow:
                    return None
                await asyncio.sleep(FOLLOW_POLL_SECONDS)
                continue
            except OSError as error:
                raise NotFoundError(f"{request.path} is not a regular file", reason="FILE_NOT_FOUND") from error
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise NotFoundError(f"{request.path} is not a regular file", reason="FILE_NOT_FOUND")

    async def _copy(self, request: pb.ReadFileRequest, caller: Caller, context: Context, attempt: int, descriptor: int) -> None:
        offset = request.offset
        if request.HasField("last_lines"):
            offset = offset_of_last_lines(
                descriptor, request.last_lines, self._service.log_starts.get((request.token, attempt, request.path), 0)
            )
        key = (request.token, attempt, request.path)
        starts = self._service.log_starts
        left = request.max_bytes or -1
        while True:
            running = self._running(request.token, caller.tenant, attempt)  # asked before reading: what it wrote last is seen
            offset = kept_offset(descriptor, offset, starts.get(key, 0))
            data = os.pread(descriptor, CHUNK_BYTES if left < 0 else min(left, CHUNK_BYTES), offset)
            if offset < starts.get(key, 0):
                continue  # the head was cut off while it was read: what was read may be of the hole
            if data:
                left -= len(data) if left > 0 else 0
                size = max(os.fstat(descriptor).st_size, offset + len(data))
                piece = pb.ReadFileResponse(data=data, offset=offset, size=size, first_available_offset=starts.get(key))
                await context.write(piece.SerializeToString())
                offset += len(data)
                if left:
                    continue
            elif request.follow and running:
                await self._wait_for_growth(request.token)
                continue
            size = os.fstat(descriptor).st_size
            piece = pb.ReadFileResponse(offset=offset, size=size, end=True, first_available_offset=starts.get(key))
            await context.write(piece.SerializeToString())
            return

    async def _wait_for_growth(self, token: str) -> None:
        entry = self._service.live.get(token)
        if entry is not None and entry.task.state is not State.NONE:
            await self._service.wait_for_change(entry, FOLLOW_POLL_SECONDS)
        else:
            await asyncio.sleep(FOLLOW_POLL_SECONDS)


def offset_of_last_lines(descriptor: int, count: int, first_available: int = 0) -> int:
    """Return where the last `count` lines begin; a last line without a newline counts.

    Nothing before `first_available` is read; 0 when not so many lines begin behind it.
    """
    end = os.fstat(descriptor).st_size
    if count == 0:
        return end
    position, newlines = end, 0
    while position > first_available:
        start = max(first_available, position - CHUNK_BYTES)
        block = os.pread(descriptor, position - start, start)
        cut = len(block)
        if position == end and block.endswith(b"\n"):
            cut -= 1  # it ends the last line, it does not begin another
        while (cut := block.rfind(b"\n", 0, cut)) >= 0:
            newlines += 1
            if newlines == count:
                return start + cut + 1
        position = start
    return 0
