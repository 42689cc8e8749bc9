"""What real processes report, as a client sees it: counters, status, name and tags, of whatever process of the tree."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from taskmeter import State, SyncClient, TaskStatus
from tests.daemon import Daemon
from tests.integration.helpers import end_of, read, start_python
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def client(shared_daemon: Daemon) -> Iterator[SyncClient]:
    with SyncClient(state_dir=str(shared_daemon.state_dir)) as connected:
        yield connected


def test_the_work_is_told_its_name_tags_and_attempt(shared_daemon: Daemon) -> None:
    code = """
import json, taskmeter
context = taskmeter.get_task_context()
print(json.dumps([context.task_id, context.func_name, context.attempt, context.tags]))
raise SystemExit(1 if context.attempt == 0 else 0)
"""
    calls = shared_daemon.calls
    token = start_python(calls, code, name="näme", tags={"a": 'ü"'}, retry={"max_retries": 1})
    assert end_of(calls, token).exit_code == 0
    assert [json.loads(line) for line in read(calls, token).splitlines()] == [[token, "näme", 1, {"a": 'ü"'}]]


def test_tags_that_are_too_many_for_an_environment_are_left_out_and_the_task_runs(shared_daemon: Daemon) -> None:
    tags = {f"tag-{n}": "x" * 4000 for n in range(60)}
    token = start_python(shared_daemon.calls, "import taskmeter; print(taskmeter.current().tags)", tags=tags)
    assert end_of(shared_daemon.calls, token).exit_code == 0
    assert read(shared_daemon.calls, token) == b"{}\n"


def test_a_bar_of_tqdm_is_seen_while_it_runs(client: SyncClient) -> None:
    code = """
import sys, taskmeter
taskmeter.instrument()
from tqdm import tqdm
for n in tqdm(range(4), desc="turning"):
    if n == 3: sys.stdin.read() or __import__("signal").pause()
"""
    token = client.start([sys.executable, "-c", code]).token

    def seen() -> TaskStatus | None:
        found = client.get_task_status(token)
        return found if found.completed_count == 3 else None

    found = wait_until(seen, "three of four")
    assert (found.state, found.total_count, found.status) == (State.RUNNING, 4, "turning")
    client.terminate(token, immediate=True)


def test_what_every_process_of_the_tree_reports_adds_up(client: SyncClient) -> None:
    code = """
import multiprocessing, os, subprocess, sys, taskmeter
def work(n):
    with taskmeter.item(n, stage="s", size=10): pass
    if n == 7:
        try:
            with taskmeter.item("bad"): raise ValueError("x")
        except ValueError: pass
if __name__ == "__main__":
    taskmeter.progress(total=30, total_size=300)
    with multiprocessing.get_context("fork").Pool(3) as pool: pool.map(work, range(20), chunksize=1)
    for n in range(5):
        if os.fork() == 0:
            work(100 + n)
            os._exit(0)
        os.wait()
    subprocess.run([sys.executable, "-c", "import taskmeter; taskmeter.progress().add(4); taskmeter.count('pages', 3)"])
"""
    token = client.start([sys.executable, "-c", code]).token
    ended = client.wait_task(token)
    assert (ended.exit_code, ended.completed_count, ended.failed_count) == (0, 29, 1)
    assert (ended.total_count, ended.total_size, ended.completed_size) == (30, 300, 250)


def test_work_that_is_killed_in_the_middle_has_reported_all_it_had_done(client: SyncClient) -> None:
    code = "import os, taskmeter\nfor n in taskmeter.track(range(10)):\n    if n == 6: os.kill(os.getpid(), 9)"
    ended = client.wait_task(client.start([sys.executable, "-c", code]).token)
    assert (ended.exit_signal, ended.completed_count, ended.total_count) == (9, 6, 10)


def test_items_are_counted_and_told_with_what_they_raised(client: SyncClient) -> None:
    code = """
import taskmeter
for n in range(5):
    try:
        with taskmeter.item({"page": n}, stage="render", size=100):
            if n == 3: raise ValueError("no ink")
    except ValueError: pass
"""
    token = client.start([sys.executable, "-c", code]).token
    ended = client.wait_task(token)
    assert (ended.completed_count, ended.failed_count, ended.completed_size) == (4, 1, 400)
    stats = client.get_item_stats(token)
    assert (stats.total.completed, stats.total.failed, stats.event_count) == (4, 1, 10)
    item = client.get_item(token, {"page": 3})
    assert (item.error, item.metadata, item.stage) == (
        "ValueError: no ink",
        {"error": "no ink", "error_type": "ValueError"},
        "render",
    )


def test_messages_are_in_the_status_and_log_lines_in_the_record(client: SyncClient) -> None:
    code = """
import logging, taskmeter
taskmeter.instrument()
taskmeter.task_log("one"); taskmeter.warn("two"); taskmeter.error("three"); logging.error("four"); taskmeter.note("five")
"""
    token = client.start([sys.executable, "-c", code]).token
    ended = client.wait_task(token)
    assert (ended.warnings, ended.errors) == (["two"], ["three", "four"])
    assert (ended.warning_count, ended.error_count) == (1, 2)
    assert [line.partition(" ")[2] for line in client.get_task_record(token).logs] == ["one"]
