"""After a start with keys: seal what is not sealed yet, and seal anew what an older key sealed; in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from msgspec import Struct

from taskmeter.core.keep_record import recorded
from taskmeter.core.ports import Change
from taskmeter.core.secrets import seal, unseal
from taskmeter.core.service import Service
from taskmeter.errors import NotFoundError, TaskmeterError
from taskmeter.model.task import Task, TaskSpec

log = logging.getLogger(__name__)


class _Stale(Struct, frozen=True):
    """The directory of an attempt that has to be written again."""

    token: str
    attempt: int
    task: Task
    spec: TaskSpec


async def reseal(service: Service) -> None:
    """Bring all records and rows to the newest key. What no key opens is left as it is, and said."""
    if service.sealer is None:
        return
    work = await asyncio.to_thread(lambda: list(_stale(service)))
    sealed, locked = 0, 0
    for stale in work:
        try:
            spec = seal(service, unseal(service, stale.task), stale.token, stale.task.tenant)
            sealed += await _replace(service, stale, spec)
        except NotFoundError:
            continue  # deleted meanwhile
        except (TaskmeterError, OSError) as error:
            locked += 1
            log.warning("task %s is not sealed with the newest key: %s", stale.token, error)
    if work:
        log.info("sealed %d tasks' arguments with the newest key; %d stay as they are", sealed, locked)


def _stale(service: Service) -> Iterator[_Stale]:
    assert service.sealer is not None
    for stored in service.executor.stored():
        unpacked = service.store.unpack(stored.record) if stored.record else None
        if unpacked is None:
            continue
        task = unpacked[0]
        spec = task.spec
        open_text = not spec.sealed and bool(spec.argv or spec.env or spec.stdin_data)
        if open_text or (spec.sealed and not service.sealer.is_current(spec.sealed)):
            yield _Stale(stored.token, stored.attempt, task, spec)


async def _replace(service: Service, stale: _Stale, spec: TaskSpec) -> bool:
    """Write row and record; the row is as good as the record, so either may be written first."""
    encoded = service.codec.encode_spec(spec)
    async with service.change(stale.token) as entry:
        task = entry.task if entry is not None else service.find(stale.token, stale.task.tenant)
        await service.store.commit([Change(task.evolve(spec=spec), (), new_spec=encoded)])
        found = recorded(task) if stale.attempt == task.attempt else stale.task  # it may have been changed since it was read
        record = service.store.pack(found.evolve(spec=spec), encoded)
        await asyncio.to_thread(service.executor.rewrite_record, stale.token, stale.attempt, record)
    return True
