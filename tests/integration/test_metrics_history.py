"""A task's use over time: live, after its end, over deaths of the daemon, in other resolutions, and asked for wrongly."""

from __future__ import annotations

import shutil
import time
from typing import Any

import grpc
import pytest

from taskmeter.client import Client, MetricsHistory, SyncClient
from taskmeter.model.ids import new_token
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start, start_python, wait_for_output
from tests.waiting import wait_until

MIB = 2**20

PHASES = """
import time
block = bytearray(b"x") * (50 * 2**20)
begin = time.process_time()
while time.process_time() - begin < 2.0: pass
del block
print("rested", flush=True)
import signal; signal.pause()
"""


def history(calls: Calls, token: str, **fields: Any) -> Any:
    return calls.GetMetricsHistory(token=token, **fields)


def wait_for_points(calls: Calls, token: str, count: int) -> list[Any]:
    return wait_until(lambda: len(found := history(calls, token).points) >= count and list(found), f"{count} points", 60.0)


def test_a_busy_and_an_idle_time_show_live_and_after_the_end(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    before = time.time()
    token = start_python(calls, PHASES)
    wait_for_output(calls, token, b"rested")
    busy_count = len(history(calls, token).points)
    live = wait_for_points(calls, token, busy_count + 4)
    assert before - 1.0 <= live[0].time <= time.time()
    assert max(point.cpu_cores_max for point in live[:busy_count]) > 0.2
    assert max(point.cpu_cores for point in live[-2:]) < 0.1
    assert max(point.memory_bytes_max for point in live) > 50 * MIB
    assert live[-1].memory_bytes < 40 * MIB
    calls.Terminate(token=token, immediate=True)
    ended = end_of(calls, token)
    answer = history(calls, token)
    assert answer.resolution_seconds == 1.0
    assert [point.time for point in answer.points[: len(live) - 1]] == [point.time for point in live[:-1]]
    assert sum(point.cpu_cores for point in answer.points) == pytest.approx(ended.metrics.cpu_time_ns * 1e-9, rel=0.5)
    assert not answer.points[0].HasField("gpu_memory_bytes"), "what cannot be measured is absent"


def test_steps_are_as_long_as_wanted_or_the_next_longer(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "60")
    points = wait_for_points(calls, token, 4)
    for wanted, given in ((0.0, 1.0), (0.2, 1.0), (5.0, 10.0), (61.0, 900.0), (86400.0, 7200.0)):
        answer = history(calls, token, resolution_seconds=wanted)
        assert answer.resolution_seconds == given
        assert answer.points
    first, last = points[1].time, points[2].time + 0.5
    found = history(calls, token, from_time=first, to_time=last).points
    assert [point.time for point in found] == [point.time for point in points[1:3]]
    assert not history(calls, token, from_time=time.time() + 1000).points
    calls.Terminate(token=token, immediate=True)


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"from_time": -1.0}, "from_time"),
        ({"from_time": float("nan")}, "from_time"),
        ({"from_time": time.time() * 1000}, "from_time"),
        ({"to_time": float("inf")}, "to_time"),
        ({"from_time": 20.0, "to_time": 10.0}, "from_time"),
        ({"resolution_seconds": -1.0}, "resolution_seconds"),
        ({"resolution_seconds": 86401.0}, "resolution_seconds"),
        ({"resolution_seconds": float("nan")}, "resolution_seconds"),
        ({"token": ""}, "token"),
    ],
)
def test_bad_fields_are_named(shared_daemon: Daemon, fields: dict[str, Any], bad: str) -> None:
    failure = failure_of(shared_daemon.calls.GetMetricsHistory, **{"token": new_token(), **fields})
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "FIELD_INVALID"
    assert set(failure.fields) == {bad}


def test_an_unknown_token_is_not_found(shared_daemon: Daemon) -> None:
    assert failure_of(shared_daemon.calls.GetMetricsHistory, token="tk_nothing").reason == "TASK_NOT_FOUND"


def test_a_task_that_waits_or_could_not_start_has_an_empty_history(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "/nonexistent")
    end_of(calls, token)
    answer = history(calls, token)
    assert (len(answer.points), answer.resolution_seconds) == (0, 0.0)


def test_the_history_goes_on_after_kill_9_and_says_where_nobody_looked(daemon: Daemon) -> None:
    calls = daemon.calls
    token = start(calls, "sleep", "600")
    wait_for_points(calls, token, 13)  # the first ten are on disk
    daemon.kill9()
    daemon.start()
    calls = daemon.calls
    points = wait_until(
        lambda: list(found) if (found := history(calls, token).points) and any(point.gap for point in found) else None,
        "it goes on",
        30.0,
    )
    times = [point.time for point in points]
    assert times == sorted(set(times))
    assert not any(point.gap for point in points[:9])
    daemon.stop()
    daemon.start()
    again = history(daemon.calls, token).points
    assert [point.time for point in again][: len(times) - 1] == times[:-1], "a daemon that ends in order has written all"
    daemon.calls.Terminate(token=token, immediate=True)
    end_of(daemon.calls, token)
    assert len(history(daemon.calls, token).points) >= len(again)


def test_a_lost_directory_is_an_empty_history(daemon: Daemon) -> None:
    calls = daemon.calls
    token = start(calls, "sleep", "1.5")
    end_of(calls, token)
    assert history(calls, token).points
    for path in (daemon.state_dir / "tasks").glob(f"*/{token}"):
        shutil.rmtree(path)
    assert list(history(calls, token).points) == []


async def test_both_clients_have_it(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sleep", "1.6")
    end_of(calls, token)

    def check(found: MetricsHistory) -> None:
        assert found.resolution_seconds == 10.0
        [point] = found.points
        assert point.memory_bytes > 0 and point.cpu_cores >= 0.0 and point.gap is False
        assert point.gpu_memory_bytes is None or point.gpu_memory_bytes >= 0
        assert point["cpuCores"] == point.cpu_cores

    with SyncClient(shared_daemon.target, key=shared_daemon.key) as sync:
        check(sync.metrics_history(token, resolution_seconds=10.0))
    async with Client(shared_daemon.target, key=shared_daemon.key) as client:
        check(await client.metrics_history(token, resolution_seconds=10.0))
