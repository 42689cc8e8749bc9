"""Methods that need no key, health and reflection, and how many calls without one may be under way there.

gRPC takes in a whole request before its method is asked, 4 MB at most: calls that are begun and never finished would add up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from taskmeter.errors import LimitError
from taskmeter.rpc.gate import Context, Gate
from taskmeter.rpc.status import abort

MOST_STRANGERS = 4
RETRY_AFTER_SECONDS = 1.0


class OpenMethods(grpc.GenericRpcHandler):
    """Takes the methods as a server would, and finds them for calls."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._stranger_count = 0
        self._full: Any = grpc.stream_stream_rpc_method_handler(self._refuse)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Do nothing: they are among the generic ones."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        found = (each.service(handler_call_details) for each in self._handlers)
        handler = next((each for each in found if each is not None), None)
        if handler is None or self._gate.knows(handler_call_details.invocation_metadata):
            return handler
        task = asyncio.current_task()
        if self._stranger_count >= MOST_STRANGERS or task is None:
            return self._full
        self._stranger_count += 1
        task.add_done_callback(self._leave)  # the task of this call, from its headers to its status
        return handler

    def _leave(self, _task: object) -> None:
        self._stranger_count -= 1

    async def _refuse(self, _requests: Iterable[bytes], context: Context) -> None:
        await abort(
            context,
            LimitError(
                f"{MOST_STRANGERS} calls without a key are under way here",
                reason="RATE_LIMITED",
                hint="a call with a key is not counted",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ),
        )
