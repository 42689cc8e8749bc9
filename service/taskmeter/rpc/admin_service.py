"""AdminService: what this daemon is and does, and how to empty it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskmeter.core.drain import drain
from taskmeter.core.service import Service
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks
from taskmeter.rpc.methods import Method, Read, Write
from taskmeter.v1 import admin_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What does not change while the daemon runs."""

    version: str
    node: str
    start_time: float
    state_directory: str
    sample_rate_hz: float
    cpu_source: str
    memory_source: str
    auto_started: bool
    retention: str = ""
    """The bounds on what is kept, in words."""


class AdminServicer:
    """The methods of `taskmeter.v1.AdminService`."""

    def __init__(
        self, service: Service, facts: ServerFacts, targets: Callable[[], Sequence[str]], meter_backend: Callable[[], str]
    ) -> None:
        self._service = service
        self._facts = facts
        self._targets = targets
        self._meter_backend = meter_backend

    def methods(self) -> dict[str, Method]:
        return {"GetServerInfo": Read(self.get_server_info), "Drain": Write(self.drain)}

    async def get_server_info(self, request: pb.GetServerInfoRequest, caller: Caller) -> pb.GetServerInfoResponse:
        service, facts = self._service, self._facts
        return pb.GetServerInfoResponse(
            version=facts.version,
            store_id=service.store.store_id,
            node=facts.node,
            pid=os.getpid(),
            start_time=facts.start_time,
            running_count=len(service.scheduler.running),
            waiting_count=service.scheduler.waiting_count,
            max_running_count=service.scheduler.max_running,
            ended_count=service.store.upkeep.ended_count(),
            head_seq=service.hub.head_seq,
            first_seq=service.store.first_seq,
            state_directory=facts.state_directory,
            grpc_targets=self._targets(),
            cpu_source=facts.cpu_source or self._meter_backend(),
            memory_source=facts.memory_source,
            sample_rate_hz=facts.sample_rate_hz,
            draining=service.draining,
            auto_started=facts.auto_started,
            meter_backend=self._meter_backend(),
            tariffs=sorted({tariff.label for tariff in service.tariffs.values()}),
            disk_full=service.store.disk_full,
            store_failure=service.store.failure,
            retention=facts.retention,
        )

    async def drain(self, request: pb.DrainRequest, caller: Caller) -> pb.DrainResponse:
        checks = Checks()
        checks.seconds("grace_period_seconds", request.grace_period_seconds)
        checks.text("reason", request.reason, most_bytes=1024)
        checks.done()
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        return pb.DrainResponse(stopping_count=await drain(self._service, grace_seconds=grace, reason=request.reason))
