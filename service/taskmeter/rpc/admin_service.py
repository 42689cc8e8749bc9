"""AdminService: what this daemon is and does, how to empty it, and its keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from msgspec import Struct

from taskmeter.core.create_key import create_key
from taskmeter.core.drain import drain
from taskmeter.core.keyring import ADMIN_KEY_ID, Keyring
from taskmeter.core.list_keys import list_keys
from taskmeter.core.revoke_key import revoke_key
from taskmeter.core.service import Service
from taskmeter.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from taskmeter.model.task import DEFAULT_TENANT
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks
from taskmeter.rpc.convert.key import key_request, key_to_message
from taskmeter.rpc.methods import Method, Read, Write
from taskmeter.v1 import admin_service_pb2 as pb


class ServerFacts(Struct, frozen=True):
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
        self,
        service: Service,
        keyring: Keyring,
        facts: ServerFacts,
        targets: Callable[[], Sequence[str]],
        meter_backend: Callable[[], str],
    ) -> None:
        self._service = service
        self._keyring = keyring
        self._facts = facts
        self._targets = targets
        self._meter_backend = meter_backend

    def methods(self) -> dict[str, Method]:
        return {
            "GetServerInfo": Read(self.get_server_info),
            "Drain": Write(self.drain),
            "CreateKey": Write(self.create_key),
            "RevokeKey": Write(self.revoke_key),
            "ListKeys": Read(self.list_keys),
        }

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
        if not caller.is_operator:
            raise PermissionDeniedError(
                f"only an admin key of the tenant {DEFAULT_TENANT} may drain the daemon: it is about everybody's tasks",
                metadata={"scope": "admin", "method": "/taskmeter.v1.AdminService/Drain"},
            )
        checks = Checks()
        checks.seconds("grace_period_seconds", request.grace_period_seconds)
        checks.text("reason", request.reason, most_bytes=1024)
        checks.done()
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        return pb.DrainResponse(stopping_count=await drain(self._service, grace_seconds=grace, reason=request.reason))

    async def create_key(self, request: pb.CreateKeyRequest, caller: Caller) -> pb.CreateKeyResponse:
        wanted = key_request(request)
        tenant = request.tenant or caller.tenant
        self._check_tenant(tenant, caller)
        secret, key = await create_key(
            self._keyring,
            tenant,
            wanted.scopes,
            name=request.name,
            lifetime_seconds=request.lifetime_seconds,
            quotas=wanted.quotas,
            rate=wanted.rate,
        )
        return pb.CreateKeyResponse(secret=secret, key=key_to_message(key))

    async def revoke_key(self, request: pb.RevokeKeyRequest, caller: Caller) -> pb.RevokeKeyResponse:
        problem = ""
        if not request.key_id:
            problem = "must not be empty"
        elif request.key_id == ADMIN_KEY_ID and caller.is_operator:
            problem = "the admin key ends by replacing the file admin.key, then SIGHUP or a restart"
        if problem:
            raise InvalidArgumentError(f"key_id: {problem}", fields=[("key_id", problem)])
        only_tenant = None if caller.is_operator else caller.tenant
        return pb.RevokeKeyResponse(key=key_to_message(await revoke_key(self._keyring, request.key_id, only_tenant=only_tenant)))

    async def list_keys(self, request: pb.ListKeysRequest, caller: Caller) -> pb.ListKeysResponse:
        tenant = request.tenant or (None if caller.is_operator else caller.tenant)
        self._check_tenant(tenant, caller)
        found = list_keys(self._keyring, only_tenant=tenant, include_ended=request.include_ended)
        return pb.ListKeysResponse(keys=map(key_to_message, found))

    @staticmethod
    def _check_tenant(tenant: str | None, caller: Caller) -> None:
        if not caller.is_operator and tenant != caller.tenant:
            raise NotFoundError(
                "there is no tenant of this name", reason="KEY_NOT_FOUND", hint="leave the tenant out for your own"
            )
