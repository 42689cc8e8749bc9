"""Recurring schedules: each due time starts one task, through the same door as StartTask, and is then settled in the store.

A daemon that dies in between finds the due time open and asks for it again under the same idempotency key, so it is neither
lost nor run twice. Due times are of the wall clock and only ever move on: a clock that is set back repeats nothing, one that is
set forward makes runs missed, which follow the schedule's policy.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping

from msgspec.structs import replace

from taskmeter.core.due_times import due_times, next_due
from taskmeter.core.find_queue import find_queue
from taskmeter.core.keyring import Keyring
from taskmeter.core.ports import Filter
from taskmeter.core.secrets import seal
from taskmeter.core.service import Service
from taskmeter.core.start_task import start_task
from taskmeter.errors import (
    AuthenticationError,
    ConflictError,
    InternalError,
    LimitError,
    NotFoundError,
    PreconditionError,
    TaskmeterError,
    UnavailableError,
)
from taskmeter.model.key import Quotas
from taskmeter.model.schedule import DUE_TAG, SCHEDULE_TAG, MissedRuns, Overlap, Schedule
from taskmeter.model.task import TaskSpec

MAX_SCHEDULES = 1000
"""Of one tenant."""
LONGEST_SLEEP_SECONDS = 30.0
"""A clock that is set is noticed so soon."""
MISSED_AFTER_SECONDS = 10.0
"""A due time that is older counts as missed."""
REFUSED_SECONDS = 5.0
FILE_SECONDS = 60.0
"""The file is at most so far behind what has run."""
LONG_AGO_SECONDS = 86400.0
"""Due times since then are counted on a thread: there may be many."""

log = logging.getLogger(__name__)


class Schedules:
    """All schedules of one daemon. What changes one is stored before it is in force."""

    def __init__(self, service: Service, keyring: Keyring) -> None:
        self._service = service
        self._keyring = keyring
        self._found: dict[tuple[str, str], Schedule] = {}
        self._unsure: set[tuple[str, str]] = set()
        """Their next due time may have started a task already."""
        self._file_time = time.monotonic()
        self._closing = False
        self._file_behind = False
        """What has run since is not in the file."""
        self._retry_at: dict[tuple[str, str], float] = {}
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()

    def load(self) -> None:
        """Take over what the store has: once, after recovery."""
        self._found = {schedule.key: schedule for schedule in self._service.store.schedules.load()}
        self._unsure = set(self._found)

    @property
    def any_active(self) -> bool:
        return any(schedule.active for schedule in self._found.values())

    def of_tenant(self, tenant: str) -> list[Schedule]:
        """Return the tenant's schedules by name."""
        return sorted((each for each in self._found.values() if each.tenant == tenant), key=lambda each: each.name)

    def find(self, tenant: str, name: str) -> Schedule:
        """Return one. Raises `NotFoundError` SCHEDULE_NOT_FOUND, for another tenant's alike."""
        try:
            return self._found[tenant, name]
        except KeyError:
            raise NotFoundError(
                f"there is no schedule {name!r}",
                reason="SCHEDULE_NOT_FOUND",
                metadata={"schedule": name},
                hint="`taskmeter schedule ls` lists them",
            ) from None

    async def put(self, wanted: Schedule) -> Schedule:
        """Make or change a schedule; its history and whether it is paused stay. Raises QUEUE_NOT_FOUND, QUOTA_EXCEEDED."""
        async with self._lock:
            find_queue(self._service, wanted.tenant, wanted.spec.queue)
            now = time.time()
            before = self._found.get(wanted.key)
            if before is None:
                if len(self.of_tenant(wanted.tenant)) >= MAX_SCHEDULES:
                    raise LimitError(f"there are {MAX_SCHEDULES} schedules already", reason="QUOTA_EXCEEDED")
                before = replace(wanted, schedule_id=secrets.token_hex(8), create_time=now)
            kept = ("schedule_id", "paused", "create_time", "last_time", "last_token", "last_problem", "run_count")
            wanted = replace(wanted, **{field: getattr(before, field) for field in kept})
            wanted = replace(wanted, spec=seal(self._service, wanted.spec, wanted.schedule_id, wanted.tenant))
            same = before.next_time and before.timing == wanted.timing
            due = before.next_time if same else wanted.timing.at_time or next_due(wanted.timing, now, now)
            return await self._define(replace(wanted, next_time=due).bounded())

    async def set_pause(self, tenant: str, name: str, *, paused: bool, key_id: str) -> Schedule:
        """Pause or resume. What was due while it was paused is not made up for, except the one run of a `once`.

        Whoever resumes a schedule whose key has ended lends it the key `key_id`.
        """
        async with self._lock:
            found = self.find(tenant, name)
            if found.paused is paused:
                return found
            if paused:
                return await self._define(replace(found, paused=True))
            now = time.time()
            if found.next_time and not found.timing.at_time and found.next_time <= now:
                found = replace(found, next_time=next_due(found.timing, found.next_time, now)).bounded()
            if self._key_problem(found, now):
                found = replace(found, key_id=key_id, last_problem="")
            return await self._define(replace(found, paused=False))

    async def delete(self, tenant: str, name: str) -> None:
        """Forget a schedule; its tasks stay."""
        async with self._lock:
            found = self.find(tenant, name)
            await self._write_file({key: each for key, each in self._found.items() if key != found.key})
            await self._service.store.schedules.delete(tenant, name)
            del self._found[found.key]

    async def run_now(self, tenant: str, name: str, *, idempotency_key: str, quotas: Quotas) -> tuple[Schedule, str, bool]:
        """Start a task of it besides its due times, also while it is paused; return its token, and whether it existed already.

        Raises what `start_task` raises.
        """
        async with self._lock:
            found = self.find(tenant, name)
            spec = self._spec(found, f"{found.schedule_id}:now")
            token, existing = await start_task(self._service, spec, tenant, idempotency_key=idempotency_key, quotas=quotas)
            if not existing:
                found = await self._store(replace(found, last_time=time.time(), last_token=token, last_problem=""))
            return found, token, existing

    async def keep(self) -> None:
        """Start what is due, for ever. Nothing while the daemon drains; what is under way when this is cancelled is finished."""
        try:
            await self._reseal()
            await self._keep()
        finally:
            self._closing = True

    async def _keep(self) -> None:
        while not self._service.draining:
            self._wake.clear()
            now = time.time()
            for key in [key for key, each in self._found.items() if each.active and each.next_time <= now]:
                if time.monotonic() >= self._retry_at.get(key, 0.0):
                    await asyncio.shield(self._service.spawn(self._try_due(key)))
            if self._file_behind and time.monotonic() - self._file_time >= FILE_SECONDS:
                await self._catch_up()
            try:
                await asyncio.wait_for(self._wake.wait(), self._sleep_seconds())
            except TimeoutError:
                continue

    def _sleep_seconds(self) -> float:
        now, uptime = time.time(), time.monotonic()
        waits = [
            max(each.next_time - now, self._retry_at.get(each.key, 0.0) - uptime, 0.0)
            for each in self._found.values()
            if each.active
        ]
        return min([LONGEST_SLEEP_SECONDS, *waits])

    async def _try_due(self, key: tuple[str, str]) -> None:
        async with self._lock:
            found = self._found.get(key)
            if found is None or not found.active:  # changed meanwhile
                return
            try:
                await self._run_due(found)
            except TaskmeterError as error:
                self._refused(key, error)
            except Exception:
                log.exception("schedule %s", key[1])
                self._refused(key, InternalError("a bug; the daemon's log has more"))

    async def _run_due(self, found: Schedule) -> None:
        now = time.time()
        if problem := self._key_problem(found, now):
            log.warning("schedule %s is paused: %s", found.name, problem)
            await self._define(replace(found, paused=True, last_problem=problem))
            return
        keep = found.max_missed if found.missed_runs is MissedRuns.RUN_ALL else 1
        if found.next_time < now - LONG_AGO_SECONDS:
            count, dues = await asyncio.to_thread(due_times, found.timing, found.next_time, now, keep)
        else:
            count, dues = due_times(found.timing, found.next_time, now, keep)
        if found.end_time:
            dues = [due for due in dues if due < found.end_time]
        if found.missed_runs is MissedRuns.SKIP:
            dues = [due for due in dues if now - due <= MISSED_AFTER_SECONDS]
        skipped = count - len(dues)
        problem = f"missed {skipped} due time{'s'[: skipped > 1]}" if skipped else ""
        for due in dues:
            if found.next_time and not self._closing:  # 0: it has run as often as it may
                found = await self._run_one(found, due, problem)
        if not dues:
            following = next_due(found.timing, found.next_time, now)
            await self._store(replace(found, next_time=following, last_problem=problem).bounded())

    async def _run_one(self, found: Schedule, due: float, problem: str) -> Schedule:
        """Settle one due time: run it, or skip it because the last run has not ended."""
        following = next_due(found.timing, due, due)
        token = await self._earlier_run(found, due)
        if not token and found.overlap is Overlap.SKIP and found.last_token in self._service.live:
            problem = f"skipped: task {found.last_token} has not ended"
            return await self._store(replace(found, next_time=following, last_problem=problem).bounded())
        token = token or await self._submit(found, due)
        ran = replace(found, last_time=time.time(), last_token=token, last_problem=problem, run_count=found.run_count + 1)
        self._unsure.add(found.key)  # until it is stored
        ran = await self._store(replace(ran, next_time=following).bounded())
        self._unsure.discard(found.key)
        return ran

    async def _submit(self, found: Schedule, due: float) -> str:
        run = found.run_tag(due)
        quotas = self._keyring.alive(found.key_id, time.time()).quotas
        try:
            token, _ = await start_task(
                self._service, self._spec(found, run), found.tenant, idempotency_key=f"schedule:{run}", quotas=quotas
            )
        except ConflictError as error:  # it was started just before the spec was changed
            return error.metadata["token"]
        return token

    async def _earlier_run(self, found: Schedule, due: float) -> str:
        """Return the task of this due time, if a daemon before, or a commit that failed, may have left one.

        Its idempotency key does not tell: that of a task that has failed is free again.
        """
        if found.key not in self._unsure:
            return ""
        wanted = Filter(found.tenant, tags={DUE_TAG: found.run_tag(due)}, created_after_time=due - 1.0)
        tasks = await asyncio.to_thread(self._service.store.select, wanted, None, 1)
        return tasks[0].token if tasks else ""

    def _key_problem(self, found: Schedule, now: float) -> str:
        try:
            self._keyring.alive(found.key_id, now)
        except AuthenticationError as error:
            return f"paused: key {found.key_id} put it, and {error.message}; resume it with another key"
        return ""

    def _spec(self, found: Schedule, run: str) -> TaskSpec:
        spec = self._opened(found)
        return replace(spec, tags={**spec.tags, SCHEDULE_TAG: found.name, DUE_TAG: run})

    def _opened(self, found: Schedule) -> TaskSpec:
        spec = found.spec
        if not spec.sealed:
            return spec
        if self._service.sealer is None:
            raise PreconditionError(
                "the schedule is encrypted, and this daemon has no keys",
                reason="UNSUPPORTED_HERE",
                hint="start the daemon with its encryption_key_file",
            )
        secret = self._service.sealer.open(spec.sealed, found.schedule_id, found.tenant)
        return replace(self._service.codec.with_secrets(spec, secret), sealed=b"")

    async def _reseal(self) -> None:
        """Seal with the newest key what is open or sealed with an older one."""
        sealer = self._service.sealer
        for key in list(self._found) if sealer else ():
            async with self._lock:
                found = self._found.get(key)
                if sealer is None or found is None or (found.spec.sealed and sealer.is_current(found.spec.sealed)):
                    continue
                try:
                    spec = seal(self._service, self._opened(found), found.schedule_id, found.tenant)
                    await self._define(replace(found, spec=spec))
                except TaskmeterError as error:
                    log.warning("schedule %s is not sealed with the newest key: %s", found.name, error)

    def _refused(self, key: tuple[str, str], error: TaskmeterError) -> None:
        """The due time stays open; after a while it is tried again, or is one that was missed."""
        found = self._found.get(key)
        if found is None or (isinstance(error, UnavailableError) and error.reason == "DRAINING"):
            return
        self._retry_at[key] = time.monotonic() + max(REFUSED_SECONDS, error.retry_after_seconds or 0.0)
        problem = f"refused: {error.reason}: {error.message}"
        if problem != found.last_problem:
            log.warning("schedule %s: %s", found.name, problem)
        self._found[key] = replace(found, last_problem=problem)  # in memory only: the store may be what refuses

    async def _define(self, schedule: Schedule) -> Schedule:
        """Store what the user has changed: in the file first, so that it is never behind."""
        await self._write_file({**self._found, schedule.key: schedule})
        stored = await self._store(schedule)
        self._file_behind = False
        return stored

    async def _store(self, schedule: Schedule) -> Schedule:
        await self._service.store.schedules.put(schedule)
        self._file_behind = True
        self._found[schedule.key] = schedule
        self._retry_at.pop(schedule.key, None)
        self._wake.set()
        return schedule

    async def _write_file(self, found: Mapping[tuple[str, str], Schedule]) -> None:
        if self._service.schedule_file is not None:
            await asyncio.to_thread(self._service.schedule_file.save, list(found.values()))
        self._file_behind, self._file_time = False, time.monotonic()

    async def _catch_up(self) -> None:
        """Bring the file to what has run: what it lacks is found out from the tasks, as long as those are kept."""
        async with self._lock:
            try:
                await self._write_file(self._found)
            except TaskmeterError as error:
                log.warning("%s; should the database be lost, it is not known how far they are", error.message)
                self._file_time = time.monotonic()
