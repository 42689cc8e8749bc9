"""Accept a task: durable before the caller hears of it, started at once when a slot is free."""

from __future__ import annotations

import os
import time

from msgspec.structs import replace

from taskmeter import failpoints
from taskmeter.core.attach import choose_target
from taskmeter.core.dependents import check_after, fail_dependent
from taskmeter.core.find_queue import check_room
from taskmeter.core.launch import launch, starting
from taskmeter.core.lifecycle import change_of
from taskmeter.core.secrets import is_hash_of, seal, spec_hash, unseal
from taskmeter.core.service import Service
from taskmeter.errors import ConflictError, InvalidArgumentError, LimitError, UnavailableError
from taskmeter.model.ids import new_token
from taskmeter.model.key import NO_QUOTAS, Quotas
from taskmeter.model.task import Target, Task, TaskSpec
from taskmeter.model.usage import Tariff


async def start_task(
    service: Service,
    spec: TaskSpec,
    tenant: str,
    *,
    idempotency_key: str = "",
    use_existing: bool = False,
    quotas: Quotas = NO_QUOTAS,
    token: str = "",
) -> tuple[str, bool]:
    """Return the token, and whether it named a task that existed already.

    With `use_existing` a live task of the same project and source is returned. With an idempotency key the task that holds the
    key is returned (guarantee G2). A new task is called `token` if that is given and it has no key; nobody may be called so yet.
    Raises `ConflictError` if that one has another spec, `LimitError` QUEUE_FULL,
    QUOTA_EXCEEDED or DISK_FULL, `UnavailableError` DRAINING; and what `choose_target` raises.
    """
    if service.draining:
        raise UnavailableError("the daemon is draining and accepts no new work", reason="DRAINING", hint="try again later")
    if use_existing and (live := _live_twin(service, spec, tenant)):
        return live, True
    encoded = service.codec.encode_spec(spec)
    if not idempotency_key:
        async with service.quotas.one_more(service, tenant, quotas):
            return await _accept(service, spec, encoded, tenant, "", token or new_token()), False
    async with service.key_locks.hold((tenant, idempotency_key)):
        holder = service.store.find_key(tenant, idempotency_key)
        if holder is None:
            async with service.quotas.one_more(service, tenant, quotas):
                return await _accept(service, spec, encoded, tenant, idempotency_key, new_token()), False
        if not is_hash_of(service, holder.spec_hash, encoded):
            raise ConflictError(
                "this idempotency key was used with another spec",
                metadata={"token": holder.token},
                hint="use a new key for new work",
            )
        return holder.token, True


def _tariff(service: Service, spec: TaskSpec) -> Tariff:
    try:
        return service.tariffs[spec.tariff]
    except KeyError:
        known = ", ".join(sorted(filter(None, service.tariffs)))
        problem = f"there is no tariff {spec.tariff!r} here; known are {known}"
        raise InvalidArgumentError(f"spec.tariff: {problem}", fields=[("spec.tariff", problem)]) from None


def _live_twin(service: Service, spec: TaskSpec, tenant: str) -> str | None:
    wanted = (tenant, spec.project_id, spec.source)
    for token, entry in service.live.items():
        task = entry.task
        if (task.tenant, task.spec.project_id, task.spec.source) == wanted:
            return token
    return None


async def _accept(service: Service, spec: TaskSpec, encoded: bytes, tenant: str, idempotency_key: str, token: str) -> str:
    scheduler = service.scheduler
    if scheduler.is_full:
        raise LimitError(
            f"{scheduler.waiting_count} tasks wait already; the queue is full",
            reason="QUEUE_FULL",
            hint="try again when some have ended, or start the daemon with a higher --max-running",
            retry_after_seconds=1.0,
        )
    service.executor.check_limits(spec.resources)
    service.executor.check_user(spec.user)
    check_room(service, tenant, spec.queue)
    check_after(service, spec.after, tenant)
    scheduler.admission.check(spec.resources)
    if spec.attach is None:
        return await _store(service, spec, encoded, tenant, idempotency_key, token, spec_hash(service, encoded), None)
    named, target = choose_target(service, spec, spec.attach)
    service.attaching[target] = spec.attach
    try:
        stored = service.codec.encode_spec(named)
        return await _store(service, named, stored, tenant, idempotency_key, token, spec_hash(service, encoded), target)
    finally:
        del service.attaching[target]


async def _store(
    service: Service,
    spec: TaskSpec,
    encoded: bytes,
    tenant: str,
    idempotency_key: str,
    token: str,
    hashed: bytes,
    target: Target | None,
) -> str:
    scheduler = service.scheduler
    now = time.time()
    task = Task(
        token=token,
        spec=spec,
        spec_hash=hashed,
        create_time=now,
        queued_time=scheduler.stamp(),
        tenant=tenant,
        idempotency_key=idempotency_key,
        tags=spec.tags,
        metadata=spec.metadata,
        priority=spec.priority,
        target=target,
        tariff=_tariff(service, spec),
    )
    sealed = seal(service, spec, task.token, tenant)
    if sealed is not spec:
        task, encoded = task.evolve(spec=sealed), service.codec.encode_spec(sealed)
    at_once = scheduler.accept(task)
    try:
        gpus = scheduler.admission.gpus_of(task.token) if at_once else ()
        await prepare(service, task.evolve(gpus=gpus) if gpus else task, encoded)
        steps = [starting(service.boot_id, gpus)] if at_once else []
        await service.store.commit([change_of(task, steps, spec=encoded)])
    except BaseException:
        scheduler.withdraw(task.token)
        if not service.store.failure:  # a store that stopped meanwhile may have it all the same: the next daemon will see
            service.spawn(service.executor.remove(task.token))
        service.pump()
        raise
    if failpoints.armed:
        service.call_later(failpoints.AFTER_REPLY_SECONDS, failpoints.hit, "submit.after_reply")
    entry = service.live[task.token]
    if at_once:
        service.spawn(launch(service, entry))
    else:
        scheduler.enqueue(entry.task)
        if spec.after:
            service.spawn(fail_dependent(service, task.token))  # if one of them has failed, already or meanwhile
        service.pump()  # a slot may have been freed meanwhile
    return task.token


async def prepare(service: Service, task: Task, spec: bytes) -> None:
    """Have the directory of the task's attempt made, with all that a new store would need to know of it.

    Raises `LimitError` DISK_FULL, `UnavailableError` if it cannot be made.
    """
    try:
        await service.executor.prepare(task.token, task.attempt, service.store.pack(task, spec))
    except OSError as error:
        raise UnavailableError(
            f"the task's directory cannot be made: {os.strerror(error.errno or 0)}", reason="STORE_UNAVAILABLE"
        ) from error


def copy_of(service: Service, task: Task) -> TaskSpec:
    """The spec for a new task like `task`, with its tags and metadata as they are now. Raises what `unseal` raises."""
    return replace(unseal(service, task), tags=dict(task.tags), metadata=dict(task.metadata), priority=task.priority)
