"""What every call passes: the key, the scope, the count of open calls, and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError

from taskmeter.core.audit import AuditLog, Decision
from taskmeter.core.rates import ENDS_WORK
from taskmeter.errors import TaskmeterError
from taskmeter.model.ids import is_token
from taskmeter.rpc.auth import Authenticator, Caller
from taskmeter.rpc.open_calls import OpenCalls

Context = grpc.aio.ServicerContext[Any, Any]
MAX_NAMED = 1000
"""Tokens in one line of the audit log, about 35 kB; what else was meant, the events of the tasks say."""
MAX_TOKEN_BYTES = 127
"""Longer ones would need a second byte for their length; a token has fewer."""


class Gate:
    """Lets calls in and takes notes of them."""

    def __init__(
        self, authenticator: Authenticator, calls: OpenCalls, audit: AuditLog | None, *, note_reads: bool = False
    ) -> None:
        """Note what changes something, streams, and what was refused; with `note_reads` every other call too; None = nothing."""
        self._authenticator = authenticator
        self.calls = calls
        self._audit = audit
        self.note_reads = note_reads and audit is not None

    def enter(self, path: str, context: Context) -> Caller:
        """Return who calls. Raises `AuthenticationError`, `LimitError` RATE_LIMITED, `PermissionDeniedError`."""
        caller = self.holder(path, context)
        if caller.buckets is not None:
            bucket = caller.buckets[path not in ENDS_WORK]
            try:
                bucket.take()
            except TaskmeterError as error:
                if bucket.worth_a_note():
                    self.note(path, caller, context.peer(), error=error)
                raise
        try:
            self._authenticator.permit(path, caller)
        except TaskmeterError as error:
            self.note(path, caller, context.peer(), error=error)
            raise
        return caller

    def refusal(self, metadata: Sequence[tuple[str, Any]] | None) -> TaskmeterError | None:
        """Return why a call with these headers is nobody's; None if it carries a key that is good."""
        try:
            self._authenticator.holder(metadata)
        except TaskmeterError as error:
            error.__traceback__ = None  # whoever keeps it must not keep this call
            return error
        return None

    def holder(self, path: str, context: Context) -> Caller:
        """Return whose key the call carries, whatever it may do. Raises `AuthenticationError`."""
        try:
            return self._authenticator.holder(context.invocation_metadata())  # type: ignore[arg-type]
        except TaskmeterError as error:
            self.note(path, None, context.peer(), error=error)
            raise

    def note(
        self,
        path: str,
        caller: Caller | None,
        peer: str,
        *,
        code: str = "OK",
        error: BaseException | None = None,
        tokens: tuple[str, ...] = (),
    ) -> None:
        """Write down how a call was decided. `peer` is to be asked for while the call lives: later gRPC reads freed memory."""
        if self._audit is None:
            return
        reason = ""
        if error is not None:
            code, reason = _code_of(error)
        key_id, tenant = (caller.key_id, caller.tenant) if caller is not None else ("", "")
        self._audit.note(Decision(key_id, tenant, path, tokens, code, reason, peer))


def _code_of(error: BaseException) -> tuple[str, str]:
    if isinstance(error, TaskmeterError):
        return error.code, error.reason
    if isinstance(error, DecodeError):
        return "INVALID_ARGUMENT", "FIELD_INVALID"
    return ("CANCELLED", "") if isinstance(error, asyncio.CancelledError) else ("INTERNAL", "INTERNAL")


def tokens_named(method: MethodDescriptor) -> Callable[[Any, Any], tuple[str, ...]]:
    """Return what finds the tokens in a (request, answer) of this method. What has not the form of a token is left out."""
    fields = method.input_type.fields_by_name
    if "tokens" in fields:
        return lambda request, _: tuple(filter(is_token, request.tokens))
    if "tokens" in method.output_type.fields_by_name:
        return lambda _, answer: tuple(answer.tokens[:MAX_NAMED]) if answer is not None else ()
    made = method.output_type.fields_by_name.get("token")
    in_request = "token" in fields

    def find(request: Any, answer: Any) -> tuple[str, ...]:
        found = [request.token] if in_request else []
        if made is not None and answer is not None:
            found.append(_first_field(answer) if type(answer) is bytes else answer.token)
        return tuple(token for token in dict.fromkeys(found) if is_token(token))

    return find


def _first_field(answer: bytes) -> str:
    """Read the string that is field 1 of an encoded answer, where our encoders put the token."""
    if len(answer) < 2 or answer[0] != 0x0A or answer[1] > MAX_TOKEN_BYTES:
        return ""
    return answer[2 : 2 + answer[1]].decode("ascii", "replace")
