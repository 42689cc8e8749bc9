from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from taskmeter import errors
from taskmeter.client.failure import DETAILS_KEY, from_rpc, may_reconnect


def trailers(*details: Message) -> list[tuple[str, bytes]]:
    status = status_pb2.Status(code=3, message="no")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return [("other", b"x"), (DETAILS_KEY, status.SerializeToString())]


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("UNAUTHENTICATED", "KEY_INVALID", errors.AuthenticationError),
        ("PERMISSION_DENIED", "SCOPE_MISSING", errors.PermissionDeniedError),
        ("NOT_FOUND", "TASK_NOT_FOUND", errors.NotFoundError),
        ("FAILED_PRECONDITION", "TASK_ENDED", errors.PreconditionError),
        ("ALREADY_EXISTS", "IDEMPOTENCY_CONFLICT", errors.ConflictError),
        ("OUT_OF_RANGE", "EVENTS_COMPACTED", errors.OutOfRangeError),
        ("RESOURCE_EXHAUSTED", "QUEUE_FULL", errors.LimitError),
        ("ABORTED", "SLOW_CONSUMER", errors.AbortedError),
        ("UNAVAILABLE", "DRAINING", errors.UnavailableError),
        ("UNIMPLEMENTED", "NOT_BUILT", errors.NotBuiltError),
        ("INTERNAL", "INTERNAL", errors.InternalError),
    ],
)
def test_each_code_becomes_its_class_with_the_reason_of_the_daemon(code, reason, expected):
    info = error_details_pb2.ErrorInfo(reason=reason, domain="taskmeter", metadata={"state": "5"})
    error = from_rpc(code, "no", trailers(info))
    assert type(error) is expected
    assert (error.message, error.reason, error.metadata) == ("no", reason, {"state": "5"})


def test_fields_and_retry_delay_come_along():
    info = error_details_pb2.ErrorInfo(reason="FIELD_INVALID", domain="taskmeter")
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="spec.command.argv", description="is empty")
    error = from_rpc("INVALID_ARGUMENT", "no", trailers(info, bad))
    assert error.fields == (("spec.command.argv", "is empty"),)
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    assert from_rpc("RESOURCE_EXHAUSTED", "no", trailers(info, retry)).retry_after_seconds == 1.5


def test_a_dead_daemon_is_unreachable_with_a_hint():
    error = from_rpc("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: x", [], "unix:/nowhere")
    assert (type(error), error.reason) == (errors.UnavailableError, "DAEMON_UNREACHABLE")
    assert "unix:/nowhere" in error.message
    assert "taskmeter serve" in error.hint
    assert may_reconnect(error)


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", "CANCELLED", "ABORTED"])
def test_a_broken_connection_is_no_answer_of_the_daemon(code):
    error = from_rpc(code, "Stream removed", [])
    assert error.reason == "CONNECTION_BROKEN"
    assert may_reconnect(error)


def test_a_deadline_is_its_own_error_and_is_not_retried_by_streams():
    error = from_rpc("DEADLINE_EXCEEDED", "", [])
    assert type(error) is errors.DeadlineError
    assert not may_reconnect(error)


def test_garbage_in_the_details_is_not_fatal():
    error = from_rpc("NOT_FOUND", "no", [(DETAILS_KEY, b"\xff\xff\xff")])
    assert type(error) is errors.NotFoundError


def test_what_was_refused_is_not_tried_again():
    info = error_details_pb2.ErrorInfo(reason="EVENTS_COMPACTED", domain="taskmeter")
    assert not may_reconnect(from_rpc("OUT_OF_RANGE", "gone", trailers(info)))
