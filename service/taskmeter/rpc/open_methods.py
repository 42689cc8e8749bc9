"""Methods that need no key, health and reflection, and how many calls without one may be under way there.

gRPC takes in a whole request before its method is asked, 4 MB at most: calls that are begun and never finished would add up.
Those whose request has come cost little, and a client that watches our health keeps one for as long as it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from taskmeter.errors import LimitError
from taskmeter.rpc.gate import Context, Gate
from taskmeter.rpc.status import turn_away

MOST_UNFINISHED = 4
"""Calls without a key whose request has not come yet."""
MOST_STRANGERS = 256
"""Calls without a key in all."""
RETRY_AFTER_SECONDS = 1.0


class OpenMethods(grpc.GenericRpcHandler):
    """Takes the methods as a server would, and finds them for calls."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._strangers: set[asyncio.Task[Any]] = set()
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._full: Any = grpc.stream_stream_rpc_method_handler(self._refuse)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Do nothing: they are among the generic ones."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        found = (each.service(handler_call_details) for each in self._handlers)
        handler: Any = next((each for each in found if each is not None), None)
        if handler is None or self._gate.refusal(handler_call_details.invocation_metadata) is None:
            return handler
        task = asyncio.current_task()  # of this call, from its headers to its status
        if task is None or len(self._unfinished) >= MOST_UNFINISHED or len(self._strangers) >= MOST_STRANGERS:
            return self._full
        self._strangers.add(task)
        self._unfinished.add(task)
        task.add_done_callback(self._leave)
        if handler.request_streaming:
            return handler  # more may come until it ends
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(self._telling(getattr(handler, kind)), handler.request_deserializer, handler.response_serializer)

    def _telling(self, behaviour: Any) -> Any:
        """Have us know when the request is there."""

        async def run(request: Any, context: Context) -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._unfinished.discard(task)
            return await behaviour(request, context)

        return run

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._strangers.discard(task)
        self._unfinished.discard(task)

    async def _refuse(self, _requests: Iterable[bytes], context: Context) -> None:
        turn_away(
            context,
            LimitError(
                "too many calls without a key are under way here",
                reason="RATE_LIMITED",
                hint="a call with a key is not counted",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ),
        )
