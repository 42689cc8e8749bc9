"""What runs inside a task: found by its environment, light, and harmless outside one."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmeter.work import current
from tests.unit.work.inside import TOKEN, block, events, messages, run


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
    assert run(code, None, **environment) == "False  0 1"


def test_it_imports_neither_grpc_nor_asyncio_nor_typing() -> None:
    code = "import sys; before = set(sys.modules); import taskmeter.work; print(*sorted(set(sys.modules) - before))"
    loaded = set(run(code).split())
    assert "metercore.report" in loaded
    assert not loaded & {"grpc", "asyncio", "google.protobuf", "inspect", "dataclasses", "typing", "logging"}
    assert not {name for name in loaded if name.startswith("metercore.item")}, "no item log before the first item"
    assert len(loaded) < 40


def test_add_is_the_native_method_itself() -> None:
    task = current()
    assert type(task).add is type(task).__mro__[1].add  # type: ignore[attr-defined]
    assert type(task).__mro__[1].__module__ == "metercore.report"


def test_the_context_knows_what_the_task_is_called(tmp_path: Path) -> None:
    code = """
import taskmeter
context = taskmeter.get_task_context()
assert context is taskmeter.current()
print(context.task_id == context.token, context.func_name, context.attempt, context.tags)
"""
    said = run(code, tmp_path, TASKMETER_NAME="crunch", TASKMETER_TAGS='{"a":"b"}')
    assert said == "True crunch 0 {'a': 'b'}"


@pytest.mark.parametrize("tags", ["", "{", "[1]", "null"])
def test_tags_that_are_none_are_no_tags(tmp_path: Path, tags: str) -> None:
    assert run("import taskmeter; print(taskmeter.current().tags)", tmp_path, TASKMETER_TAGS=tags) == "{}"


def test_there_is_no_task_context_outside_a_task() -> None:
    assert run("import taskmeter; print(taskmeter.get_task_context(), bool(taskmeter.current()))") == "None True"


def test_messages_have_their_levels(tmp_path: Path) -> None:
    code = """
import taskmeter
taskmeter.task_log("a line"); taskmeter.task_log("slow", level="warning", seconds=3); taskmeter.task_log("no", level="ERROR")
taskmeter.note("n"); taskmeter.warn("w"); taskmeter.error(ValueError("e")); taskmeter.current().log("l")
"""
    run(code, tmp_path)
    assert messages(tmp_path) == [(4, "a line"), (2, "slow seconds=3"), (3, "no"), (1, "n"), (2, "w"), (3, "e"), (4, "l")]


def test_what_only_counts_makes_no_log(tmp_path: Path) -> None:
    run("import taskmeter; taskmeter.progress(total=2).add(); taskmeter.count('pages', 2)", tmp_path)
    assert (block(tmp_path).completed_count, block(tmp_path).custom) == (1, {"pages": 2})
    assert not (tmp_path / "items").exists()


def test_children_of_all_kinds_log_beside_each_other(tmp_path: Path) -> None:
    code = """
import multiprocessing, os, subprocess, sys, taskmeter
def work(n):
    with taskmeter.item(n): pass
if __name__ == "__main__":
    work(1)
    pid = os.fork()
    if pid == 0:
        work(2)
        os._exit(0)
    os.waitpid(pid, 0)
    child = multiprocessing.get_context("fork").Process(target=work, args=(3,))
    child.start(); child.join()
    subprocess.run([sys.executable, "-c", "import taskmeter; taskmeter.current().items.skip(4)"], check=True)
"""
    run(code, tmp_path)
    found = events(tmp_path)
    assert sorted((event.item_changed.item_id.number, event.item_changed.status) for event in found) == [
        (1, 2), (1, 3), (2, 2), (2, 3), (3, 2), (3, 3), (4, 6),
    ]  # fmt: skip
    assert block(tmp_path).completed_count == 3


def test_outside_a_task_items_messages_loops_and_instruments_are_harmless_too() -> None:
    code = """
import sys, taskmeter
assert list(taskmeter.track([1, 2], stage="s")) == [1, 2]
with taskmeter.item({"a": [1]}, stage="s") as item:
    with item.step("x"): item.retry("once")
taskmeter.note("n"); taskmeter.task_log("l"); taskmeter.instrument(); taskmeter.progress(total=3).fail()
import logging, tqdm
assert not hasattr(logging.Logger, "_taskmeter")
print(taskmeter.current().read().completed_count)
"""
    assert run(code) == "3"
