"""The gRPC server: listeners, limits, health and reflection."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from taskmeter.errors import UnavailableError
from taskmeter.rpc.admin_service import AdminServicer
from taskmeter.rpc.file_service import FileServicer
from taskmeter.rpc.item_service import ItemServicer
from taskmeter.rpc.methods import Router
from taskmeter.rpc.open_methods import OpenMethods
from taskmeter.rpc.queue_service import QueueServicer
from taskmeter.rpc.schedule_service import ScheduleServicer
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.rpc.task_service import TaskServicer
from taskmeter.v1 import (
    admin_service_pb2,
    file_service_pb2,
    item_service_pb2,
    queue_service_pb2,
    schedule_service_pb2,
    task_service_pb2,
)

STOP_GRACE_SECONDS = 2.0

STREAMS_PER_CONNECTION = 1_000
"""What one connection can have waiting for us, also when it takes each back at once (CVE-2023-44487). gRPC counts a call until
its last object is gone and refuses what is above, so a client with more of them than half needs more connections."""

MOST_CONNECTIONS = 2_000
"""Of each listener; one costs about 20 kB, and a descriptor."""

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second daemon on the same port must be refused
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),  # spec 512 kB + stdin 1 MiB, with room for a clear error above
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.http2.max_requests_per_read", 4),  # other connections get their turn in between
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.server.max_pending_requests", 10_000),  # beyond, more and more calls are refused as CANCELLED, whoever's they are
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 100),
    ("grpc.server_handshake_timeout_ms", 2_000),
)

_SERVICES = (
    task_service_pb2.DESCRIPTOR.services_by_name["TaskService"],
    item_service_pb2.DESCRIPTOR.services_by_name["ItemService"],
    file_service_pb2.DESCRIPTOR.services_by_name["FileService"],
    queue_service_pb2.DESCRIPTOR.services_by_name["QueueService"],
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)


class RpcServer:
    """One grpc.aio server over all services of the package."""

    def __init__(
        self,
        router: Router,
        tasks: TaskServicer,
        items: ItemServicer,
        files: FileServicer,
        queues: QueueServicer,
        schedules: ScheduleServicer,
        admin: AdminServicer,
        streams: EventStreams,
    ) -> None:
        methods = (tasks.methods(), items.methods(), files.methods(), queues.methods(), schedules.methods(), admin.methods())
        router.precedence = streams.precedence
        for descriptor, found in zip(_SERVICES, methods, strict=True):
            router.add(descriptor, found)
        self._streams = streams
        self._files = files
        self._tasks = tasks
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS)
        open_methods = OpenMethods(router.gate)
        self._server.add_generic_rpc_handlers((router, open_methods))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, open_methods)
        names = (*(service.full_name for service in _SERVICES), health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), open_methods)
        self.targets: list[str] = []

    def listen_unix(self, path: Path) -> None:
        """Listen on a unix socket, replacing a stale one; the caller holds the state directory's lock."""
        path.unlink(missing_ok=True)
        target = f"unix:{quote(str(path))}"  # gRPC reads targets as URIs
        try:
            self._server.add_insecure_port(target)
        except RuntimeError as error:
            raise UnavailableError(f"cannot listen on {path}") from error
        os.chmod(path, 0o600)
        self.targets.append(target)

    def listen_tcp(self, address: str, credentials: grpc.ServerCredentials | None = None) -> None:
        """Listen on HOST:PORT, with TLS if there are credentials; port 0 takes a free one.

        Raises `UnavailableError` when it is taken.
        """
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            hint = "another program listens there; --listen HOST:0 takes a free port"
            raise UnavailableError(f"cannot listen on {address}", hint=hint) from error
        self.targets.append(f"{'https://' if credentials else ''}{address.rpartition(':')[0]}:{port}")

    async def start(self) -> None:
        await self._server.start()
        for name in ("", *(service.full_name for service in _SERVICES)):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Say NOT_SERVING, end streams with OK, give other calls a moment, then cut."""
        await self._health.enter_graceful_shutdown()
        self._files.closing = True
        self._streams.close()
        self._tasks.close()
        await self._server.stop(STOP_GRACE_SECONDS)
