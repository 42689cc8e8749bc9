from __future__ import annotations

import asyncio

import pytest

from taskmeter.cli.bench import is_here
from taskmeter.cli.measure import Measure, most_tasks
from taskmeter.cli.workload import Room, side_by_side
from taskmeter.client.queues import QueueStatus
from taskmeter.client.status import ServerInfo
from taskmeter.errors import LimitError, PreconditionError
from taskmeter.v1 import admin_service_pb2, queue_service_pb2


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("unix:/run/taskmeter.sock", True), ("127.0.0.1:50051", True), ("127.8.9.1:1", True), ("[::1]:50051", True),
        ("ipv4:127.0.0.1:50051", True), ("ipv6:[::1]:50051", True), ("localhost:50051", True),
        ("192.0.2.1:50051", False), ("127.0.0.1.example.org:50051", False), ("localhost.example.org:1", False),
        ("[2001:db8::1]:50051", False), ("dns:///localhost:1", False), ("example.org", False),
    ],
)  # fmt: skip
def test_only_a_socket_and_a_loopback_address_are_on_this_host(target, here):
    assert is_here(target) is here


def room(*, running=0, waiting=0, **queue):
    info = ServerInfo.of(
        admin_service_pb2.GetServerInfoResponse(max_running_count=10, running_count=running, waiting_count=waiting)
    )
    others = QueueStatus.of(queue_service_pb2.Queue(name="other", paused=True, max_running_count=1))
    return Room.of(info, [others, QueueStatus.of(queue_service_pb2.Queue(name="default", **queue))])


def test_room_is_what_neither_the_daemon_nor_the_default_queue_would_let_wait():
    assert room() == Room(10, paused=False)
    assert room(running=7, waiting=1) == Room(2, paused=False)
    assert room(max_running_count=5, running_count=1, running=1) == Room(4, paused=False)
    for none in (room(running=12), room(waiting=10), room(paused=True), room(max_running_count=1, running_count=1)):
        with pytest.raises(PreconditionError):
            none.require()


def test_tasks_are_bounded_by_the_room():
    assert most_tasks(["start", "stop"], [1], 3).at_once == 3
    assert most_tasks(["status"], [1], 3) == (1, 1)
    assert most_tasks(["status", "events"], [1, 10], 1000).in_all < 1000


def test_percentiles_are_of_the_nearest_rank_and_a_rate_needs_a_time():
    measure = Measure("stop", "Terminate", 1, [0.01 * each for each in range(100)])
    assert (measure.percentile(50), measure.percentile(99), measure.per_second) == (0.5, 0.99, None)
    measure.seconds = 2.0
    assert measure.as_json()["perSecond"] == 50


async def test_the_first_failure_ends_what_goes_on_beside_it():
    running = 0

    async def work() -> None:
        nonlocal running
        running += 1
        try:
            if running == 3:
                raise LimitError("no more")
            await asyncio.Event().wait()
        finally:
            running -= 1

    with pytest.raises(LimitError):
        await side_by_side(3, work)
    assert running == 0
