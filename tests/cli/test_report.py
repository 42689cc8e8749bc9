"""`taskmeter report`, as shell scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metercore.itemlog import ItemLogReader
from metercore.report import parse_report
from tests.daemon import clean_environment, run_cli
from tests.integration.helpers import end_of, events, status_of
from tests.waiting import wait_until

TM = f"{sys.executable} -m taskmeter report"
PATH_OF_TESTS = os.pathsep.join(path for path in sys.path if path)


def run_script(daemon, script, **fields):
    """Run a shell script as a task to its end."""
    spec = {"command": {"argv": ["sh", "-ec", script]}, "env": {"PYTHONPATH": PATH_OF_TESTS}, **fields}
    token = daemon.calls.StartTask(spec=spec).token
    ended = end_of(daemon.calls, token, 60)
    assert ended.exit_code == 0, b"".join(part.data for part in daemon.calls.ReadFile(token=token, path="stderr"))
    return ended


@pytest.fixture
def task(tmp_path):
    """The environment of a task whose directory is `task`."""
    (tmp_path / "task").mkdir()
    return clean_environment(TASKMETER_TASK_DIR=str(tmp_path / "task"), TASKMETER_TOKEN="tk_x", PYTHONPATH=PATH_OF_TESTS)


def reported(env):
    return parse_report(Path(env["TASKMETER_TASK_DIR"], "report").read_bytes())


def test_a_script_says_how_far_it_is(shared_daemon):
    script = f"""
{TM} --total 4 --total-size 4k --status 'counting' --object first
{TM} --add --size 1k --count rows=5
{TM} --add 2 --size 2k --count rows
{TM} --fail --size 1k --object last
"""
    ended = run_script(shared_daemon, script)
    assert (ended.total_count, ended.completed_count, ended.failed_count) == (4, 3, 1)
    assert (ended.total_size, ended.completed_size, ended.failed_size) == (4096, 3072, 1024)
    assert (ended.status, ended.current_object) == ("counting", "last")


def test_in_a_task_no_daemon_is_needed_and_no_grpc_is_loaded(task):
    code = """
import sys
from taskmeter.cli.main import run
assert run(["report", "--add", "3", "--ready"]) == 0
assert not {"grpc", "asyncio", "google.protobuf"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], env=task, check=True)
    assert (reported(task).completed_count, reported(task).ready) == (3, True)


def test_messages_and_items_need_no_daemon_either(task):
    done = run_cli(["report", "--log", "a line", "--warning", "low", "--item", "a", "--item-status", "in-progress"], task)
    assert done.returncode == 0, done.stderr
    reader = ItemLogReader(f"{task['TASKMETER_TASK_DIR']}/items", {})
    batch = reader.read()
    assert batch is not None
    assert [(level, text) for level, text, _ in batch.messages()] == [(2, "low"), (4, "a line")]
    assert [(key, status) for key, _, status, *_ in batch.items()] == [(b"sa", 2)]
    reader.close()


def test_many_at_once_lose_nothing(task):
    many = [
        subprocess.Popen([sys.executable, "-m", "taskmeter", "report", "--add", "--count", "rows=2"], env=task) for _ in range(8)
    ]
    assert [one.wait(60) for one in many] == [0] * 8
    assert (reported(task).completed_count, reported(task).custom) == (8, {"rows": 16})


def test_size_alone_counts_bytes_done(task):
    assert run_cli(["report", "--size", "5k"], task).returncode == 0
    assert (reported(task).completed_count, reported(task).completed_size) == (0, 5120)


def test_messages_and_items_become_events(shared_daemon):
    script = f"""
{TM} --message 'a note' --warning 'a warning' --error 'an error' --log 'a line'
{TM} --item a.pdf --stage ocr --item-status failed --item-error 'no text' --worker w1 --item-size 9
"""
    token = run_script(shared_daemon, script).token

    def found():
        seen = events(shared_daemon.calls, token, kinds=[2, 4])
        return seen if len(seen) >= 5 else None

    seen = wait_until(found, "all of them")
    texts = [(event.message.level, event.message.text) for event in seen if event.HasField("message")]
    assert texts == [(1, "a note"), (2, "a warning"), (3, "an error"), (4, "a line")]
    [item] = [event.item_changed for event in seen if event.HasField("item_changed")]
    assert (item.item_id.text, item.stage, item.status, item.error) == ("a.pdf", "ocr", 4, "no text")
    assert (item.worker, item.size) == ("w1", 9)


def test_external_work_reports_to_the_daemon_and_ends(shared_daemon):
    answer = shared_daemon.calls.StartTask(spec={"external": {"kind": "shell"}})
    env = clean_environment(
        TASKMETER_TARGET=shared_daemon.target, TASKMETER_TOKEN=answer.token, TASKMETER_REPORT_KEY=answer.report_key
    )
    assert run_cli(["report", "--add", "2", "--status", "x" * 600, "--log", "y" * 5000], env).returncode == 0
    done = run_cli(["report", "--item", "a", "--exit", "3", "--json"], env)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"reportedTo": "daemon", "token": answer.token})
    ended = end_of(shared_daemon.calls, answer.token)
    assert (ended.exit_code, ended.completed_count, ended.status) == (3, 2, "x" * 500)
    refused = run_cli(["report", "--add"], env)
    assert refused.returncode == 3
    assert "ended" in refused.stderr
    wrong = run_cli(["report", "--add"], {**env, "TASKMETER_REPORT_KEY": answer.report_key[:-1] + "!"})
    assert wrong.returncode == 3
    gone = run_cli(["report", "--add"], {**env, "TASKMETER_TARGET": "unix:/tmp/report-no-such.sock"})
    assert gone.returncode == 4


def test_who_owns_a_task_can_report_about_it_from_outside(shared_daemon):
    token = shared_daemon.calls.StartTask(spec={"command": {"argv": ["sleep", "600"]}}).token
    assert shared_daemon.cli("report", "--token", token, "--add", "4").returncode == 0
    wait_until(lambda: status_of(shared_daemon.calls, token).completed_count == 4, "the report")
    assert shared_daemon.cli("report", "--token", token, "--exit", "0").returncode == 2
    shared_daemon.calls.Terminate(token=token, immediate=True)


def test_outside_a_task_a_script_runs_on_and_with_strict_it_is_told():
    env = clean_environment()
    done = run_cli(["report", "--add"], env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(run_cli(["report", "--add", "--json"], env).stdout) == {"reportedTo": "nobody", "token": ""}
    strict = run_cli(["report", "--add", "--strict"], env)
    assert strict.returncode == 3
    assert "not in a task" in strict.stderr
    assert run_cli(["report", "--exit", "0"], env).returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--add", "-1"],
        ["--add", "many"],
        ["--size", "large"],
        ["--total", "1.5"],
        ["--count", "=3"],
        ["--count", "rows=-1"],
        ["--count", "x" * 25],
        ["--stage", "ocr"],
        ["--item", ""],
        ["--item", "x" * 1025],
        ["--item", "a", "--item-status", "lost"],
        ["--exit", "-1"],
    ],
)
def test_wrong_usage_is_said_and_reports_nothing(task, arguments):
    done = run_cli(["report", *arguments], task)
    assert done.returncode == 2
    assert "Error:" in done.stderr or "error:" in done.stderr
    assert not Path(task["TASKMETER_TASK_DIR"], "report").exists()


def test_where_the_block_cannot_be_written_it_is_an_error(task):
    os.mkfifo(Path(task["TASKMETER_TASK_DIR"], "report"))
    done = run_cli(["report", "--add"], task)
    assert done.returncode == 1
    assert "report block" in done.stderr


def test_it_starts_quickly(task):
    """Half of this is the interpreter; a loop over files can call it for each."""
    command = [sys.executable, "-m", "taskmeter", "report", "--add"]
    spans = []
    for _ in range(8):
        begin = time.monotonic()
        subprocess.run(command, env=task, check=True)
        spans.append(time.monotonic() - begin)
    assert min(spans) < 0.4
