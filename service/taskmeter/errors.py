"""Every error a caller can meet, in one tree. Each class carries its stable reason, code and, where the user can act, a hint.

    TaskmeterError(RuntimeError)
    ├── AuthenticationError        KEY_MISSING, KEY_INVALID
    ├── PermissionDeniedError      SCOPE_MISSING
    ├── NotFoundError              TASK_NOT_FOUND, FILE_NOT_FOUND, ITEM_NOT_FOUND, QUEUE_NOT_FOUND, KEY_NOT_FOUND,
    │                              SCHEDULE_NOT_FOUND
    ├── PreconditionError          TASK_ENDED, TASK_STOPPING, NOT_RETRYABLE, NOT_TERMINAL, UNSUPPORTED_HERE, STORE_CHANGED,
    │                              QUEUE_NOT_EMPTY
    ├── InvalidArgumentError       FIELD_INVALID (names the fields), PATH_INVALID
    ├── ConflictError              IDEMPOTENCY_CONFLICT
    ├── OutOfRangeError            EVENTS_COMPACTED, SEQ_IN_FUTURE
    ├── LimitError                 QUEUE_FULL, QUOTA_EXCEEDED, RATE_LIMITED, TOO_MANY_STREAMS, DISK_FULL
    ├── AbortedError               SLOW_CONSUMER
    ├── UnavailableError           DRAINING, STORE_UNAVAILABLE; and no daemon: DAEMON_UNREACHABLE (made by clients only)
    ├── DeadlineError              DEADLINE_EXCEEDED (made by clients only)
    ├── NotBuiltError              NOT_BUILT
    └── InternalError              INTERNAL, with an opaque id

On the wire an error is a google.rpc.Status with one ErrorInfo{reason, domain "taskmeter", metadata}. A task that fails is an
outcome, never one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DOMAIN = "taskmeter"


class TaskmeterError(RuntimeError):
    """Base of all errors of this package."""

    code = "UNKNOWN"
    """Name of the gRPC status code."""
    default_reason = "INTERNAL"
    default_hint = ""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        hint: str = "",
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.hint = hint or self.default_hint
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)
        """(field path, what is wrong with it) of a FIELD_INVALID."""
        self.retry_after_seconds = retry_after_seconds


class AuthenticationError(TaskmeterError):
    """The call carries no key, or one this daemon does not know."""

    code = "UNAUTHENTICATED"
    default_reason = "KEY_INVALID"
    default_hint = "the admin key lies in admin.key in the daemon's state directory; set TASKMETER_KEY or TASKMETER_STATE_DIR"


class PermissionDeniedError(TaskmeterError):
    """The key is good, but lacks the scope this method needs."""

    code = "PERMISSION_DENIED"
    default_reason = "SCOPE_MISSING"


class NotFoundError(TaskmeterError):
    """No such task, item or file, or it belongs to another tenant."""

    code = "NOT_FOUND"
    default_reason = "TASK_NOT_FOUND"
    default_hint = "`taskmeter ls` lists the tasks this key can see"


class PreconditionError(TaskmeterError):
    """The task is in a state in which this cannot be done."""

    code = "FAILED_PRECONDITION"
    default_reason = "TASK_ENDED"


class InvalidArgumentError(TaskmeterError):
    """The request is malformed; `fields` names what and why."""

    code = "INVALID_ARGUMENT"
    default_reason = "FIELD_INVALID"


class ConflictError(TaskmeterError):
    """The idempotency key was used with another spec."""

    code = "ALREADY_EXISTS"
    default_reason = "IDEMPOTENCY_CONFLICT"


class OutOfRangeError(TaskmeterError):
    """Events from there on are no longer, or not yet, kept."""

    code = "OUT_OF_RANGE"
    default_reason = "EVENTS_COMPACTED"


class LimitError(TaskmeterError):
    """A bound is reached; later it may work."""

    code = "RESOURCE_EXHAUSTED"
    default_reason = "QUOTA_EXCEEDED"


class AbortedError(TaskmeterError):
    """The stream was ended because its reader was too slow; resume at `metadata["seq"]`."""

    code = "ABORTED"
    default_reason = "SLOW_CONSUMER"


class UnavailableError(TaskmeterError):
    """The daemon does not answer, is shutting down, or has lost its store."""

    code = "UNAVAILABLE"
    default_reason = "DAEMON_UNREACHABLE"
    default_hint = "start one with `taskmeter serve`, or run `taskmeter doctor`"


class DeadlineError(TaskmeterError):
    """The deadline of the call passed before its answer came; what it asked for may or may not have happened."""

    code = "DEADLINE_EXCEEDED"
    default_reason = "DEADLINE_EXCEEDED"


class NotBuiltError(TaskmeterError):
    """The contract has this method, this daemon does not yet."""

    code = "UNIMPLEMENTED"
    default_reason = "NOT_BUILT"


class InternalError(TaskmeterError):
    """A bug in the daemon; its log has the details under the id in the message."""

    code = "INTERNAL"
    default_reason = "INTERNAL"


BY_CODE: dict[str, type[TaskmeterError]] = {
    cls.code: cls
    for cls in (
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        PreconditionError,
        InvalidArgumentError,
        ConflictError,
        OutOfRangeError,
        LimitError,
        AbortedError,
        UnavailableError,
        DeadlineError,
        NotBuiltError,
        InternalError,
    )
}
