from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
INCLUDE = EXAMPLES.parent / "native" / "include"


def status(daemon, token="@last"):
    return json.loads(daemon.cli("status", token, "--json").stdout)


def test_crunch_shows_children_progress_and_output(shared_daemon):
    command = [sys.executable, str(EXAMPLES / "crunch.py"), "--seconds", "1", "--workers", "2"]
    result = shared_daemon.cli("run", "--", *command)
    assert result.returncode == 0, result.stderr
    assert "pieces of" in result.stdout
    assert "primes in" in result.stdout
    found = status(shared_daemon)
    assert found["name"] == "crunch.py"
    assert found["completedCount"] == found["totalCount"] > 0
    assert found["metrics"]["cpu_time_ns"] > 0.5e9


def test_memory_is_billed_once_however_many_children_share_it(shared_daemon):
    command = [sys.executable, str(EXAMPLES / "memory.py"), "--mib", "100", "--seconds", "4"]
    result = shared_daemon.cli("run", "-q", "--", *command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("done\n")
    peak = status(shared_daemon)["metrics"]["peak_cpu_memory_mb"]
    assert 95 < peak < 200


def test_pipeline_is_one_task(shared_daemon):
    result = shared_daemon.cli("run", "-q", "--", "sh", str(EXAMPLES / "pipeline.sh"), "1000")
    assert result.returncode == 0
    assert "digit 1: 301" in result.stdout
    assert result.stderr == "done\n"


def test_a_shell_script_reports_itself(shared_daemon, tmp_path):
    for name, text in (("a", "1\n2\n"), ("b", "3\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "c").mkdir()
    result = shared_daemon.cli("run", "-q", "--", "sh", str(EXAMPLES / "report.sh"), str(tmp_path), env=on_the_path())
    assert result.returncode == 0, result.stderr
    found = status(shared_daemon)
    assert (found["totalCount"], found["completedCount"], found["failedCount"]) == (3, 2, 1)
    assert (found["completedSize"], found["status"], found["currentObject"]) == (6, "done", str(tmp_path / "c"))


def on_the_path():
    """An environment in which `taskmeter` is found, as it is once it has been installed."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_stubborn_ends_by_force_and_leaves_nothing(shared_daemon):
    token = shared_daemon.cli("submit", "--", sys.executable, str(EXAMPLES / "stubborn.py")).stdout.strip()
    wait_until(lambda: shared_daemon.cli("logs", token).stdout.count("here to stay") == 2, "parent and child")
    assert shared_daemon.cli("stop", "--grace", "500ms", token).returncode == 0
    found = status(shared_daemon, token)
    assert (found["outcome"], found["exitSignal"], found["unkillablePids"]) == (3, 9, [])
    pids = [int(line.split()[1]) for line in shared_daemon.cli("logs", token).stdout.splitlines() if "here to stay" in line]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_bars_of_a_plain_script_are_progress_and_its_warnings_are_the_task_s(shared_daemon):
    result = shared_daemon.cli("run", "-q", "--", sys.executable, str(EXAMPLES / "bars.py"), "--files", "50")
    assert result.returncode == 0, result.stderr
    found = status(shared_daemon)
    assert (found["completedCount"], found["totalCount"], found["status"]) == (50, 50, "checking")
    assert found["warnings"] == re.findall(r"file \d+ looks wrong", result.stderr) != []


def test_pages_are_items(shared_daemon):
    result = shared_daemon.cli("run", "-q", "--", sys.executable, str(EXAMPLES / "pages.py"), "--pages", "20")
    assert (result.returncode, result.stdout) == (0, "20 pages seen\n"), result.stderr
    found = status(shared_daemon)
    assert (found["completedCount"], found["failedCount"], found["totalCount"]) == (18, 1, 20)
    assert found["warnings"] == ["page 13 is blank"]


def test_a_c_program_reports_with_nothing_but_the_header(shared_daemon, tmp_path):
    program = tmp_path / "report"
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-O2", f"-I{INCLUDE}", "-o", str(program), str(EXAMPLES / "report.c")]
    subprocess.run(command, check=True)
    alone = subprocess.run([str(program), "5000"], check=True, capture_output=True, text=True)
    assert alone.stdout == "40000 words\n"
    result = shared_daemon.cli("run", "-q", "--", str(program), "5000")
    assert (result.returncode, result.stdout) == (0, alone.stdout), result.stderr
    found = status(shared_daemon)
    assert (found["completedCount"], found["failedCount"], found["totalCount"]) == (4995, 5, 5000)
    assert (found["status"], found["currentObject"]) == ("counting words", "this is line number 4999 of 5000 lines")


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "crunch.py", "--seconds", "0.2", "--workers", "1"],
        [sys.executable, "memory.py", "--mib", "16", "--seconds", "0.5"],
        [sys.executable, "meter_tree.py"],
        [sys.executable, "bars.py", "--files", "5"],
        [sys.executable, "pages.py", "--pages", "20"],
        ["sh", "pipeline.sh", "1000"],
        ["sh", "report.sh"],
        [sys.executable, "stubborn.py", "--seconds", "0.2"],
    ],
    ids=lambda command: Path(command[1]).stem,
)
def test_each_runs_by_itself_too(command):
    env = {**os.environ, **on_the_path()}
    result = subprocess.run(command, check=False, capture_output=True, cwd=EXAMPLES, timeout=60, env=env)
    assert result.returncode == 0, result.stderr
    assert result.stdout
