"""G3, G4, G5, G11: a database that is missing or damaged is built anew from the task directories, and nothing else is lost."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, moves, read, start, status_of, wait_for_output, wait_for_state
from tests.waiting import wait_until

RUNNING, NONE = task_pb2.TASK_STATE_RUNNING, task_pb2.TASK_STATE_NONE


def checkpointed(path: Path) -> bytes:
    """Return the database, all that is in the write-ahead log included, and drop the log."""
    wal = path.with_name(path.name + "-wal")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    assert not wal.exists() or not wal.stat().st_size
    return path.read_bytes()


def delete(path: Path) -> None:
    for each in path.parent.glob(path.name + "*"):
        each.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, len(checkpointed(path)) // 2 // 4096 * 4096)


def empty(path: Path) -> None:
    checkpointed(path)
    os.truncate(path, 0)


def garble(path: Path) -> None:
    data = checkpointed(path)
    path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))


def garble_header(path: Path) -> None:
    data = checkpointed(path)
    path.write_bytes(os.urandom(4096) + data[4096:])


@pytest.mark.parametrize("cgroup", ["auto", "off"])
@pytest.mark.parametrize("damage", [delete, truncate, empty, garble, garble_header])
def test_g4_g5_g11_tasks_outlive_their_database(
    make_daemon: Callable[..., Daemon], damage: Callable[[Path], None], cgroup: str
) -> None:
    daemon = make_daemon("--max-running", "3", "--cgroup", cgroup).start()
    calls = daemon.calls
    go = daemon.home / "go"
    failed = start(calls, "sh", "-c", "echo out; exit 7", name="failed", tags={"a": "b"}, metadata={"c": "d"})
    succeeded = calls.StartTask(spec={"command": {"argv": ["true"]}}, idempotency_key="held").token
    assert end_of(calls, failed).exit_code == 7 and end_of(calls, succeeded).exit_code == 0
    signaled = start(calls, "sh", "-c", "kill -9 $$")
    stopped = start(calls, "sleep", "600")
    timed_out = start(calls, "sleep", "600", timeout_seconds=0.2)
    missing = start(calls, "/no/such/command")
    wait_for_state(calls, stopped, RUNNING)
    calls.Terminate(token=stopped)
    before = {token: end_of(calls, token) for token in (failed, succeeded, signaled, stopped, timed_out, missing)}
    running = start(calls, "sh", "-c", f"echo up; while [ ! -e {go} ]; do sleep 0.05; done; exit 5")
    ends_meanwhile = start(calls, "sh", "-c", f"echo up; while [ ! -e {daemon.home}/end ]; do sleep 0.05; done; exit 6")
    wait_for_output(calls, running, b"up")
    wait_for_output(calls, ends_meanwhile, b"up")
    stays = start(calls, "sleep", "600")
    wait_for_state(calls, stays, RUNNING)
    first, second = (start(calls, "sh", "-c", f"echo {name}", name=name) for name in ("first", "second"))
    cancelled = start(calls, "touch", str(daemon.home / "never"))
    calls.Terminate(token=cancelled)
    old_store, head = calls.GetServerInfo().store_id, calls.GetServerInfo().head_seq
    daemon.kill9()
    (daemon.home / "end").touch()
    wait_until(lambda: "shim" not in " ".join(line for line in processes.of_state_dir(daemon.state_dir).values()
               if ends_meanwhile in line), "it ended without a daemon")  # fmt: skip
    damage(daemon.state_dir / "taskmeter.db")
    daemon.start()
    calls = daemon.calls

    assert calls.GetServerInfo().store_id != old_store
    failure = failure_of(calls.StreamEvents, resume_token=f"{old_store}.{head}")
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STORE_CHANGED")
    for token, old in before.items():
        new = end_of(calls, token)
        for name in ("state", "outcome", "exit_code", "exit_signal", "exit_message", "end_time", "start_time", "create_time"):
            assert getattr(new, name) == getattr(old, name), (name, new, old)
        assert new.metrics.cpu_time_ns == old.metrics.cpu_time_ns and new.tokens.total == pytest.approx(old.tokens.total)
        assert new.name == old.name and new.tags == old.tags and new.metadata == old.metadata
    assert read(calls, failed) == b"out\n"
    late = end_of(calls, ends_meanwhile)
    assert (late.outcome, late.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 6)
    assert status_of(calls, running).state == RUNNING and status_of(calls, stays).state == RUNNING
    again = calls.StartTask(spec={"command": {"argv": ["true"]}}, idempotency_key="held")
    assert again.token == succeeded, "G2: the key still answers"
    assert end_of(calls, cancelled).outcome == task_pb2.TASK_OUTCOME_CANCELLED
    go.touch()
    ended = end_of(calls, running)
    assert (ended.outcome, ended.exit_code) == (task_pb2.TASK_OUTCOME_FAILED, 5)
    assert read(calls, running) == b"up\n", "it ran once"
    assert moves(calls, running) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    for token, text in ((first, b"first\n"), (second, b"second\n")):
        assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_SUCCEEDED and read(calls, token) == text
    assert not (daemon.home / "never").exists(), "what was cancelled while it waited is not run"
    calls.Terminate(token=stays, immediate=True)
    assert end_of(calls, stays).outcome == task_pb2.TASK_OUTCOME_CANCELLED
    if cgroup == "off":
        wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "G6: no process is left")

    report = json.loads((daemon.state_dir / "rebuilt.json").read_text())
    assert report["launched_count"] + report["waiting_count"] == calls.ListTasks(page_size=1).total_count == 12
    aside = list(daemon.state_dir.glob("taskmeter.db.damaged-*"))
    assert bool(aside) is (damage not in {delete, empty})
    assert "built anew" in daemon.log()
    doctor = json.loads(daemon.cli("doctor", "--json").stdout)
    [finding] = [each for each in doctor if each["name"] == "rebuilt"]
    assert finding["grade"] == "less" and "built anew with 12 tasks" in finding["text"]
    daemon.restart()
    assert daemon.calls.ListTasks(page_size=1).total_count == 12, "the new database is complete"


def test_g4_g11_a_database_that_is_damaged_while_it_is_used_is_replaced_and_the_daemon_serves_on(daemon: Daemon) -> None:
    daemon.allow_tracebacks = True
    calls = daemon.calls
    running = start(calls, "sleep", "600")
    wait_for_state(calls, running, RUNNING)
    metadata = {str(key): "x" * 4000 for key in range(10)}
    for token in [start(calls, "true", metadata=metadata) for _ in range(40)]:
        end_of(calls, token)  # what is still being written would mend the pages from the writer's cache
    old_store, pid = calls.GetServerInfo().store_id, daemon.info["pid"]
    path = daemon.state_dir / "taskmeter.db"
    for each in (path, path.with_name(path.name + "-wal")):
        with each.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(max(0, each.stat().st_size - 4096)))

    seen = set()

    def replaced() -> bool:
        try:
            start(daemon.calls, "true")
            daemon.calls.ListTasks(page_size=1000)
            return bool(daemon.calls.GetServerInfo().store_id != old_store)
        except grpc.RpcError as error:
            seen.add(error.code())
            return False

    wait_until(replaced, "it serves with a new database", 20)
    assert seen <= {grpc.StatusCode.UNAVAILABLE}
    assert daemon.info["pid"] == pid, "for whoever supervises it nothing has changed"
    assert status_of(daemon.calls, running).state == RUNNING
    daemon.calls.Terminate(token=running)
    assert end_of(daemon.calls, running).outcome == task_pb2.TASK_OUTCOME_CANCELLED


def test_a_daemon_that_dies_while_it_builds_the_database_anew_begins_again(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    tokens = {start(daemon.calls, "true") for _ in range(5)}
    for token in tokens:
        end_of(daemon.calls, token)
    daemon.kill9()
    # As it is left in the middle: a new database with none of the tasks yet, and the marker.
    delete(daemon.state_dir / "taskmeter.db")
    os.rename(daemon.state_dir / "tasks", daemon.state_dir / "hidden")
    daemon.start().kill9()
    os.rmdir(daemon.state_dir / "tasks")
    os.rename(daemon.state_dir / "hidden", daemon.state_dir / "tasks")
    (daemon.state_dir / "rebuilding").write_text(json.dumps({"why": "the database was missing", "aside": ""}))
    daemon.start()
    assert {task.token for task in daemon.calls.ListTasks().tasks} == tokens
    assert not (daemon.state_dir / "rebuilding").exists()


def test_a_directory_without_a_sound_record_is_left_alone_and_said(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    good, bad = start(daemon.calls, "true"), start(daemon.calls, "true")
    for token in (good, bad):
        end_of(daemon.calls, token)
    daemon.kill9()
    [record] = daemon.state_dir.glob(f"tasks/*/{bad}/0/spec")
    data = bytearray(record.read_bytes())
    data[len(data) // 2] ^= 1
    record.write_bytes(data)
    delete(daemon.state_dir / "taskmeter.db")
    daemon.start()
    assert [task.token for task in daemon.calls.ListTasks().tasks] == [good]
    assert record.exists() and bad in daemon.log() and "no sound record" in daemon.log()
