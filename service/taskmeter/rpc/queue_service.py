"""QueueService: make queues and change them while they are in use."""

from __future__ import annotations

from bisect import bisect_right

from taskmeter.core.delete_queue import delete_queue
from taskmeter.core.put_queue import pause_queue, put_queue
from taskmeter.core.service import Service
from taskmeter.model.queue import Queue
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import MAX_NAME_BYTES, Checks
from taskmeter.rpc.methods import Method, Read, Write
from taskmeter.v1 import queue_service_pb2 as pb

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


class QueueServicer:
    """The methods of `taskmeter.v1.QueueService`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def methods(self) -> dict[str, Method]:
        return {
            "PutQueue": Write(self.put_queue),
            "ListQueues": Read(self.list_queues),
            "PauseQueue": Write(self.pause_queue),
            "ResumeQueue": Write(self.resume_queue),
            "DeleteQueue": Write(self.delete_queue),
        }

    async def put_queue(self, request: pb.PutQueueRequest, caller: Caller) -> pb.PutQueueResponse:
        checks = Checks()
        _check_name(checks, request.name)
        checks.count("max_running_count", request.max_running_count)
        checks.count("max_size", request.max_size)
        checks.done()
        queue = await put_queue(
            self._service, caller.tenant, request.name, max_running=request.max_running_count, max_waiting=request.max_size
        )
        return pb.PutQueueResponse(queue=self._message(queue))

    async def list_queues(self, request: pb.ListQueuesRequest, caller: Caller) -> pb.ListQueuesResponse:
        checks = Checks()
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            checks.add("page_size", f"must be from 0 (= {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
        checks.text("page_token", request.page_token)
        checks.done()
        found = [group.definition for group in self._service.scheduler.queues(caller.tenant)]
        begin = bisect_right(
            found, request.page_token, key=lambda queue: queue.name
        )  # the token is the last name of the page before
        end = begin + (request.page_size or DEFAULT_PAGE_SIZE)
        page = found[begin:end]
        return pb.ListQueuesResponse(
            queues=[self._message(queue) for queue in page], next_page_token=page[-1].name if end < len(found) else ""
        )

    async def pause_queue(self, request: pb.PauseQueueRequest, caller: Caller) -> pb.PauseQueueResponse:
        return pb.PauseQueueResponse(queue=await self._set_pause(request.name, caller.tenant, paused=True))

    async def resume_queue(self, request: pb.ResumeQueueRequest, caller: Caller) -> pb.ResumeQueueResponse:
        return pb.ResumeQueueResponse(queue=await self._set_pause(request.name, caller.tenant, paused=False))

    async def delete_queue(self, request: pb.DeleteQueueRequest, caller: Caller) -> pb.DeleteQueueResponse:
        checks = Checks()
        _check_name(checks, request.name)
        checks.done()
        await delete_queue(self._service, caller.tenant, request.name)
        return pb.DeleteQueueResponse()

    async def _set_pause(self, name: str, tenant: str, *, paused: bool) -> pb.Queue:
        checks = Checks()
        _check_name(checks, name)
        checks.done()
        return self._message(await pause_queue(self._service, tenant, name, paused=paused))

    def _message(self, queue: Queue) -> pb.Queue:
        group = self._service.scheduler.group(queue.tenant, queue.name)
        return pb.Queue(
            name=queue.name,
            max_running_count=queue.max_running,
            max_size=queue.max_waiting,
            paused=queue.paused,
            running_count=group.running_count,
            waiting_count=group.waiting_count,
            create_time=queue.create_time,
        )


def _check_name(checks: Checks, name: str) -> None:
    if not name:
        checks.add("name", "must not be empty")
    checks.text("name", name, most_bytes=MAX_NAME_BYTES)
