"""Small verbs that the integration tests share: start a command, wait for its end, read an error's details."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.waiting import wait_until

TERMINAL = (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_CANCELLED)


def start(calls: Calls, *argv: str, **spec: Any) -> str:
    """Start a command and return its token. `spec` are fields of TaskSpec."""
    return str(calls.StartTask(spec={"command": {"argv": argv}, **spec}).token)


def start_python(calls: Calls, code: str, **spec: Any) -> str:
    """Start `python -c code`."""
    return start(calls, sys.executable, "-c", code, **spec)


def end_of(calls: Calls, token: str, seconds: float = 30.0) -> task_pb2.TaskStatus:
    """Wait for the task's end and return its status."""
    answer = calls.WaitTask(token=token, timeout_seconds=seconds, timeout=seconds + 5)
    assert not answer.timed_out, f"{token} has not ended: {answer.status}"
    return answer.status  # type: ignore[no-any-return]


def status_of(calls: Calls, token: str) -> task_pb2.TaskStatus:
    return calls.GetTaskStatus(token=token).status  # type: ignore[no-any-return]


def wait_for_state(calls: Calls, token: str, state: int) -> task_pb2.TaskStatus:
    """Wait until the task is in `state`; fail if it ends before."""
    answer = calls.WaitTask(token=token, states=[state], timeout_seconds=20)
    assert answer.status.state == state, answer.status
    return answer.status  # type: ignore[no-any-return]


def read(calls: Calls, token: str, path: str = "stdout", **fields: Any) -> bytes:
    """Read a whole output file."""
    return b"".join(part.data for part in calls.ReadFile(token=token, path=path, **fields))


def wait_for_output(calls: Calls, token: str, text: bytes) -> bytes:
    """Wait until the task's stdout contains `text`; return all of it."""
    return wait_until(lambda: data if text in (data := read(calls, token)) else b"", f"output {text!r}")


def events(calls: Calls, token: str, **fields: Any) -> list[Any]:
    """Return all events of a task that ends."""
    return [event for message in events_until_end(calls, token, **fields) for event in message.events]


def events_until_end(calls: Calls, token: str, **fields: Any) -> Iterator[Any]:
    fields.setdefault("from_seq", 1)
    return iter(calls.StreamEvents(tokens=[token], until_terminal=True, timeout=60, **fields))


def moves(calls: Calls, token: str) -> list[tuple[int, int]]:
    """Return (from, to) of every state event of a task that ends."""
    found = (event.state_changed for event in events(calls, token) if event.HasField("state_changed"))
    return [(changed.from_state, changed.to_state) for changed in found]


class Failure:
    """An RPC error taken apart: `code`, `reason`, `metadata`, `fields`, `message`, `retry_seconds`."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message = str(error.details())
        trailer: Any = error.trailing_metadata()
        raw = next(value for name, value in trailer if name == "grpc-status-details-bin")
        status = status_pb2.Status.FromString(raw)
        assert (status.code, status.message) == (self.code.value[0], self.message)
        infos, self.fields, self.retry_seconds = [], {}, None
        for detail in status.details:
            info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                infos.append(info)
            elif detail.Unpack(bad):
                self.fields = {violation.field: violation.description for violation in bad.field_violations}
            elif detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
        assert len(infos) == 1, "exactly one ErrorInfo"
        assert infos[0].domain == "taskmeter"
        self.reason: str = infos[0].reason
        self.metadata: dict[str, str] = dict(infos[0].metadata)


def failure_of(call: Any, *request: Any, **fields: Any) -> Failure:
    """Call, and return how it failed."""
    try:
        answer = call(*request, **fields)
        list(answer) if hasattr(answer, "cancel") else None
    except grpc.RpcError as error:
        return Failure(error)
    raise AssertionError(f"it did not fail: {answer}")
