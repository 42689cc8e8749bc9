"""TaskService: one method per RPC; each converts, calls the core's verb of the same name, and answers with ready bytes."""

from __future__ import annotations

import json

from taskmeter.core.delete_task import delete_task
from taskmeter.core.get_metrics_history import get_metrics_history
from taskmeter.core.ports import Filter
from taskmeter.core.report_key import report_key
from taskmeter.core.retry_task import retry_task
from taskmeter.core.service import Service
from taskmeter.core.start_task import start_task
from taskmeter.core.terminate import Wish, terminate, terminate_with_dependents
from taskmeter.core.terminate_tasks import terminate_tasks
from taskmeter.core.update_task import update_task
from taskmeter.core.wait_task import wait_task
from taskmeter.model.item import MessageLevel
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks, checked_token
from taskmeter.rpc.convert.frame import frame, varint
from taskmeter.rpc.convert.history import history_to_message
from taskmeter.rpc.convert.log_lines import MOST_LOGS, log_lines
from taskmeter.rpc.convert.spec import spec_from_message
from taskmeter.rpc.list_tasks import list_tasks
from taskmeter.rpc.methods import Inflow, Method, Read, Ready, Stream, Write
from taskmeter.rpc.report_progress import ReportStreams
from taskmeter.rpc.retry_tasks import answer_retry_tasks
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.v1 import task_service_pb2 as pb

MAX_KEY_BYTES = 256
MAX_NAMED_TOKENS = 10_000
"""More would make an answer larger than half a megabyte."""
MAX_RESOLUTION_SECONDS = 86400.0
FIELD_1 = b"\x0a"
FIELD_2 = b"\x12"
FIELD_180 = b"\xa2\x0b"
"""StartTaskResponse.report_key."""


class TaskServicer:
    """The methods of `taskmeter.v1.TaskService` that are built."""

    def __init__(self, service: Service, streams: EventStreams) -> None:
        self._service = service
        self._streams = streams
        self._reports = ReportStreams(service)

    def close(self) -> None:
        """End the streams of reports: the daemon stops."""
        self._reports.close()

    def methods(self) -> dict[str, Method]:
        return {
            "StartTask": Write(self.start_task),
            "GetTaskStatus": Ready(self.get_task_status),
            "GetTaskRecord": Read(self.get_task_record),
            "ListTasks": Read(self.list_tasks),
            "Terminate": Write(self.terminate),
            "TerminateTasks": Write(self.terminate_tasks),
            "RetryTask": Write(self.retry_task),
            "RetryTasks": Write(self.retry_tasks),
            "WaitTask": Read(self.wait_task),
            "StreamEvents": Stream(self._streams.stream_events),
            "UpdateTask": Write(self.update_task),
            "DeleteTask": Write(self.delete_task),
            "ReportProgress": Inflow(self._reports.take),
            "GetMetricsHistory": Read(self.get_metrics_history),
        }

    async def start_task(self, request: pb.StartTaskRequest, caller: Caller) -> bytes:
        spec = spec_from_message(request.spec)
        checks = Checks()
        checks.text("idempotency_key", request.idempotency_key, most_bytes=MAX_KEY_BYTES)
        if request.use_existing and not (spec.project_id or spec.source):
            checks.add("use_existing", "needs spec.project_id or spec.source to find the task by")
        checks.done()
        token, existing = await start_task(
            self._service,
            spec,
            caller.tenant,
            idempotency_key=request.idempotency_key,
            use_existing=request.use_existing,
            quotas=caller.quotas,
        )
        answer = frame(FIELD_1, token.encode()) + frame(FIELD_2, self._service.status(token, caller.tenant))
        answer = answer + b"\x18\x01" if existing else answer
        if spec.external is not None and (task := self._service.find(token, caller.tenant)).spec.external is not None:
            answer += frame(FIELD_180, report_key(self._service.report_key_secret, token, task.attempt).encode())
        return answer

    def get_task_status(self, request: pb.GetTaskStatusRequest, caller: Caller) -> bytes:
        return frame(FIELD_1, self._service.status(checked_token(request.token), caller.tenant))

    async def get_task_record(self, request: pb.GetTaskRecordRequest, caller: Caller) -> pb.GetTaskRecordResponse:
        task = self._service.find(checked_token(request.token), caller.tenant)
        answer = pb.GetTaskRecordResponse()
        record = answer.record
        record.status.MergeFromString(self._service.status(task.token, caller.tenant))
        record.func_name = task.spec.argv[0] if task.spec.argv else ""  # what was attached is not ours to repeat
        if task.spec.external is not None:
            record.func_name = task.spec.external.kind
        record.args_json = json.dumps(task.spec.argv[1:])
        record.kwargs_json = "{}"
        record.encrypted = bool(task.spec.sealed)
        record.logs.extend(log_lines(self._service.store.items.newest(task.token, MessageLevel.LOG, MOST_LOGS), task.attempt))
        if task.ended and task.outcome is not Outcome.SUCCEEDED:
            record.error = task.exit_message
        return answer

    async def list_tasks(self, request: pb.ListTasksRequest, caller: Caller) -> bytes:
        return await list_tasks(self._service, request, caller.tenant)

    async def terminate(self, request: pb.TerminateRequest, caller: Caller) -> bytes:
        token = checked_token(request.token)
        checks = Checks()
        checks.seconds("grace_period_seconds", request.grace_period_seconds)
        checks.text("reason", request.reason, most_bytes=1024)
        checks.done()
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        grace = 0.0 if request.immediate else grace
        count = 0
        if request.include_dependents:
            already, count = await terminate_with_dependents(
                self._service, token, caller.tenant, grace_seconds=grace, reason=request.reason
            )
        else:
            already = await terminate(self._service, token, caller.tenant, grace_seconds=grace, reason=request.reason)
        answer = frame(FIELD_1, self._service.status(token, caller.tenant))
        answer += b"\x10\x01" if already else b""
        return answer + b"\x18" + varint(count) if count else answer

    async def terminate_tasks(self, request: pb.TerminateTasksRequest, caller: Caller) -> pb.TerminateTasksResponse:
        checks = Checks()
        checks.seconds("grace_period_seconds", request.grace_period_seconds)
        checks.text("reason", request.reason, most_bytes=1024)
        filtered = bool(request.tags or request.project_id or request.queue or request.name_prefix)
        if filtered == request.all:
            checks.add("all", "must be set when no filter is" if not filtered else "must not be set together with a filter")
        checks.done()
        wanted = Filter(
            tenant=caller.tenant,
            tags=dict(request.tags),
            project_id=request.project_id,
            name_prefix=request.name_prefix,
            queue=request.queue,
        )
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        wish = Wish(Cause.CANCEL, 0.0 if request.immediate else grace, request.reason)
        stopped = await terminate_tasks(self._service, wanted, wish, include_dependents=request.include_dependents)
        return pb.TerminateTasksResponse(
            tokens=stopped.tokens[:MAX_NAMED_TOKENS],
            stopped_count=len(stopped.tokens),
            dependent_count=stopped.dependent_count,
        )

    async def retry_task(self, request: pb.RetryTaskRequest, caller: Caller) -> bytes:
        retried = checked_token(request.token)
        self._service.find(retried, caller.tenant)
        async with self._service.quotas.one_more(self._service, caller.tenant, caller.quotas):
            token = await retry_task(self._service, retried, caller.tenant, as_new=request.as_new)
        return frame(FIELD_1, token.encode()) + frame(FIELD_2, self._service.status(token, caller.tenant))

    async def retry_tasks(self, request: pb.RetryTasksRequest, caller: Caller) -> pb.RetryTasksResponse:
        return await answer_retry_tasks(self._service, request, caller)

    async def wait_task(self, request: pb.WaitTaskRequest, caller: Caller) -> bytes:
        token = checked_token(request.token)
        checks = Checks()
        checks.seconds("timeout_seconds", request.timeout_seconds)
        known = {int(state) for state in State}
        for index, state in enumerate(request.states):
            if state not in known:
                checks.add(f"states[{index}]", "is not a state")
        checks.done()
        wanted = {State(state) for state in request.states}
        reached = await wait_task(self._service, token, caller.tenant, wanted, request.timeout_seconds or None)
        answer = frame(FIELD_1, self._service.status(token, caller.tenant))
        return answer if reached else answer + b"\x10\x01"

    async def update_task(self, request: pb.UpdateTaskRequest, caller: Caller) -> bytes:
        token = checked_token(request.token)
        checks = Checks()
        checks.string_map("set_metadata", request.set_metadata)
        checks.string_map("set_tags", request.set_tags)
        checks.done()
        await update_task(
            self._service,
            token,
            caller.tenant,
            set_metadata=dict(request.set_metadata),
            delete_metadata=list(request.delete_metadata),
            replace_metadata=request.replace_metadata,
            set_tags=dict(request.set_tags),
            delete_tags=list(request.delete_tags),
            priority=request.priority if request.HasField("priority") else None,
        )
        return frame(FIELD_1, self._service.status(token, caller.tenant))

    async def delete_task(self, request: pb.DeleteTaskRequest, caller: Caller) -> bytes:
        await delete_task(self._service, checked_token(request.token), caller.tenant)
        return b""

    async def get_metrics_history(self, request: pb.GetMetricsHistoryRequest, caller: Caller) -> pb.GetMetricsHistoryResponse:
        token = checked_token(request.token)
        checks = Checks()
        checks.instant("from_time", request.from_time)
        checks.instant("to_time", request.to_time)
        if request.to_time and request.from_time > request.to_time:
            checks.add("from_time", "is after to_time")
        checks.seconds("resolution_seconds", request.resolution_seconds, most=MAX_RESOLUTION_SECONDS)
        checks.done()
        history = get_metrics_history(
            self._service,
            token,
            caller.tenant,
            from_time=request.from_time,
            to_time=request.to_time,
            resolution_seconds=request.resolution_seconds,
        )
        return history_to_message(history)
