"""Register methods from the descriptors: authentication, errors and cancellation are one wrapper, not interceptors.

Requests arrive as bytes and are parsed here, so that a malformed one gets our error and not the library's; answers are
messages or ready bytes. A call that changes something runs to its end even if the caller hangs up in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from taskmeter.core.rates import ENDS_WORK
from taskmeter.errors import NotBuiltError, TaskmeterError
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.gate import Gate, tokens_named
from taskmeter.rpc.open_calls import OpenCall
from taskmeter.rpc.precedence import Precedence
from taskmeter.rpc.status import abort, turn_away

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Caller], Awaitable[Message | bytes]]
Streaming = Callable[[Any, Caller, Context], Awaitable[None]]

Parse = Callable[[bytes], Any]

PACKAGE_PREFIX = "/taskmeter.v1."


class Ready(Struct, frozen=True):
    """A unary method whose answer is there at once, as bytes: no coroutine of its own, no serializer."""

    behaviour: Callable[[Any, Caller], bytes]


class Read(Struct, frozen=True):
    """A unary method that changes nothing: it is dropped when its caller goes."""

    behaviour: Unary


class Write(Struct, frozen=True):
    """A unary method that changes something: it is finished even when its caller goes."""

    behaviour: Unary


class Stream(Struct, frozen=True):
    """A method that answers with a stream; it writes to the context itself."""

    behaviour: Streaming


class Inflow(Struct, frozen=True):
    """A method that takes a stream of requests, and answers once."""

    behaviour: Unary
    """Is given an asynchronous iterator of the requests."""


Method = Ready | Read | Write | Stream | Inflow


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

    def __init__(self, gate: Gate, activity: Activity) -> None:
        self.gate = gate
        self._activity = activity
        self.precedence = Precedence()
        """Is told of calls that end work; set before methods are added."""
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
        if handler is None:
            return self._not_built if path.startswith(PACKAGE_PREFIX) else None
        refusal = self.gate.refusal(handler_call_details.invocation_metadata)
        if refusal is not None:
            return self._stranger(path, refusal)  # before its request has come: what a stranger sends is not waited for, nor kept
        self.precedence.expect(path)
        return handler

    def _stranger(self, path: str, refusal: TaskmeterError) -> Any:
        async def refuse(_requests: Iterable[bytes], context: Context) -> None:
            self.gate.note(path, None, context.peer(), error=refusal)
            turn_away(context, refusal)

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def _refuse(self, requests: Iterable[bytes], context: Context) -> None:
        try:
            self.gate.holder("", context)
            raise NotBuiltError("this method is not built yet")
        except TaskmeterError as error:
            turn_away(context, error)

    def _handler(self, path: str, descriptor: MethodDescriptor, request_class: type[Message], method: Method) -> Any:
        parse = request_class.FromString
        if isinstance(method, Stream):
            return grpc.unary_stream_rpc_method_handler(self._stream(path, descriptor, parse, method.behaviour))
        if isinstance(method, Inflow):
            handler = self._inflow(path, descriptor, parse, method.behaviour)
            return grpc.stream_unary_rpc_method_handler(handler, response_serializer=_serialize)
        if isinstance(method, Ready):
            return grpc.unary_unary_rpc_method_handler(self._ready(path, descriptor, parse, method.behaviour))
        make = self._write if isinstance(method, Write) else self._read
        return grpc.unary_unary_rpc_method_handler(
            make(path, descriptor, parse, method.behaviour), response_serializer=_serialize
        )

    def _stream(self, path: str, descriptor: MethodDescriptor, parse: Parse, write_to: Streaming) -> Any:
        gate, activity, named = self.gate, self._activity, tokens_named(descriptor)

        async def stream(data: bytes, context: Context) -> None:
            with activity:
                call = None
                try:
                    caller = gate.enter(path, context)
                    request = parse(data)
                    try:
                        with gate.calls.guard(caller, is_stream=True) as call:
                            gate.note(path, caller, context.peer(), code="OPEN", tokens=named(request, None))
                            await write_to(request, caller, context)
                    except TaskmeterError as error:
                        gate.note(path, caller, context.peer(), error=error, tokens=named(request, None))
                        raise
                    except asyncio.CancelledError:
                        if call is not None and call.ended is not None:
                            gate.note(path, caller, context.peer(), error=call.ended, tokens=named(request, None))
                        raise
                except grpc.aio.AbortError:
                    raise
                except grpc.aio.InternalError:
                    # a write failed: the client has gone, and the cancellation that says so is still on its way
                    raise asyncio.CancelledError from None
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, cut_off(call, error))

        return stream

    def _inflow(self, path: str, descriptor: MethodDescriptor, parse: Parse, take_in: Unary) -> Any:
        gate, activity, named = self.gate, self._activity, tokens_named(descriptor)

        async def inflow(data: AsyncIterator[bytes], context: Context) -> Message | bytes:
            tokens: tuple[str, ...] = ()

            async def requests(caller: Caller) -> AsyncIterator[Any]:
                nonlocal tokens
                first = True
                async for each in data:
                    request = parse(each)
                    if first:
                        first, tokens = False, named(request, None)
                        gate.note(path, caller, context.peer(), code="OPEN", tokens=tokens)
                    yield request

            with activity:
                call = None
                try:
                    caller = gate.enter(path, context)
                    try:
                        with gate.calls.guard(caller, is_stream=True) as call:
                            return await take_in(requests(caller), caller)
                    except TaskmeterError as error:
                        gate.note(path, caller, context.peer(), error=error, tokens=tokens)
                        raise
                    except asyncio.CancelledError:
                        if call is not None and call.ended is not None:
                            gate.note(path, caller, context.peer(), error=call.ended, tokens=tokens)
                        raise
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, cut_off(call, error))

        return inflow

    def _ready(self, path: str, descriptor: MethodDescriptor, parse: Parse, answer_to: Callable[[Any, Caller], bytes]) -> Any:
        gate, touch, named = self.gate, self._activity.touch, tokens_named(descriptor)

        async def ready(data: bytes, context: Context) -> bytes:
            touch()
            try:
                caller = gate.enter(path, context)
                request = parse(data)
                answer = answer_to(request, caller)
                if gate.note_reads:
                    gate.note(path, caller, context.peer(), tokens=named(request, None))
                return answer
            except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                await abort(context, error)

        return ready

    def _read(self, path: str, descriptor: MethodDescriptor, parse: Parse, behaviour: Unary) -> Any:
        gate, activity, named = self.gate, self._activity, tokens_named(descriptor)

        async def read(data: bytes, context: Context) -> Message | bytes:
            with activity:
                call = None
                try:
                    caller = gate.enter(path, context)
                    request = parse(data)
                    with gate.calls.guard(caller) as call:
                        answer = await behaviour(request, caller)
                    if gate.note_reads:
                        gate.note(path, caller, context.peer(), tokens=named(request, None))
                    return answer
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, cut_off(call, error))

        return read

    def _write(self, path: str, descriptor: MethodDescriptor, parse: Parse, behaviour: Unary) -> Any:
        gate, activity, named = self.gate, self._activity, tokens_named(descriptor)
        first = self.precedence if path in ENDS_WORK else nullcontext()

        async def finish(data: bytes, caller: Caller, peer: str) -> Message | bytes:
            tokens: tuple[str, ...] = ()
            try:
                request = parse(data)
                tokens = named(request, None)
                answer = await behaviour(request, caller)
            except BaseException as error:
                gate.note(path, caller, peer, error=error, tokens=tokens)
                raise
            gate.note(path, caller, peer, tokens=named(request, answer))
            return answer

        async def write(data: bytes, context: Context) -> Message | bytes:
            with activity, first:
                try:
                    caller = gate.enter(path, context)
                    return await asyncio.shield(asyncio.ensure_future(finish(data, caller, context.peer())))
                except BaseException as error:  # noqa: BLE001  # translated, logged or re-raised in abort()
                    await abort(context, error)

        return write


def cut_off(call: OpenCall | None, error: BaseException) -> BaseException:
    """Return why a call was cancelled by us because its key ended; any other error as it is."""
    if call is None or call.ended is None or not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    return call.ended


def _serialize(answer: Message | bytes) -> bytes:
    return answer if type(answer) is bytes else answer.SerializeToString()  # type: ignore[union-attr]
