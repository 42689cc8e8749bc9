"""Queues through both clients."""

from __future__ import annotations

import asyncio

import pytest

from taskmeter import Client, Outcome, State, SyncClient, errors
from taskmeter.client import QueueStatus
from taskmeter.v1 import task_pb2
from tests.daemon import Daemon


def test_the_sync_client_puts_lists_pauses_and_resumes(daemon: Daemon) -> None:
    with SyncClient(state_dir=daemon.state_dir) as client:
        made = client.put_queue("q", max_running_count=2, max_size=5)
        assert isinstance(made, QueueStatus)
        assert (made.max_running_count, made.max_size, made.paused) == (2, 5, False)
        for number in range(60):
            client.put_queue(f"n{number:02}")
        assert [queue.name for queue in client.list_queues()] == ["default", *(f"n{number:02}" for number in range(60)), "q"]
        assert client.pause_queue("q").paused
        token = client.start(
            ["true"], queue="q", priority=3, resources=task_pb2.Resources(cpu_cores=0.5, memory_bytes=2**20)
        ).token
        status = client.get_task_status(token)
        assert (status.state, status.queue, status.waiting_reason) == (State.NONE, "q", 'queue "q" is paused')
        assert client.resume_queue("q").paused is False
        assert client.wait_task(token).outcome == Outcome.SUCCEEDED
        with pytest.raises(errors.NotFoundError) as caught:
            client.pause_queue("nope")
        assert caught.value.reason == "QUEUE_NOT_FOUND"
        with pytest.raises(errors.InvalidArgumentError):
            client.put_queue("")
        with pytest.raises(errors.InvalidArgumentError):
            client.put_queue("q", max_running_count=-1)


def test_the_async_client_puts_lists_pauses_and_resumes(shared_daemon: Daemon) -> None:
    async def main() -> None:
        async with Client(state_dir=shared_daemon.state_dir) as client:
            assert (await client.put_queue("async", max_running_count=1)).max_running_count == 1
            assert (await client.pause_queue("async")).paused
            assert [queue.paused for queue in await client.list_queues() if queue.name == "async"] == [True]
            first = (await client.start(["true"], queue="async")).token
            second = (await client.start(["true"], after=[first])).token
            assert (await client.get_task_status(second)).waiting_reason == f"waits for task {first}"
            assert not (await client.resume_queue("async")).paused
            assert (await client.wait_task(second)).outcome == Outcome.SUCCEEDED

    asyncio.run(main())
