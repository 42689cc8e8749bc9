"""Calls to a daemon by method name, made from the generated descriptors alone: independent of the client library."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from taskmeter.v1 import (
    admin_service_pb2,
    file_service_pb2,
    item_service_pb2,
    queue_service_pb2,
    schedule_service_pb2,
    task_service_pb2,
)

SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (task_service_pb2, "TaskService"),
        (item_service_pb2, "ItemService"),
        (file_service_pb2, "FileService"),
        (queue_service_pb2, "QueueService"),
        (schedule_service_pb2, "ScheduleService"),
        (admin_service_pb2, "AdminService"),
    )
]
UNARY_TIMEOUT_SECONDS = 30.0


class Calls:
    """`Calls(channel, key).StartTask(spec=…)` sends a StartTaskRequest(spec=…) and returns the response, or the call of a stream.

    Keyword arguments are the fields of the request; `timeout` (seconds) and `request` (a message, or an iterator of them) are
    taken out first. Streams have no deadline unless given one. A call that fails raises `grpc.RpcError`.
    """

    def __init__(self, channel: grpc.Channel, key: str) -> None:
        self._key = key
        self._methods: dict[str, Any] = {}
        self._requests: dict[str, type[Message]] = {}
        for service in SERVICES:
            for method in service.methods:
                kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
                self._requests[method.name] = message_factory.GetMessageClass(method.input_type)
                self._methods[method.name] = getattr(channel, kind)(
                    f"/{service.full_name}/{method.name}",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
                )

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            raise AttributeError(name)

        def call(*, request: Any = None, timeout: float | None = None, key: str | None = None, **fields: Any) -> Any:
            method = self._methods[name]
            if timeout is None and isinstance(method, grpc.UnaryUnaryMultiCallable):
                timeout = UNARY_TIMEOUT_SECONDS
            key = self._key if key is None else key
            metadata = [("authorization", f"Bearer {key}")] if key else []
            return method(request if request is not None else self._requests[name](**fields), timeout=timeout, metadata=metadata)

        return call
