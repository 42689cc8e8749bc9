"""What runs inside a task: found by its environment, light, and harmless outside one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metercore.report import Report, parse_report
from taskmeter.work import current

TOKEN = "tk_0123456789abcdefghijkl"


def run(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter that can import what we can; return what it prints."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def block(directory: Path) -> Report:
    report = parse_report((directory / "report").read_bytes())
    assert report is not None
    return report


def test_a_task_reports_through_its_directory(tmp_path: Path) -> None:
    code = """
from taskmeter.work import current
task = current()
assert current() is task and task.is_task
assert task.progress(total=3, total_size=9) is task
for n in range(3): task.add(size=3)
task.fail(); task.status("s"); task.object("o"); task.ready()
print(task.token, task.attempt)
"""
    said = run(code, TASKMETER_TASK_DIR=str(tmp_path), TASKMETER_TOKEN=TOKEN, TASKMETER_ATTEMPT="2")
    assert said == f"{TOKEN} 2"
    assert block(tmp_path) == (3, 3, 1, 9, 9, 0, True, "s", "o", {})


def test_children_by_fork_and_by_multiprocessing_add_to_the_same_counters(tmp_path: Path) -> None:
    code = """
import multiprocessing, os
from taskmeter.work import current
def work(n):
    current().add(n)
if __name__ == "__main__":
    current().add()
    pid = os.fork()
    current().add(10)
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    child = multiprocessing.get_context("fork").Process(target=work, args=(100,))
    child.start(); child.join()
"""
    run(code, TASKMETER_TASK_DIR=str(tmp_path))
    assert block(tmp_path).completed_count == 121


@pytest.mark.parametrize(
    "environment",
    [{}, {"TASKMETER_TASK_DIR": "/nonexistent"}, {"TASKMETER_TASK_DIR": "/dev/null", "TASKMETER_ATTEMPT": "x"}],
)
def test_outside_a_task_everything_is_harmless(environment: dict[str, str]) -> None:
    code = """
from taskmeter.work import current
task = current()
task.progress(total=3).add(1, size=2)
task.fail(2); task.status("s").object("o").ready(); task.count("c")
print(task.is_task, task.token, task.attempt, task.read().completed_count)
"""
    assert run(code, **environment) == "False  0 1"


def test_it_imports_neither_grpc_nor_asyncio_nor_typing() -> None:
    code = "import sys; before = set(sys.modules); import taskmeter.work; print(*sorted(set(sys.modules) - before))"
    loaded = set(run(code).split())
    assert "metercore.report" in loaded
    assert not loaded & {"grpc", "asyncio", "google.protobuf", "inspect", "dataclasses"}
    assert len(loaded) < 40


def test_add_is_the_native_method_itself() -> None:
    task = current()
    assert type(task).add is type(task).__mro__[1].add  # type: ignore[attr-defined]
    assert type(task).__mro__[1].__module__ == "metercore.report"
