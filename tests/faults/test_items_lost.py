"""What becomes of items when a supervisor or the database is lost in the middle, and when their events are deleted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.test_shim_killed import shim_of
from tests.faults.test_store_rebuilt import lose_database
from tests.integration.helpers import end_of, events, failure_of, start, wait_for_output
from tests.integration.test_items import let_go, report
from tests.waiting import wait_until

COUNT = 2000
STATE, ITEM = 1, 2
HALVES = f"""
for i in range({COUNT}):
    log.item(i, 2)
print("half", flush=True)
until("go")
for i in range({COUNT}):
    log.item(i, 3)
print("whole", flush=True)
until("end")
"""


def counted(calls: Calls, token: str) -> int:
    return int(calls.GetItemStats(token=token).event_count)


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("daemon_too", [False, True], ids=["shim", "shim and daemon"])
def test_all_that_a_lost_task_had_reported_comes_before_its_end(daemon: Daemon, daemon_too: bool) -> None:
    token = report(daemon.calls, HALVES)
    wait_for_output(daemon.calls, token, b"half")
    wait_until(lambda: counted(daemon.calls, token) == COUNT, "the first half is stored")
    shim = shim_of(daemon, token)
    if daemon_too:
        daemon.kill9()
        let_go(daemon, token)
        [out] = daemon.state_dir.glob(f"tasks/*/{token}/0/task/stdout")
        wait_until(lambda: b"whole" in out.read_bytes(), "the second half is written")
        os.kill(shim, signal.SIGKILL)
        daemon.start()
    else:
        let_go(daemon, token)
        wait_for_output(daemon.calls, token, b"whole")
        os.kill(shim, signal.SIGKILL)
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_LOST
    kinds = [event.WhichOneof("payload") for event in events(daemon.calls, token, kinds=(STATE, ITEM))]
    assert kinds.count("item_changed") == 2 * COUNT
    assert kinds[-1] == "state_changed"
    assert daemon.calls.GetItemStats(token=token).total.completed == COUNT


def test_with_the_database_go_the_items_whose_segments_were_removed_and_no_others(daemon: Daemon) -> None:
    """There is no second copy of what was stored; what the work reports after that is there, each event once."""
    token = report(daemon.calls, HALVES)
    wait_until(lambda: counted(daemon.calls, token) == COUNT, "the first half is stored")
    calls = lose_database(daemon)
    let_go(daemon, token)
    wait_until(lambda: calls.GetItemStats(token=token).total.completed == COUNT, "the second half is stored")
    let_go(daemon, token, "end")
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
    seen = [(event.item_changed.item_id.number, event.item_changed.status) for event in events(calls, token, kinds=(ITEM,))]
    assert len(set(seen)) == len(seen)
    assert {(number, 3) for number in range(COUNT)} <= set(seen)
    assert counted(calls, token) == len(seen)


def test_a_history_says_how_much_of_it_is_no_longer_kept(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[retention]\ninterval_seconds = 0.1\nevents_max_count = 5\n")
    daemon = make_daemon("--config", str(config)).start()
    token = report(daemon.calls, "for i in range(300): log.item('one', 2, attempt=i)\nuntil('end')")
    wait_until(lambda: counted(daemon.calls, token) == 300, "all is stored")
    for _ in range(3):
        end_of(daemon.calls, start(daemon.calls, "true"))
    item_id = {"text": "one"}
    wait_until(lambda: daemon.calls.GetItemHistory(token=token, item_id=item_id).forgotten_count == 300, "its events are deleted")
    assert not daemon.calls.GetItemHistory(token=token, item_id=item_id).events
    item = daemon.calls.GetItem(token=token, item_id=item_id).item
    assert (item.attempt, item.event_count) == (299, 300)
    assert failure_of(daemon.calls.StreamEvents, tokens=[token], kinds=[ITEM], from_seq=1).reason == "EVENTS_COMPACTED"
    let_go(daemon, token, "end")
    assert end_of(daemon.calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED
