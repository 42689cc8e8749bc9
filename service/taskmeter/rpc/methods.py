"""Register methods from the descriptors: authentication, errors and cancellation are one wrapper, not interceptors.

Requests arrive as bytes and are parsed here, so that a malformed one gets our error and not the library's; answers are
messages or ready bytes. A call that changes something runs to its end even if the caller hangs up in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from taskmeter.errors import NotBuiltError, TaskmeterError
from taskmeter.rpc.auth import Authenticator, Caller
from taskmeter.rpc.status import abort

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Caller], Awaitable[Message | bytes]]
Streaming = Callable[[Any, Caller, Context], Awaitable[None]]

PACKAGE_PREFIX = "/taskmeter.v1."


@dataclass(frozen=True, slots=True)
class Ready:
    """A unary method whose answer is there at once, as bytes: no coroutine of its own, no serializer."""

    behaviour: Callable[[Any, Caller], bytes]


@dataclass(frozen=True, slots=True)
class Read:
    """A unary method that changes nothing: it is dropped when its caller goes."""

    behaviour: Unary


@dataclass(frozen=True, slots=True)
class Write:
    """A unary method that changes something: it is finished even when its caller goes."""

    behaviour: Unary


@dataclass(frozen=True, slots=True)
class Stream:
    """A method that answers with a stream; it writes to the context itself."""

    behaviour: Streaming


Method = Ready | Read | Write | Stream


class Activity:
    """How many calls are under way, and when the last one ended; an auto-started daemon leaves when nobody needs it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open = 0
        self.last_time = clock()

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        self.last_time = self._clock()

    def touch(self) -> None:
        """Note a call that is over before anything else can happen."""
        self.last_time = self._clock()

    @property
    def idle_seconds(self) -> float:
        return 0.0 if self._open else self._clock() - self.last_time


class Router(grpc.GenericRpcHandler):
    """Finds the handler of a call; a method of our package that is not built answers NOT_BUILT."""

    def __init__(self, authenticator: Authenticator, activity: Activity) -> None:
        self._authenticator = authenticator
        self._activity = activity
        self._handlers: dict[str, Any] = {}
        self._not_built: Any = grpc.stream_stream_rpc_method_handler(self._refuse)

    def add(self, service: ServiceDescriptor, methods: dict[str, Method]) -> None:
        """Register what is built of `service`. Raises `KeyError` for a method that the descriptor does not have."""
        for name, method in methods.items():
            descriptor = service.methods_by_name[name]
            path = f"/{service.full_name}/{name}"
            request_class = GetMessageClass(descriptor.input_type)
            self._handlers[path] = self._handler(path, descriptor, request_class, method)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path: str = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None and path.startswith(PACKAGE_PREFIX):
            return self._not_built
        return handler

    async def _refuse(self, requests: Iterable[bytes], context: Context) -> None:
        try:
            self._authenticator.holder(context.invocation_metadata())  # type: ignore[arg-type]
            raise NotBuiltError("this method is not built yet")
        except TaskmeterError as error:
            await abort(context, error)

    def _handler(self, path: str, descriptor: MethodDescriptor, request_class: type[Message], method: Method) -> Any:
        caller_of = self._authenticator.caller
        activity = self._activity
        parse = request_class.FromString

        if isinstance(method, Stream):
            write_to = method.behaviour

            async def stream(data: bytes, context: Context) -> None:
                with activity:
                    try:
                        caller = caller_of(path, context.invocation_metadata())  # type: ignore[arg-type]
                        await write_to(parse(data), caller, context)
                    except grpc.aio.AbortError:
                        raise
                    except grpc.aio.InternalError:
                        # a write failed: the client has gone, and the cancellation that says so is still on its way
                        raise asyncio.CancelledError from None
                    except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                        await abort(context, error)

            return grpc.unary_stream_rpc_method_handler(stream)

        if isinstance(method, Ready):
            answer_to, touch = method.behaviour, activity.touch

            async def ready(data: bytes, context: Context) -> bytes:
                touch()
                try:
                    return answer_to(parse(data), caller_of(path, context.invocation_metadata()))  # type: ignore[arg-type]
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, error)

            return grpc.unary_unary_rpc_method_handler(ready)

        behaviour = method.behaviour
        finish = isinstance(method, Write)

        async def unary(data: bytes, context: Context) -> Message | bytes:
            with activity:
                try:
                    caller = caller_of(path, context.invocation_metadata())  # type: ignore[arg-type]
                    answer: Awaitable[Message | bytes] = behaviour(parse(data), caller)
                    if finish:
                        answer = asyncio.shield(asyncio.ensure_future(answer))
                    return await answer
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, error)

        return grpc.unary_unary_rpc_method_handler(unary, response_serializer=_serialize)


def _serialize(answer: Message | bytes) -> bytes:
    return answer if type(answer) is bytes else answer.SerializeToString()  # type: ignore[union-attr]
