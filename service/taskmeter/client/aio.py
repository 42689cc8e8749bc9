"""`Client`: the asyncio client. One per event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc.aio
from google.protobuf.message import Message

from taskmeter.client import failure, methods, reports, requests
from taskmeter.client.backoff import Backoff, Reconnect
from taskmeter.client.base import (
    DEFAULT_TIMEOUT_SECONDS,
    LEAST_WAIT_SECONDS,
    MOST_CHANNELS,
    WAIT_SLICE_SECONDS,
    ClientBase,
    Page,
    Resumable,
    Started,
    StoppedTasks,
)
from taskmeter.client.history import MetricsHistory
from taskmeter.client.items import ITEM_PAGE_SIZE, Item, ItemHistory, ItemStats, item_id_message, list_items_request
from taskmeter.client.key import Key, NewKey
from taskmeter.client.methods import Method
from taskmeter.client.queues import QUEUE_PAGE_SIZE, QueueStatus
from taskmeter.client.resume import Delivery, StreamState
from taskmeter.client.retried import RetriedTasks
from taskmeter.client.schedules import ScheduleRun, ScheduleStatus
from taskmeter.client.status import Event, ServerInfo, TaskRecord, TaskStatus
from taskmeter.client.tail import FileChunk, TailState
from taskmeter.errors import DeadlineError, TaskmeterError, UnavailableError
from taskmeter.model.event import EventKind
from taskmeter.model.item import ItemStatus
from taskmeter.model.state import State
from taskmeter.v1 import (
    admin_service_pb2,
    file_service_pb2,
    item_service_pb2,
    queue_service_pb2,
    schedule_service_pb2,
    task_pb2,
)
from taskmeter.v1 import task_service_pb2 as tasks

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)
T = TypeVar("T")


class EventStream(AsyncIterator[Event]):
    """Events, each once and in order; survives the loss of its connection. Keep `seq` to go on from it later."""

    def __init__(self, deliveries: AsyncGenerator[Delivery, None]) -> None:
        self._deliveries = deliveries
        self._events = self._flatten()
        self.seq = 0
        """Every matching event up to here has been handed out."""

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream."""
        await self._events.aclose()

    async def _flatten(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self._deliveries):
            async for delivery in self._deliveries:
                for event in delivery.events:
                    self.seq = event.seq or self.seq
                    yield event
                self.seq = delivery.seq


class Client(ClientBase):
    """Talks to a daemon; each method is a coroutine or an async iterator.

    All methods raise the classes of `taskmeter.errors`.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        key: str | None = None,
        state_dir: str | Path | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        on_disconnect: Callable[[TaskmeterError], None] | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        cert_key: str | Path | None = None,
    ) -> None:
        super().__init__(
            target,
            key=key,
            state_dir=state_dir,
            timeout_seconds=timeout_seconds,
            on_disconnect=on_disconnect,
            ca=ca,
            cert=cert,
            cert_key=cert_key,
        )
        self._channels: list[grpc.aio.Channel] = []
        self._calls: dict[str, Any] = {}

    __init__.__doc__ = ClientBase.__init__.__doc__

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def connect(self) -> None:
        """Find the daemon and check that it answers and takes the key."""
        await self.server_info()

    async def close(self) -> None:
        """Close the connection; running streams end."""
        channels, self._channels, self._calls = self._channels, [], {}
        self._close_count += 1
        for channel in channels:
            await channel.close()

    disconnect = close

    # ------------------------------------------------------------------------------------------------------ tasks

    async def start(
        self, argv: Sequence[str], *, idempotency_key: str = "", use_existing: bool = False, **fields: Any
    ) -> Started:
        """Start a command; `fields` are those of `requests.command_spec`. Returns once the task is accepted and durable."""
        return await self.start_task(
            requests.command_spec(argv, **fields), idempotency_key=idempotency_key, use_existing=use_existing
        )

    async def attach(self, pid: int, *, idempotency_key: str = "", use_existing: bool = False, **fields: Any) -> Started:
        """Meter a process that runs already on the daemon's host; `fields` are those of `requests.attach_spec`.

        It is billed from now on and never stopped unless `terminate` asks for it.
        """
        return await self.start_task(
            requests.attach_spec(pid, **fields), idempotency_key=idempotency_key, use_existing=use_existing
        )

    async def start_external(
        self, kind: str = "", *, idempotency_key: str = "", use_existing: bool = False, **fields: Any
    ) -> Started:
        """Announce work that runs elsewhere, as `SyncClient.start_external` does."""
        return await self.start_task(
            reports.external_spec(kind, **fields), idempotency_key=idempotency_key, use_existing=use_existing
        )

    async def start_task(self, spec: task_pb2.TaskSpec, *, idempotency_key: str = "", use_existing: bool = False) -> Started:
        """Start a task from its spec. Returns once it is accepted and durable."""
        request = tasks.StartTaskRequest(spec=spec, idempotency_key=idempotency_key, use_existing=use_existing)
        response = await self._call(methods.START_TASK, request)
        return Started(response.token, TaskStatus.of(response.status), response.existing, response.report_key)

    async def report_progress(
        self, token: str, stream: reports.Reports | AsyncIterable[tasks.ReportProgressRequest] | None = None, **fields: Any
    ) -> int:
        """Report as `SyncClient.report_progress` does; `stream` may be asynchronous."""
        if stream is not None and fields:
            raise TypeError("give either a stream of reports or the fields of one")
        many = [reports.report(**fields)] if stream is None else stream
        call = self._callable(methods.REPORT_PROGRESS, streaming=False, inflow=True)
        timeout = self._timeout_seconds if stream is None else None
        try:
            response = await call(reports.each_with_token(token, many), timeout=timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from None
        except asyncio.CancelledError:
            if _cancelled_by_us():
                raise
            raise failure.broken("the daemon cancelled the call") from None
        self._reached = True
        return int(response.accepted_count)

    async def get_task_status(self, token: str) -> TaskStatus:
        """Return the task as it stands now."""
        return TaskStatus.of((await self._call(methods.GET_TASK_STATUS, tasks.GetTaskStatusRequest(token=token))).status)

    async def get_task_record(self, token: str) -> TaskRecord:
        """Return what was asked and what came of it."""
        return TaskRecord.of((await self._call(methods.GET_TASK_RECORD, tasks.GetTaskRecordRequest(token=token))).record)

    async def list_page(self, **filters: Any) -> Page:
        """Return one page of tasks, newest first; `filters` are those of `requests.list_tasks`."""
        response = await self._call(methods.LIST_TASKS, requests.list_tasks(**filters))
        found = tuple(TaskStatus.of(status) for status in response.tasks)
        return Page(found, response.next_page_token, response.seq, response.total_count)

    async def list_tasks(self, *, limit: int | None = None, **filters: Any) -> AsyncGenerator[TaskStatus, None]:
        """Iterate over tasks, newest first, page by page; `filters` are those of `requests.list_tasks`."""
        filters.setdefault("page_size", requests.PAGE_SIZE if limit is None else min(limit, requests.PAGE_SIZE))
        while limit is None or limit > 0:
            page = await self.list_page(**filters)
            for status in page.tasks[:limit]:
                yield status
            if limit is not None:
                limit -= len(page.tasks)
            if not page.next_page_token:
                return
            filters["page_token"] = page.next_page_token

    async def wait_task(self, token: str, states: Iterable[State | int] = (), timeout_seconds: float = 0.0) -> TaskStatus:
        """Wait until the task is in one of `states` or has ended, and return its status; survives a restart of the daemon.

        After `timeout_seconds` (0 = never) the status is returned as it then is.
        """
        wanted = [int(state) for state in states]
        deadline = time.monotonic() + timeout_seconds if timeout_seconds else None
        backoff = Backoff()
        while True:
            left = WAIT_SLICE_SECONDS if deadline is None else min(deadline - time.monotonic(), WAIT_SLICE_SECONDS)
            left = max(left, LEAST_WAIT_SECONDS)
            request = tasks.WaitTaskRequest(token=token, states=wanted, timeout_seconds=left)  # type: ignore[arg-type]
            try:
                status = TaskStatus.of((await self._call(methods.WAIT_TASK, request, left + self._timeout_seconds)).status)
            except (UnavailableError, DeadlineError) as error:
                if not self._reached or (deadline is not None and time.monotonic() >= deadline):
                    raise
                await self._lost(error)
                await asyncio.sleep(backoff.next_seconds(error.retry_after_seconds))
                continue
            if status.completed or status.state in wanted or (deadline is not None and time.monotonic() >= deadline):
                return status
            backoff.reset()

    async def terminate(
        self,
        token: str,
        *,
        grace_period_seconds: float | None = None,
        immediate: bool = False,
        reason: str = "",
        include_dependents: bool = False,
    ) -> int:
        """Ask the task to end; returns when that is durable, not when it has ended. Again, shorter, it escalates.

        Returns how many tasks that waited for it were stopped with it: none without `include_dependents`.
        """
        request = requests.terminate(token, grace_period_seconds, immediate, reason, include_dependents)
        return int((await self._call(methods.TERMINATE, request)).dependent_count)

    async def terminate_tasks(self, **wanted: Any) -> StoppedTasks:
        """Ask all live tasks that match to end; `wanted` are those of `requests.terminate_tasks`. To be repeated if it fails."""
        response = await self._call(methods.TERMINATE_TASKS, requests.terminate_tasks(**wanted))
        return StoppedTasks(tuple(response.tokens), response.stopped_count, response.dependent_count)

    async def retry_task(self, token: str, *, as_new: bool = False) -> Started:
        """Run an ended task again: as its next attempt, or as a copy with a new token."""
        response = await self._call(methods.RETRY_TASK, tasks.RetryTaskRequest(token=token, as_new=as_new))
        return Started(response.token, TaskStatus.of(response.status), response.token == token)

    async def retry_tasks(self, **wanted: Any) -> RetriedTasks:
        """Run a page of the tasks again that match; `wanted` are those of `requests.retry_tasks`. Safe to be repeated."""
        return RetriedTasks.of(await self._call(methods.RETRY_TASKS, requests.retry_tasks(**wanted)))

    async def update_task(self, token: str, **changes: Any) -> TaskStatus:
        """Change metadata, tags or priority; `changes` are those of `requests.update_task`."""
        return TaskStatus.of((await self._call(methods.UPDATE_TASK, requests.update_task(token, **changes))).status)

    async def delete_task(self, token: str) -> None:
        """Forget an ended task and delete its files."""
        await self._call(methods.DELETE_TASK, tasks.DeleteTaskRequest(token=token))

    async def metrics_history(
        self, token: str, *, from_time: float = 0.0, to_time: float = 0.0, resolution_seconds: float = 0.0
    ) -> MetricsHistory:
        """Return the use of the current attempt over time, from its start to now, or in between two instants.

        The step is `resolution_seconds` or the next coarser that is kept; 0 = the finest that reaches back to `from_time`.
        """
        request = tasks.GetMetricsHistoryRequest(
            token=token, from_time=from_time, to_time=to_time, resolution_seconds=resolution_seconds
        )
        response = await self._call(methods.GET_METRICS_HISTORY, request)
        return MetricsHistory.of(response)

    # ---------------------------------------------------------------------------------------------------- streams

    def stream(self, tokens: Iterable[str] = (), **options: Any) -> AsyncGenerator[Delivery, None]:
        """Iterate over what StreamEvents sends, bookmarks included; `options` are those of `requests.stream_events`."""
        return self._resumable(methods.STREAM_EVENTS, StreamState(requests.stream_events(tokens, **options)))

    def events(
        self,
        tokens: Iterable[str] = (),
        *,
        kinds: Iterable[EventKind | int | str] = (),
        tags: Mapping[str, str] | None = None,
        from_seq: int | None = None,
        resume_token: str = "",
        until_terminal: bool = False,
    ) -> EventStream:
        """Iterate over events, each once and in order; without `from_seq` or `resume_token` from now on."""
        return EventStream(
            self.stream(
                tokens, kinds=kinds, tags=tags, from_seq=from_seq, resume_token=resume_token, until_terminal=until_terminal
            )
        )

    async def watch(self, token: str, *, interval_seconds: float = 1.0) -> AsyncGenerator[TaskStatus, None]:
        """Iterate over the task's status whenever it changed, at most once per interval; ends when the task has ended."""
        newest = -1
        deliveries = self.stream(
            [token],
            kinds=[EventKind.STATE, EventKind.METADATA],
            snapshot_first=True,
            include_status=True,
            status_interval_seconds=interval_seconds,
            until_terminal=True,
        )
        async with aclosing(deliveries):
            async for delivery in deliveries:
                moved = [event.state_changed.status for event in delivery.events if event.state_changed]
                for status in [*moved, *delivery.statuses]:
                    if status is not None and status.seq >= newest:
                        newest = status.seq
                        yield status

    # ------------------------------------------------------------------------------------------------------ files

    async def read_file(
        self,
        token: str,
        path: str,
        *,
        attempt: int | None = None,
        offset: int = 0,
        last_lines: int | None = None,
        follow: bool = False,
        max_bytes: int = 0,
    ) -> AsyncGenerator[FileChunk, None]:
        """Iterate over the pieces of a file of the task ("stdout", "stderr"); with `follow` until its attempt has ended."""
        if follow and attempt is None:
            attempt = (await self.wait_task(token, tuple(State))).attempt  # at once, and over a restart of the daemon
        request = file_service_pb2.ReadFileRequest(
            token=token, path=path, attempt=attempt, offset=offset, last_lines=last_lines, follow=follow, max_bytes=max_bytes
        )
        async with aclosing(self._resumable(methods.READ_FILE, TailState(request))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def logs(
        self,
        token: str,
        stream: str = "stdout",
        *,
        attempt: int | None = None,
        last_lines: int | None = None,
        follow: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Iterate over the bytes the task wrote to its stdout or stderr."""
        async with aclosing(self.read_file(token, stream, attempt=attempt, last_lines=last_lines, follow=follow)) as chunks:
            async for chunk in chunks:
                if chunk.data:
                    yield chunk.data

    # ------------------------------------------------------------------------------------------------------ items

    async def get_item(self, token: str, item_id: object) -> Item:
        """Return how an item stands; its id is a text, a number, or any other JSON value. Raises `NotFoundError`."""
        request = item_service_pb2.GetItemRequest(token=token, item_id=item_id_message(item_id))
        return Item.of((await self._call(methods.GET_ITEM, request)).item)

    async def list_items(
        self, token: str, *, status: ItemStatus | int | str | Iterable[ItemStatus | int | str] = (), stage: str = ""
    ) -> AsyncIterator[Item]:
        """Iterate over the items of a task, of all statuses and stages or of those asked for, read in pages."""
        request = list_items_request(token, status, stage)
        while True:
            response = await self._call(methods.LIST_ITEMS, request)
            for item in response.items:
                yield Item.of(item)
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    async def get_item_stats(self, token: str) -> ItemStats:
        """Count the items of a task by status, in all and for each stage; costs the same for any number of items."""
        response = await self._call(methods.GET_ITEM_STATS, item_service_pb2.GetItemStatsRequest(token=token))
        return ItemStats.of(response)

    async def get_item_history(self, token: str, item_id: object) -> ItemHistory:
        """Return what happened to an item and its steps, oldest first. Raises `NotFoundError`."""
        request = item_service_pb2.GetItemHistoryRequest(token=token, item_id=item_id_message(item_id), page_size=ITEM_PAGE_SIZE)
        history = ItemHistory()
        while True:
            response = await self._call(methods.GET_ITEM_HISTORY, request)
            history.add(response)
            request.page_token = response.next_page_token
            if not request.page_token:
                return history

    # ----------------------------------------------------------------------------------------------------- queues

    async def put_queue(self, name: str, *, max_running_count: int = 0, max_size: int = 0) -> QueueStatus:
        """Make a queue or give it other bounds, also while it is in use; 0 = no bound but the daemon's."""
        request = queue_service_pb2.PutQueueRequest(name=name, max_running_count=max_running_count, max_size=max_size)
        return QueueStatus.of((await self._call(methods.PUT_QUEUE, request)).queue)

    async def list_queues(self) -> list[QueueStatus]:
        """Return all queues by name, with what waits and runs in each."""
        found: list[QueueStatus] = []
        request = queue_service_pb2.ListQueuesRequest(page_size=QUEUE_PAGE_SIZE)
        while True:
            response = await self._call(methods.LIST_QUEUES, request)
            found += [QueueStatus.of(queue) for queue in response.queues]
            request.page_token = response.next_page_token
            if not request.page_token:
                return found

    async def pause_queue(self, name: str) -> QueueStatus:
        """Let no more tasks of the queue start; those that run go on."""
        request = queue_service_pb2.PauseQueueRequest(name=name)
        return QueueStatus.of((await self._call(methods.PAUSE_QUEUE, request)).queue)

    async def delete_queue(self, name: str) -> None:
        """Forget a queue in which nothing waits or runs."""
        await self._call(methods.DELETE_QUEUE, queue_service_pb2.DeleteQueueRequest(name=name))

    async def resume_queue(self, name: str) -> QueueStatus:
        """Let the tasks of a paused queue start again."""
        request = queue_service_pb2.ResumeQueueRequest(name=name)
        return QueueStatus.of((await self._call(methods.RESUME_QUEUE, request)).queue)

    # -------------------------------------------------------------------------------------------------- schedules

    async def put_schedule(
        self, name: str, spec: task_pb2.TaskSpec, timing: schedule_service_pb2.ScheduleTiming
    ) -> ScheduleStatus:
        """Make a schedule that starts `spec` again and again, or change one; `requests.command_spec` makes a spec."""
        request = schedule_service_pb2.PutScheduleRequest(name=name, spec=spec, timing=timing)
        return ScheduleStatus.of((await self._call(methods.PUT_SCHEDULE, request)).schedule)

    async def list_schedules(self) -> list[ScheduleStatus]:
        """Return all schedules by name."""
        found: list[ScheduleStatus] = []
        request = schedule_service_pb2.ListSchedulesRequest(page_size=QUEUE_PAGE_SIZE)
        while True:
            response = await self._call(methods.LIST_SCHEDULES, request)
            found += [ScheduleStatus.of(each) for each in response.schedules]
            request.page_token = response.next_page_token
            if not request.page_token:
                return found

    async def get_schedule(self, name: str) -> ScheduleStatus:
        """Return one schedule."""
        request = schedule_service_pb2.GetScheduleRequest(name=name)
        return ScheduleStatus.of((await self._call(methods.GET_SCHEDULE, request)).schedule)

    async def pause_schedule(self, name: str) -> ScheduleStatus:
        """Start nothing more of a schedule; what runs goes on."""
        request = schedule_service_pb2.PauseScheduleRequest(name=name)
        return ScheduleStatus.of((await self._call(methods.PAUSE_SCHEDULE, request)).schedule)

    async def resume_schedule(self, name: str) -> ScheduleStatus:
        """Go on with a schedule, from now."""
        request = schedule_service_pb2.ResumeScheduleRequest(name=name)
        return ScheduleStatus.of((await self._call(methods.RESUME_SCHEDULE, request)).schedule)

    async def run_schedule(self, name: str, *, idempotency_key: str = "") -> ScheduleRun:
        """Start a task of the schedule at once; with the same idempotency key again, no second one."""
        request = schedule_service_pb2.RunScheduleRequest(name=name, idempotency_key=idempotency_key)
        response = await self._call(methods.RUN_SCHEDULE, request)
        return ScheduleRun.of(response)

    async def delete_schedule(self, name: str) -> None:
        """Forget a schedule; its tasks stay."""
        await self._call(methods.DELETE_SCHEDULE, schedule_service_pb2.DeleteScheduleRequest(name=name))

    # ----------------------------------------------------------------------------------------------------- daemon

    async def server_info(self) -> ServerInfo:
        """Ask the daemon about itself."""
        response = await self._call(methods.GET_SERVER_INFO, admin_service_pb2.GetServerInfoRequest())
        return ServerInfo.of(response)

    async def drain(self, *, grace_period_seconds: float | None = None, reason: str = "") -> int:
        """Have the daemon refuse new work and end all tasks; returns how many are being stopped."""
        request = admin_service_pb2.DrainRequest(grace_period_seconds=grace_period_seconds, reason=reason)
        return (await self._call(methods.DRAIN, request)).stopping_count

    # ------------------------------------------------------------------------------------------------------- keys

    async def create_key(self, scopes: Iterable[str], **wanted: Any) -> NewKey:
        """Make a key with these scopes; `wanted` are those of `requests.create_key`. Its secret cannot be found out again."""
        response = await self._call(methods.CREATE_KEY, requests.create_key(scopes, **wanted))
        return NewKey.of(response)

    async def revoke_key(self, key_id: str) -> Key:
        """End a key for ever; its open streams end within a second, its tasks run on."""
        return Key.of((await self._call(methods.REVOKE_KEY, admin_service_pb2.RevokeKeyRequest(key_id=key_id))).key)

    async def list_keys(self, *, tenant: str = "", include_ended: bool = False) -> list[Key]:
        """Return the keys that this one may manage, oldest first."""
        request = admin_service_pb2.ListKeysRequest(tenant=tenant, include_ended=include_ended)
        return [Key.of(key) for key in (await self._call(methods.LIST_KEYS, request)).keys]

    # ------------------------------------------------------------------------------------------------- connection

    async def _call(self, method: Method[Req, Resp], request: Req, timeout_seconds: float | None = None) -> Resp:
        call = self._callable(method, streaming=False)
        try:
            response = await call(request, timeout=timeout_seconds or self._timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from None
        except asyncio.CancelledError:
            if _cancelled_by_us():
                raise
            raise failure.broken("the daemon cancelled the call") from None
        self._reached = True
        return cast("Resp", response)

    async def _resumable(self, method: Method[Req, Resp], state: Resumable[Req, Resp, T]) -> AsyncGenerator[T, None]:
        reconnect = Reconnect()
        close_count = self._close_count
        while True:
            callable_ = self._callable(method, streaming=True)
            call = callable_(state.next_request(), metadata=self._metadata)
            silent = False
            try:
                while True:
                    async with asyncio.timeout(state.silence_seconds):
                        response = await call.read()
                    if response is grpc.aio.EOF:
                        break
                    reconnect.progress()
                    self._reached = True
                    yield state.accept(response)
                if state.ends_with_ok:
                    return
                problem: TaskmeterError = failure.broken("the daemon ended the stream")
            except grpc.aio.AioRpcError as error:
                problem = self._translate(error)
            except asyncio.CancelledError:
                if _cancelled_by_us():
                    raise
                problem = failure.broken("the daemon cancelled the stream")
            except TimeoutError:
                silent = True
                problem = failure.broken(f"nothing came for {state.silence_seconds:g} s")
            finally:
                call.cancel()
            if close_count != self._close_count:
                raise failure.closed()
            delay = reconnect.delay_seconds(problem, reached=self._reached)
            if delay is None:
                raise problem
            await self._lost(problem)
            if silent:
                await self._replace(method, callable_)
            await asyncio.sleep(delay)
            if close_count != self._close_count:
                raise failure.closed()

    def _callable(self, method: Method[Req, Resp], *, streaming: bool, inflow: bool = False) -> Any:
        call = self._calls.get(method.path)
        if call is None:
            if not self._calls:
                self._channels.append(self._open_channel())
            kind = f"{'stream' if inflow else 'unary'}_{'stream' if streaming else 'unary'}"
            call = getattr(self._channels[-1], kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._calls[method.path] = call
        return call

    def _open_channel(self) -> grpc.aio.Channel:
        endpoint = self.endpoint
        credentials = self._tls.credentials(endpoint)
        if credentials is None:
            return grpc.aio.insecure_channel(endpoint.target, options=self._options)
        return grpc.aio.secure_channel(endpoint.target, credentials, options=self._options)

    async def _lost(self, error: TaskmeterError) -> None:
        """The daemon may have restarted somewhere else; what still uses the old channel finds out by itself."""
        if self.on_disconnect is not None:
            await asyncio.to_thread(self.on_disconnect, error)
        if self._look_again():
            self._calls.clear()

    async def _replace(self, method: Method[Any, Any], used: Any) -> None:
        """Have a new connection made for what comes next, unless that has happened: gRPC would go on with the dead one."""
        if self._calls.get(method.path) is used:
            self._calls.clear()
        for channel in [self._channels.pop(0) for _ in range(len(self._channels) - MOST_CHANNELS)]:
            await channel.close()

    def _translate(self, error: grpc.aio.AioRpcError) -> TaskmeterError:
        trailers = error.trailing_metadata() or ()
        return failure.from_rpc(error.code().name, error.details() or "", trailers, self.endpoint.target)


def _cancelled_by_us() -> bool:
    """grpc.aio raises `CancelledError` also when the server answered CANCELLED; only a task's own cancellation counts."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
