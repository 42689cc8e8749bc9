"""Turn a failed RPC into the error class that says what went wrong; transports hand in what they received."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from taskmeter import errors

DETAILS_KEY = "grpc-status-details-bin"

_RECONNECT_REASONS = frozenset({"DAEMON_UNREACHABLE", "CONNECTION_BROKEN", "DRAINING", "STORE_UNAVAILABLE", "SLOW_CONSUMER"})

_TRANSPORT_CODES = frozenset({"UNAVAILABLE", "UNKNOWN", "CANCELLED", "INTERNAL", "ABORTED"})
"""Codes gRPC itself uses when a connection breaks (doc/statuscodes.md); then the answer carries no ErrorInfo."""


def from_rpc(code: str, details: str, trailers: Iterable[tuple[str, str | bytes]], target: str = "") -> errors.TaskmeterError:
    """Build the error for a status code's name, its message and the trailing metadata.

    Without an ErrorInfo the failure comes from gRPC, not from the daemon: a broken or refused connection, a deadline.
    """
    status = _status(trailers)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    helps = error_details_pb2.Help()
    for detail in status.details if status else ():
        for message in (info, bad, retry, helps):
            detail.Unpack(message)
    if status is None or info.domain != errors.DOMAIN:
        return _from_transport(code, details, target)
    cls = errors.BY_CODE.get(code, errors.InternalError)
    return cls(
        details or (cls.__doc__ or code),
        reason=info.reason,
        hint=info.metadata.get("hint", "") or (helps.links[0].description if helps.links else ""),
        metadata={key: value for key, value in info.metadata.items() if key != "hint"},
        fields=[(violation.field, violation.description) for violation in bad.field_violations],
        retry_after_seconds=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry.HasField("retry_delay") else None,
    )


def unreachable(target: str, why: str = "") -> errors.UnavailableError:
    """Build the error for a daemon that does not answer at `target`."""
    return errors.UnavailableError(f"no daemon answers at {target}" + (f" ({why})" if why else ""))


def broken(why: str) -> errors.UnavailableError:
    """Build the error for a connection that was there and is gone."""
    return errors.UnavailableError(f"the connection broke: {why}", reason="CONNECTION_BROKEN")


def closed() -> errors.UnavailableError:
    """Build the error of a stream whose client was closed under it."""
    return broken("this client was closed")


def may_reconnect(error: errors.TaskmeterError) -> bool:
    """Tell whether a stream that ended so goes on after reconnecting: nothing was refused, only the connection was lost."""
    return error.reason in _RECONNECT_REASONS or (isinstance(error, errors.LimitError) and error.retry_after_seconds is not None)


def _from_transport(code: str, details: str, target: str) -> errors.TaskmeterError:
    if code == "DEADLINE_EXCEEDED":
        return errors.DeadlineError("the daemon did not answer in time")
    if code == "UNAVAILABLE":
        return unreachable(target, _first_line(details))
    if code in _TRANSPORT_CODES:
        return broken(_first_line(details) or code)
    cls = errors.BY_CODE.get(code, errors.InternalError)
    return cls(_first_line(details) or code, reason=cls.default_reason)


def _status(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in trailers:
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
            except DecodeError:
                return None
    return None


def _first_line(text: str) -> str:
    """GRPC's own messages run on with addresses and file names after the first sentence."""
    return text.strip().split("\n", 1)[0].split("; last error:", 1)[0][:200]
