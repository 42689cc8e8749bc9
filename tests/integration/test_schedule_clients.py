"""Schedules through both clients."""

from __future__ import annotations

import asyncio

import pytest

from taskmeter import Client, SyncClient, errors
from taskmeter.client import ScheduleRun, ScheduleStatus
from taskmeter.client.requests import command_spec
from taskmeter.v1.schedule_service_pb2 import ScheduleTiming
from tests.daemon import Daemon

HOURLY = ScheduleTiming(every_seconds=3600.0)


def test_the_sync_client_puts_lists_pauses_resumes_runs_and_deletes(daemon: Daemon) -> None:
    with SyncClient(state_dir=daemon.state_dir) as client:
        made = client.put_schedule("s", command_spec(["true"], name="n"), HOURLY)
        assert isinstance(made, ScheduleStatus)
        assert (made.name, made.task_name, made.timing["everySeconds"], made.key_id) == ("s", "n", 3600.0, "admin")
        for number in range(60):
            client.put_schedule(f"n{number:02}", command_spec(["true"]), HOURLY)
        assert [each.name for each in client.list_schedules()] == [*(f"n{number:02}" for number in range(60)), "s"]
        assert client.pause_schedule("s").paused
        ran = client.run_schedule("s", idempotency_key="k")
        assert isinstance(ran, ScheduleRun)
        assert (ran.existing, client.run_schedule("s", idempotency_key="k").token) == (False, ran.token)
        assert client.get_task_status(ran.token).tags["taskmeter.schedule"] == "s"
        assert client.get_schedule("s").last_token == ran.token
        assert client.resume_schedule("s").paused is False
        for name in ("s", *(f"n{number:02}" for number in range(60))):
            client.delete_schedule(name)
        with pytest.raises(errors.NotFoundError) as caught:
            client.get_schedule("s")
        assert caught.value.reason == "SCHEDULE_NOT_FOUND"
        with pytest.raises(errors.InvalidArgumentError):
            client.put_schedule("", command_spec(["true"]), HOURLY)


def test_the_async_client_does_the_same(daemon: Daemon) -> None:
    async def main() -> None:
        async with Client(state_dir=daemon.state_dir) as client:
            made = await client.put_schedule("a", command_spec(["true"]), ScheduleTiming(cron="0 3 * * *"))
            assert (made.timing["cron"], made.timing["timezone"]) == ("0 3 * * *", "UTC")
            assert (await client.pause_schedule("a")).paused
            assert not (await client.resume_schedule("a")).paused
            ran = await client.run_schedule("a", idempotency_key="async")
            assert (await client.run_schedule("a", idempotency_key="async")).existing
            assert (await client.get_schedule("a")).last_token == ran.token
            assert [each.name for each in await client.list_schedules()] == ["a"]
            await client.delete_schedule("a")
            assert await client.list_schedules() == []

    asyncio.run(main())
