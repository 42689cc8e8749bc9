"""Every failure of a call becomes one google.rpc.Status here, and nowhere else; never an exception's text."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import secrets
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from taskmeter.errors import DOMAIN, InternalError, InvalidArgumentError, LimitError, TaskmeterError, UnavailableError

DETAILS_KEY = "grpc-status-details-bin"

_OF_THE_DISK = {errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}
"""What the machine is to blame for: nothing may be wrong with the request, and the next try may succeed (guarantee G11)."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

MESSAGE_BYTES = 600
DETAILS_BYTES = 3600
"""Clients of gRPC refuse more than 8 kB of metadata, where a message may take three times its size and details four thirds."""
VALUE_BYTES = 300

log = logging.getLogger(__name__)


def translate(error: BaseException) -> TaskmeterError:
    """Return the error to show for whatever was raised; what is not ours is logged under an opaque id and becomes INTERNAL."""
    if isinstance(error, TaskmeterError):
        return error
    if isinstance(error, DecodeError):
        problem = "is not a message of this method's request type"
        return InvalidArgumentError(f"the request {problem}", fields=[("", problem)])
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        log.error("a call could not be served: %s", error.strerror)
        problem = f"a file of the daemon could not be used: {error.strerror}"
        return UnavailableError(problem, reason="STORE_UNAVAILABLE", retry_after_seconds=1.0)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        problem = "the disk that holds the state directory is full"
        return LimitError(problem, reason="DISK_FULL", retry_after_seconds=5.0)
    name = secrets.token_hex(6)
    log.error("internal error %s", name, exc_info=error)
    return InternalError(f"internal error {name}; the daemon's log has the details under this id", metadata={"id": name})


def rpc_status(error: TaskmeterError) -> status_pb2.Status:
    """Build the google.rpc.Status: one ErrorInfo, and BadRequest or RetryInfo where they apply; of too many fields the first."""
    code: int = getattr(grpc.StatusCode, error.code).value[0]
    status = status_pb2.Status(code=code, message=cut(error.message, MESSAGE_BYTES))
    metadata = {**error.metadata, **({"hint": error.hint} if error.hint else {})}
    shown = {name: cut(value, VALUE_BYTES) for name, value in metadata.items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=shown))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(error.retry_after_seconds * 1000))
        status.details.add().Pack(retry)
    if error.fields:
        status.details.add().Pack(_bad_request(error.fields, DETAILS_BYTES - status.ByteSize()))
    return status


def _bad_request(fields: Sequence[tuple[str, str]], most_bytes: int) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for field, problem in fields:
        bad.field_violations.add(field=cut(field, VALUE_BYTES), description=cut(problem, VALUE_BYTES))
        if bad.ByteSize() > most_bytes and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
            break
    return bad


def cut(text: str, most_bytes: int) -> str:
    """Return at most so many bytes of UTF-8 of a text; an ellipsis says where something is missing."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most_bytes:
        return text
    return data[: most_bytes - 3].decode("utf-8", "ignore") + "…"


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> NoReturn:
    """End the call with the status of `error`."""
    if isinstance(error, asyncio.CancelledError):
        raise error
    shown = translate(error)
    details = ((DETAILS_KEY, rpc_status(shown).SerializeToString()),)
    try:
        await context.abort(getattr(grpc.StatusCode, shown.code), cut(shown.message, MESSAGE_BYTES), details)
    except grpc.aio.AbortError as aborted:
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(partial(_untie, aborted))
        raise


def turn_away(context: grpc.aio.ServicerContext[Any, Any], error: TaskmeterError) -> None:
    """Have a call whose answer is a stream, and has not begun, end with the status of `error` when its handler returns.

    As `abort`, but cheap, with no exception and details that are encoded once: whoever has no key may ask for this as often as he
    likes, and others wait behind him.
    """
    context.set_code(getattr(grpc.StatusCode, error.code))
    context.set_details(error.message)
    context.set_trailing_metadata(_plain_details(error.code, error.reason, error.message, error.hint, error.retry_after_seconds))


@lru_cache(maxsize=32)
def _plain_details(
    code: str, reason: str, message: str, hint: str, retry_after_seconds: float | None
) -> tuple[tuple[str, bytes]]:
    error = TaskmeterError(message, reason=reason, hint=hint, retry_after_seconds=retry_after_seconds)
    error.code = code
    return ((DETAILS_KEY, rpc_status(error).SerializeToString()),)


def _untie(aborted: BaseException, _task: object) -> None:
    """Let a refused call go at once. gRPC keeps the error in the call, and the error's frames keep the call: until the next
    collection of garbage each would hold its headers, and with them whatever arrived in the same read from its connection.
    """
    aborted.__traceback__ = aborted.__context__ = None
