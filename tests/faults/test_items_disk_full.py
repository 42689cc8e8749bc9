"""G11: a full disk under the daemon delays what the work reports, one under the work costs some of it; the work goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.faults.test_disk_full import fill, limit_file_size, small_disk
from tests.faults.test_items_lost import ITEM, counted
from tests.integration.helpers import end_of, events, read, wait_for_output
from tests.integration.test_items import let_go, report
from tests.waiting import wait_until

__all__ = ["small_disk"]

COUNT = 30_000
AT_LEAST = 20_000
WORK = f"""
print("up", flush=True)
until("go")
for i in range({COUNT}):
    log.item(i, 3, metadata={{"k": "v" * 300}})
print("done", log.dropped_count, flush=True)
until("end")
for i in range(100):
    log.item("after", 2, attempt=i)
print("dropped", log.dropped_count, flush=True)
"""


def numbers(daemon: Daemon, token: str) -> list[Any]:
    found = events(daemon.calls, token, kinds=(ITEM,))
    return [event.item_changed.item_id.number for event in found if event.item_changed.item_id.WhichOneof("id") == "number"]


@pytest.mark.guarantee("G11")
def test_what_the_daemon_cannot_store_waits_in_the_log_and_comes_once(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    token = report(daemon.calls, WORK)
    wait_for_output(daemon.calls, token, b"up")
    limit_file_size(daemon.pid, (daemon.state_dir / "taskmeter.db-wal").stat().st_size)
    let_go(daemon, token)
    wait_for_output(daemon.calls, token, b"done 0")
    wait_until(lambda: "cannot be read or stored (DISK_FULL)" in daemon.log(), "the daemon says that it cannot store")
    assert counted(daemon.calls, token) < COUNT
    limit_file_size(daemon.pid, -1)
    wait_until(lambda: counted(daemon.calls, token) == COUNT, "all is stored", 60)
    let_go(daemon, token, "end")
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
    assert numbers(daemon, token) == list(range(COUNT))


@pytest.mark.root
@pytest.mark.guarantee("G11")
def test_work_on_a_full_disk_goes_on_and_what_it_could_not_report_is_said(small_disk: Any) -> None:
    with Daemon(state_dir=small_disk / "state") as daemon:
        token = report(daemon.calls, WORK)
        wait_for_output(daemon.calls, token, b"up")
        fill(small_disk / "filler")
        let_go(daemon, token)
        wait_for_output(daemon.calls, token, b"done")
        (small_disk / "filler").unlink()
        wait_until((daemon.state_dir / "ballast").exists, "the ballast is back", seconds=20)
        let_go(daemon, token, "end")
        ended = end_of(daemon.calls, token, seconds=60)
        assert ended.outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
        found = numbers(daemon, token)
        assert found == sorted(set(found))
        assert len(found) < COUNT
        dropped = int(read(daemon.calls, token).rpartition(b" ")[2])
        assert dropped >= COUNT - len(found)
        assert any(f"{dropped} events" in text for text in ended.warnings), list(ended.warnings)
