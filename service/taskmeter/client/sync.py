"""`SyncClient`: the blocking client. Safe to use from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
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
from taskmeter.client.watchdog import Watchdog
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


class EventStream(Iterator[Event]):
    """Events, each once and in order; survives the loss of its connection. Keep `seq` to go on from it later."""

    def __init__(self, deliveries: Iterator[Delivery]) -> None:
        self._deliveries = deliveries
        self._events = self._flatten()
        self.seq = 0
        """Every matching event up to here has been handed out."""

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._events.close()

    def _flatten(self) -> Generator[Event, None, None]:
        try:
            for delivery in self._deliveries:
                for event in delivery.events:
                    self.seq = event.seq or self.seq
                    yield event
                self.seq = delivery.seq
        finally:
            _close(self._deliveries)


class SyncClient(ClientBase):
    """Talks to a daemon; every method blocks until its answer is there.

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
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._calls: dict[str, Any] = {}

    __init__.__doc__ = ClientBase.__init__.__doc__

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def connect(self) -> None:
        """Find the daemon and check that it answers and takes the key."""
        self.server_info()

    def close(self) -> None:
        """Close the connection; running streams end."""
        with self._lock:
            channels, self._channels, self._calls = self._channels, [], {}
            self._close_count += 1
        for channel in channels:
            channel.close()

    disconnect = close

    # ------------------------------------------------------------------------------------------------------ tasks

    def start(self, argv: Sequence[str], *, idempotency_key: str = "", use_existing: bool = False, **fields: Any) -> Started:
        """Start a command; `fields` are those of `requests.command_spec`. Returns once the task is accepted and durable."""
        return self.start_task(requests.command_spec(argv, **fields), idempotency_key=idempotency_key, use_existing=use_existing)

    def attach(self, pid: int, *, idempotency_key: str = "", use_existing: bool = False, **fields: Any) -> Started:
        """Meter a process that runs already on the daemon's host; `fields` are those of `requests.attach_spec`.

        It is billed from now on and never stopped unless `terminate` asks for it.
        """
        return self.start_task(requests.attach_spec(pid, **fields), idempotency_key=idempotency_key, use_existing=use_existing)

    def start_external(self, kind: str = "", *, idempotency_key: str = "", use_existing: bool = False, **fields: Any) -> Started:
        """Announce work that runs elsewhere and reports itself, with the `report_key` of the answer.

        `fields` are those of `reports.external_spec`. It begins when it has its turn: a first report is held until then.
        """
        return self.start_task(reports.external_spec(kind, **fields), idempotency_key=idempotency_key, use_existing=use_existing)

    def start_task(self, spec: task_pb2.TaskSpec, *, idempotency_key: str = "", use_existing: bool = False) -> Started:
        """Start a task from its spec. Returns once it is accepted and durable."""
        request = tasks.StartTaskRequest(spec=spec, idempotency_key=idempotency_key, use_existing=use_existing)
        response = self._call(methods.START_TASK, request)
        return Started(response.token, TaskStatus.of(response.status), response.existing, response.report_key)

    def report_progress(self, token: str, stream: reports.Reports | None = None, **fields: Any) -> int:
        """Report about a task: once, with the fields of `reports.report`, or all that `stream` yields, for as long as it does.

        Returns how many reports were taken in, once they are durable. When one is refused, or the daemon stops, the error has
        in `metadata["accepted_count"]` how many were before. Nothing is sent again: after a lost connection some may be in.
        """
        if stream is not None and fields:
            raise TypeError("give either a stream of reports or the fields of one")
        many = iter([reports.report(**fields)]) if stream is None else iter(stream)
        call = self._callable(methods.REPORT_PROGRESS, streaming=False, inflow=True)
        timeout = self._timeout_seconds if stream is None else None
        try:
            response = call(reports.with_token(token, many), timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None
        self._reached = True
        return int(response.accepted_count)

    def get_task_status(self, token: str) -> TaskStatus:
        """Return the task as it stands now."""
        return TaskStatus.of(self._call(methods.GET_TASK_STATUS, tasks.GetTaskStatusRequest(token=token)).status)

    def get_task_record(self, token: str) -> TaskRecord:
        """Return what was asked and what came of it."""
        return TaskRecord.of(self._call(methods.GET_TASK_RECORD, tasks.GetTaskRecordRequest(token=token)).record)

    def list_page(self, **filters: Any) -> Page:
        """Return one page of tasks, newest first; `filters` are those of `requests.list_tasks`."""
        response = self._call(methods.LIST_TASKS, requests.list_tasks(**filters))
        found = tuple(TaskStatus.of(status) for status in response.tasks)
        return Page(found, response.next_page_token, response.seq, response.total_count)

    def list_tasks(self, *, limit: int | None = None, **filters: Any) -> Iterator[TaskStatus]:
        """Iterate over tasks, newest first, page by page; `filters` are those of `requests.list_tasks`."""
        filters.setdefault("page_size", requests.PAGE_SIZE if limit is None else min(limit, requests.PAGE_SIZE))
        while limit is None or limit > 0:
            page = self.list_page(**filters)
            yield from page.tasks[:limit]
            if limit is not None:
                limit -= len(page.tasks)
            if not page.next_page_token:
                return
            filters["page_token"] = page.next_page_token

    def wait_task(self, token: str, states: Iterable[State | int] = (), timeout_seconds: float = 0.0) -> TaskStatus:
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
                status = TaskStatus.of(self._call(methods.WAIT_TASK, request, left + self._timeout_seconds).status)
            except (UnavailableError, DeadlineError) as error:
                if not self._reached or (deadline is not None and time.monotonic() >= deadline):
                    raise
                self._lost(error)
                time.sleep(backoff.next_seconds(error.retry_after_seconds))
                continue
            if status.completed or status.state in wanted or (deadline is not None and time.monotonic() >= deadline):
                return status
            backoff.reset()

    def terminate(
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
        return int((self._call(methods.TERMINATE, request)).dependent_count)

    def terminate_tasks(self, **wanted: Any) -> StoppedTasks:
        """Ask all live tasks that match to end; `wanted` are those of `requests.terminate_tasks`. To be repeated if it fails."""
        response = self._call(methods.TERMINATE_TASKS, requests.terminate_tasks(**wanted))
        return StoppedTasks(tuple(response.tokens), response.stopped_count, response.dependent_count)

    def retry_task(self, token: str, *, as_new: bool = False) -> Started:
        """Run an ended task again: as its next attempt, or as a copy with a new token."""
        response = self._call(methods.RETRY_TASK, tasks.RetryTaskRequest(token=token, as_new=as_new))
        return Started(response.token, TaskStatus.of(response.status), response.token == token)

    def retry_tasks(self, **wanted: Any) -> RetriedTasks:
        """Run a page of the tasks again that match; `wanted` are those of `requests.retry_tasks`. Safe to be repeated."""
        return RetriedTasks.of(self._call(methods.RETRY_TASKS, requests.retry_tasks(**wanted)))

    def update_task(self, token: str, **changes: Any) -> TaskStatus:
        """Change metadata, tags or priority; `changes` are those of `requests.update_task`."""
        return TaskStatus.of(self._call(methods.UPDATE_TASK, requests.update_task(token, **changes)).status)

    def delete_task(self, token: str) -> None:
        """Forget an ended task and delete its files."""
        self._call(methods.DELETE_TASK, tasks.DeleteTaskRequest(token=token))

    def metrics_history(
        self, token: str, *, from_time: float = 0.0, to_time: float = 0.0, resolution_seconds: float = 0.0
    ) -> MetricsHistory:
        """Return the use of the current attempt over time, from its start to now, or in between two instants.

        The step is `resolution_seconds` or the next coarser that is kept; 0 = the finest that reaches back to `from_time`.
        """
        request = tasks.GetMetricsHistoryRequest(
            token=token, from_time=from_time, to_time=to_time, resolution_seconds=resolution_seconds
        )
        response = self._call(methods.GET_METRICS_HISTORY, request)
        return MetricsHistory.of(response)

    # ---------------------------------------------------------------------------------------------------- streams

    def stream(self, tokens: Iterable[str] = (), **options: Any) -> Iterator[Delivery]:
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

    def watch(self, token: str, *, interval_seconds: float = 1.0) -> Iterator[TaskStatus]:
        """Iterate over the task's status whenever it changed, at most once per interval; ends when the task has ended."""
        newest = -1
        for delivery in self.stream(
            [token],
            kinds=[EventKind.STATE, EventKind.METADATA],
            snapshot_first=True,
            include_status=True,
            status_interval_seconds=interval_seconds,
            until_terminal=True,
        ):
            moved = [event.state_changed.status for event in delivery.events if event.state_changed]
            for status in [*moved, *delivery.statuses]:
                if status is not None and status.seq >= newest:
                    newest = status.seq
                    yield status

    # ------------------------------------------------------------------------------------------------------ files

    def read_file(
        self,
        token: str,
        path: str,
        *,
        attempt: int | None = None,
        offset: int = 0,
        last_lines: int | None = None,
        follow: bool = False,
        max_bytes: int = 0,
    ) -> Iterator[FileChunk]:
        """Iterate over the pieces of a file of the task ("stdout", "stderr"); with `follow` until its attempt has ended."""
        if follow and attempt is None:
            attempt = self.wait_task(token, tuple(State)).attempt  # at once, and over a restart of the daemon
        request = file_service_pb2.ReadFileRequest(
            token=token, path=path, attempt=attempt, offset=offset, last_lines=last_lines, follow=follow, max_bytes=max_bytes
        )
        return self._resumable(methods.READ_FILE, TailState(request))

    def logs(
        self,
        token: str,
        stream: str = "stdout",
        *,
        attempt: int | None = None,
        last_lines: int | None = None,
        follow: bool = False,
    ) -> Iterator[bytes]:
        """Iterate over the bytes the task wrote to its stdout or stderr."""
        for chunk in self.read_file(token, stream, attempt=attempt, last_lines=last_lines, follow=follow):
            if chunk.data:
                yield chunk.data

    # ------------------------------------------------------------------------------------------------------ items

    def get_item(self, token: str, item_id: object) -> Item:
        """Return how an item stands; its id is a text, a number, or any other JSON value. Raises `NotFoundError`."""
        request = item_service_pb2.GetItemRequest(token=token, item_id=item_id_message(item_id))
        return Item.of(self._call(methods.GET_ITEM, request).item)

    def list_items(
        self, token: str, *, status: ItemStatus | int | str | Iterable[ItemStatus | int | str] = (), stage: str = ""
    ) -> Iterator[Item]:
        """Iterate over the items of a task, of all statuses and stages or of those asked for, read in pages."""
        request = list_items_request(token, status, stage)
        while True:
            response = self._call(methods.LIST_ITEMS, request)
            for item in response.items:
                yield Item.of(item)
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    def get_item_stats(self, token: str) -> ItemStats:
        """Count the items of a task by status, in all and for each stage; costs the same for any number of items."""
        return ItemStats.of(self._call(methods.GET_ITEM_STATS, item_service_pb2.GetItemStatsRequest(token=token)))

    def get_item_history(self, token: str, item_id: object) -> ItemHistory:
        """Return what happened to an item and its steps, oldest first. Raises `NotFoundError`."""
        request = item_service_pb2.GetItemHistoryRequest(token=token, item_id=item_id_message(item_id), page_size=ITEM_PAGE_SIZE)
        history = ItemHistory()
        while True:
            response = self._call(methods.GET_ITEM_HISTORY, request)
            history.add(response)
            request.page_token = response.next_page_token
            if not request.page_token:
                return history

    # ----------------------------------------------------------------------------------------------------- queues

    def put_queue(self, name: str, *, max_running_count: int = 0, max_size: int = 0) -> QueueStatus:
        """Make a queue or give it other bounds, also while it is in use; 0 = no bound but the daemon's."""
        request = queue_service_pb2.PutQueueRequest(name=name, max_running_count=max_running_count, max_size=max_size)
        return QueueStatus.of(self._call(methods.PUT_QUEUE, request).queue)

    def list_queues(self) -> list[QueueStatus]:
        """Return all queues by name, with what waits and runs in each."""
        found: list[QueueStatus] = []
        request = queue_service_pb2.ListQueuesRequest(page_size=QUEUE_PAGE_SIZE)
        while True:
            response = self._call(methods.LIST_QUEUES, request)
            found += [QueueStatus.of(queue) for queue in response.queues]
            request.page_token = response.next_page_token
            if not request.page_token:
                return found

    def pause_queue(self, name: str) -> QueueStatus:
        """Let no more tasks of the queue start; those that run go on."""
        request = queue_service_pb2.PauseQueueRequest(name=name)
        return QueueStatus.of(self._call(methods.PAUSE_QUEUE, request).queue)

    def delete_queue(self, name: str) -> None:
        """Forget a queue in which nothing waits or runs."""
        self._call(methods.DELETE_QUEUE, queue_service_pb2.DeleteQueueRequest(name=name))

    def resume_queue(self, name: str) -> QueueStatus:
        """Let the tasks of a paused queue start again."""
        request = queue_service_pb2.ResumeQueueRequest(name=name)
        return QueueStatus.of(self._call(methods.RESUME_QUEUE, request).queue)

    # -------------------------------------------------------------------------------------------------- schedules

    def put_schedule(self, name: str, spec: task_pb2.TaskSpec, timing: schedule_service_pb2.ScheduleTiming) -> ScheduleStatus:
        """Make a schedule that starts `spec` again and again, or change one; `requests.command_spec` makes a spec."""
        request = schedule_service_pb2.PutScheduleRequest(name=name, spec=spec, timing=timing)
        return ScheduleStatus.of(self._call(methods.PUT_SCHEDULE, request).schedule)

    def list_schedules(self) -> list[ScheduleStatus]:
        """Return all schedules by name."""
        found: list[ScheduleStatus] = []
        request = schedule_service_pb2.ListSchedulesRequest(page_size=QUEUE_PAGE_SIZE)
        while True:
            response = self._call(methods.LIST_SCHEDULES, request)
            found += [ScheduleStatus.of(each) for each in response.schedules]
            request.page_token = response.next_page_token
            if not request.page_token:
                return found

    def get_schedule(self, name: str) -> ScheduleStatus:
        """Return one schedule."""
        request = schedule_service_pb2.GetScheduleRequest(name=name)
        return ScheduleStatus.of(self._call(methods.GET_SCHEDULE, request).schedule)

    def pause_schedule(self, name: str) -> ScheduleStatus:
        """Start nothing more of a schedule; what runs goes on."""
        request = schedule_service_pb2.PauseScheduleRequest(name=name)
        return ScheduleStatus.of(self._call(methods.PAUSE_SCHEDULE, request).schedule)

    def resume_schedule(self, name: str) -> ScheduleStatus:
        """Go on with a schedule, from now."""
        request = schedule_service_pb2.ResumeScheduleRequest(name=name)
        return ScheduleStatus.of(self._call(methods.RESUME_SCHEDULE, request).schedule)

    def run_schedule(self, name: str, *, idempotency_key: str = "") -> ScheduleRun:
        """Start a task of the schedule at once; with the same idempotency key again, no second one."""
        request = schedule_service_pb2.RunScheduleRequest(name=name, idempotency_key=idempotency_key)
        return ScheduleRun.of(self._call(methods.RUN_SCHEDULE, request))

    def delete_schedule(self, name: str) -> None:
        """Forget a schedule; its tasks stay."""
        self._call(methods.DELETE_SCHEDULE, schedule_service_pb2.DeleteScheduleRequest(name=name))

    # ----------------------------------------------------------------------------------------------------- daemon

    def server_info(self) -> ServerInfo:
        """Ask the daemon about itself."""
        return ServerInfo.of(self._call(methods.GET_SERVER_INFO, admin_service_pb2.GetServerInfoRequest()))

    def drain(self, *, grace_period_seconds: float | None = None, reason: str = "") -> int:
        """Have the daemon refuse new work and end all tasks; returns how many are being stopped."""
        request = admin_service_pb2.DrainRequest(grace_period_seconds=grace_period_seconds, reason=reason)
        return self._call(methods.DRAIN, request).stopping_count

    # ------------------------------------------------------------------------------------------------------- keys

    def create_key(self, scopes: Iterable[str], **wanted: Any) -> NewKey:
        """Make a key with these scopes; `wanted` are those of `requests.create_key`. Its secret cannot be found out again."""
        return NewKey.of(self._call(methods.CREATE_KEY, requests.create_key(scopes, **wanted)))

    def revoke_key(self, key_id: str) -> Key:
        """End a key for ever; its open streams end within a second, its tasks run on."""
        return Key.of((self._call(methods.REVOKE_KEY, admin_service_pb2.RevokeKeyRequest(key_id=key_id))).key)

    def list_keys(self, *, tenant: str = "", include_ended: bool = False) -> list[Key]:
        """Return the keys that this one may manage, oldest first."""
        request = admin_service_pb2.ListKeysRequest(tenant=tenant, include_ended=include_ended)
        return [Key.of(key) for key in (self._call(methods.LIST_KEYS, request)).keys]

    # ------------------------------------------------------------------------------------------------- connection

    def _call(self, method: Method[Req, Resp], request: Req, timeout_seconds: float | None = None) -> Resp:
        call = self._callable(method, streaming=False)
        try:
            response = call(request, timeout=timeout_seconds or self._timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None
        self._reached = True
        return cast("Resp", response)

    def _resumable(self, method: Method[Req, Resp], state: Resumable[Req, Resp, T]) -> Iterator[T]:
        reconnect = Reconnect()
        close_count = self._close_count
        while True:
            callable_ = self._callable(method, streaming=True)
            call = callable_(state.next_request(), metadata=self._metadata)
            silence = state.silence_seconds
            with Watchdog(call.cancel, silence) as watchdog:
                try:
                    while True:
                        with watchdog.watching():
                            response = next(call, None)
                        if response is None:
                            break
                        reconnect.progress()
                        self._reached = True
                        yield state.accept(response)
                    if state.ends_with_ok:
                        return
                    problem: TaskmeterError = failure.broken("the daemon ended the stream")
                except grpc.RpcError as error:
                    problem = self._translate(error)
                    if watchdog.fired:
                        problem = failure.broken(f"nothing came for {silence:g} s")
                finally:
                    call.cancel()
            if close_count != self._close_count:
                raise failure.closed()
            delay = reconnect.delay_seconds(problem, reached=self._reached)
            if delay is None:
                raise problem
            self._lost(problem)
            if watchdog.fired:
                self._replace(method, callable_)
            time.sleep(delay)
            if close_count != self._close_count:
                raise failure.closed()

    def _callable(self, method: Method[Req, Resp], *, streaming: bool, inflow: bool = False) -> Any:
        with self._lock:
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

    def _open_channel(self) -> grpc.Channel:
        endpoint = self.endpoint
        credentials = self._tls.credentials(endpoint)
        if credentials is None:
            return grpc.insecure_channel(endpoint.target, options=self._options)
        return grpc.secure_channel(endpoint.target, credentials, options=self._options)

    def _lost(self, error: TaskmeterError) -> None:
        """The daemon may have restarted somewhere else; what still uses the old channel finds out by itself."""
        if self.on_disconnect is not None:
            self.on_disconnect(error)
        with self._lock:
            if self._look_again():
                self._calls.clear()

    def _replace(self, method: Method[Any, Any], used: Any) -> None:
        """Have a new connection made for what comes next, unless that has happened: gRPC would go on with the dead one."""
        with self._lock:
            if self._calls.get(method.path) is used:
                self._calls.clear()
            old = [self._channels.pop(0) for _ in range(len(self._channels) - MOST_CHANNELS)]
        for channel in old:
            channel.close()

    def _translate(self, error: grpc.RpcError) -> TaskmeterError:
        call = cast("Any", error)
        code = call.code()
        trailers = call.trailing_metadata() or ()
        return failure.from_rpc(code.name if code else "UNKNOWN", call.details() or "", trailers, self.endpoint.target)


def _close(iterator: Iterator[Any]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
