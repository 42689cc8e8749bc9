"""ScheduleService: make schedules, look at them, pause and resume them."""

from __future__ import annotations

from bisect import bisect_right

from taskmeter.core.due_times import cron_problem, timezone_problem
from taskmeter.core.schedules import Schedules
from taskmeter.model.schedule import DUE_TAG, SCHEDULE_TAG, MissedRuns, Overlap, Schedule, Timing
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import MAX_MAP_KEYS, MAX_NAME_BYTES, MAX_SECONDS, Checks
from taskmeter.rpc.convert.spec import spec_from_message
from taskmeter.rpc.methods import Method, Read, Write
from taskmeter.v1 import schedule_service_pb2 as pb

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
DEFAULT_MISSED = 10
MAX_MISSED = 1000
MOST_RUNS = 2**31 - 1
MAX_SPEC_BYTES = 128 * 1024
"""All schedules are in memory, and in one file besides the store."""
OWN_TAGS = (SCHEDULE_TAG, DUE_TAG)


class ScheduleServicer:
    """The methods of `taskmeter.v1.ScheduleService`."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    def methods(self) -> dict[str, Method]:
        return {
            "PutSchedule": Write(self.put),
            "ListSchedules": Read(self.list),
            "GetSchedule": Read(self.get),
            "PauseSchedule": Write(self.pause),
            "ResumeSchedule": Write(self.resume),
            "DeleteSchedule": Write(self.delete),
            "RunSchedule": Write(self.run),
        }

    async def put(self, request: pb.PutScheduleRequest, caller: Caller) -> pb.PutScheduleResponse:
        checks = Checks()
        if not request.name:
            checks.add("name", "must not be empty")
        checks.text("name", request.name, most_bytes=MAX_NAME_BYTES)
        _check_timing(checks, request.timing)
        if request.spec.HasField("attach"):
            checks.add("spec.attach", "cannot be started again and again")
        if request.spec.HasField("external"):
            checks.add("spec.external", "cannot be started by a schedule: nobody would learn the key to report with")
        if request.spec.ByteSize() > MAX_SPEC_BYTES:
            checks.add("spec", f"is larger than {MAX_SPEC_BYTES} bytes; have the command read the rest from a file")
        if len(request.spec.tags) > MAX_MAP_KEYS - len(OWN_TAGS):
            checks.add("spec.tags", f"has more than {MAX_MAP_KEYS - len(OWN_TAGS)} keys; the schedule sets {len(OWN_TAGS)} more")
        for tag in OWN_TAGS:
            if tag in request.spec.tags:
                checks.add("spec.tags", f"{tag} is set by the schedule")
        checks.done()
        timing = request.timing
        wanted = Schedule(
            tenant=caller.tenant,
            name=request.name,
            schedule_id="",
            spec=spec_from_message(request.spec),
            timing=Timing(timing.every_seconds, timing.at_time, timing.cron, timing.timezone or "UTC"),
            missed_runs=MissedRuns(timing.missed_runs or MissedRuns.RUN_ONCE),
            max_missed=timing.max_missed_count or DEFAULT_MISSED,
            overlap=Overlap(timing.overlap or Overlap.ALLOW),
            end_time=timing.end_time,
            max_runs=timing.max_run_count,
            key_id=caller.key_id,
        )
        return pb.PutScheduleResponse(schedule=_message(await self._schedules.put(wanted)))

    async def list(self, request: pb.ListSchedulesRequest, caller: Caller) -> pb.ListSchedulesResponse:
        checks = Checks()
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            checks.add("page_size", f"must be from 0 (= {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
        checks.text("page_token", request.page_token)
        checks.done()
        found = self._schedules.of_tenant(caller.tenant)
        begin = bisect_right(found, request.page_token, key=lambda each: each.name)  # the last name of the page before
        end = begin + (request.page_size or DEFAULT_PAGE_SIZE)
        page = found[begin:end]
        return pb.ListSchedulesResponse(
            schedules=[_message(each) for each in page], next_page_token=page[-1].name if end < len(found) else ""
        )

    async def get(self, request: pb.GetScheduleRequest, caller: Caller) -> pb.GetScheduleResponse:
        return pb.GetScheduleResponse(schedule=_message(self._schedules.find(caller.tenant, request.name)))

    async def pause(self, request: pb.PauseScheduleRequest, caller: Caller) -> pb.PauseScheduleResponse:
        found = await self._schedules.set_pause(caller.tenant, request.name, paused=True, key_id=caller.key_id)
        return pb.PauseScheduleResponse(schedule=_message(found))

    async def resume(self, request: pb.ResumeScheduleRequest, caller: Caller) -> pb.ResumeScheduleResponse:
        found = await self._schedules.set_pause(caller.tenant, request.name, paused=False, key_id=caller.key_id)
        return pb.ResumeScheduleResponse(schedule=_message(found))

    async def delete(self, request: pb.DeleteScheduleRequest, caller: Caller) -> pb.DeleteScheduleResponse:
        await self._schedules.delete(caller.tenant, request.name)
        return pb.DeleteScheduleResponse()

    async def run(self, request: pb.RunScheduleRequest, caller: Caller) -> pb.RunScheduleResponse:
        checks = Checks()
        checks.text("idempotency_key", request.idempotency_key)
        checks.done()
        found, token, existing = await self._schedules.run_now(
            caller.tenant, request.name, idempotency_key=request.idempotency_key, quotas=caller.quotas
        )
        return pb.RunScheduleResponse(schedule=_message(found), token=token, existing=existing)


def _check_timing(checks: Checks, timing: pb.ScheduleTiming) -> None:
    which = timing.WhichOneof("when")
    if which is None:
        checks.add("timing", "needs one of every_seconds, at_time, cron")
    elif which == "every_seconds" and not 1 <= timing.every_seconds <= MAX_SECONDS:
        checks.add("timing.every_seconds", f"must be from 1 to {MAX_SECONDS:g} seconds")
    elif which == "at_time":
        checks.instant("timing.at_time", timing.at_time)
        if timing.at_time == 0:
            checks.add("timing.at_time", "must be after 1970")
    elif which == "cron" and (problem := cron_problem(timing.cron)):
        checks.add("timing.cron", problem)
    checks.text("timing.timezone", timing.timezone)
    if timing.timezone and which != "cron":
        checks.add("timing.timezone", "is of cron only")
    elif timing.timezone and (problem := timezone_problem(timing.timezone)):
        checks.add("timing.timezone", problem)
    checks.instant("timing.end_time", timing.end_time)
    checks.count("timing.max_run_count", timing.max_run_count, most=MOST_RUNS)
    checks.count("timing.max_missed_count", timing.max_missed_count, most=MAX_MISSED)
    if timing.missed_runs not in {0, *MissedRuns}:
        checks.add("timing.missed_runs", "is not a policy")
    if timing.overlap not in {0, *Overlap}:
        checks.add("timing.overlap", "is not a policy")


def _message(found: Schedule) -> pb.Schedule:
    when = found.timing
    timing = pb.ScheduleTiming(
        timezone=when.timezone,
        end_time=found.end_time,
        max_run_count=found.max_runs,
        missed_runs=int(found.missed_runs),  # type: ignore[arg-type]
        max_missed_count=found.max_missed,
        overlap=int(found.overlap),  # type: ignore[arg-type]
    )
    for field in ("every_seconds", "at_time", "cron"):
        if value := getattr(when, field):
            setattr(timing, field, value)
    return pb.Schedule(
        name=found.name,
        timing=timing,
        task_name=found.spec.name,
        queue=found.spec.queue,
        paused=found.paused,
        create_time=found.create_time,
        next_time=found.next_time,
        last_time=found.last_time,
        last_token=found.last_token,
        last_problem=found.last_problem,
        run_count=found.run_count,
        key_id=found.key_id,
    )
