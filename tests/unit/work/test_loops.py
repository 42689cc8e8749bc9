"""Loops that report how far they are."""

from __future__ import annotations

from pathlib import Path

from tests.unit.work.inside import block, items, run


def test_a_loop_counts_what_is_done_and_what_there_is(tmp_path: Path) -> None:
    code = """
import taskmeter
seen = []
for n in taskmeter.track([10, 20, 30]):
    seen.append((n, taskmeter.current().read()[:2]))
print(seen)
"""
    assert run(code, tmp_path) == "[(10, (3, 0)), (20, (3, 1)), (30, (3, 2))]"
    assert block(tmp_path)[:3] == (3, 3, 0)


def test_loops_add_up_unless_the_program_has_said_how_much_there_is(tmp_path: Path) -> None:
    run("import taskmeter\nfor n in (3, 4): list(taskmeter.track(range(n)))", tmp_path)
    assert block(tmp_path)[:2] == (7, 7)
    run("import taskmeter\ntaskmeter.progress(total=20)\nfor n in (3, 4): list(taskmeter.track(range(n)))", tmp_path)
    assert block(tmp_path)[:2] == (20, 14)


def test_without_a_length_the_total_is_what_is_given(tmp_path: Path) -> None:
    run("import taskmeter; list(taskmeter.track(iter('ab'))); list(taskmeter.track(iter('ab'), 5, size=len))", tmp_path)
    assert block(tmp_path)[:6] == (5, 4, 0, 0, 2, 0)


def test_an_element_that_is_left_counts_for_nothing(tmp_path: Path) -> None:
    code = """
import taskmeter
for n in taskmeter.track(range(5)):
    if n == 2: break
"""
    run(code, tmp_path)
    assert block(tmp_path)[:2] == (5, 2)


def test_with_a_stage_each_element_is_an_item_named_by_itself_or_its_index(tmp_path: Path) -> None:
    code = """
import pathlib, taskmeter
for each in taskmeter.track(["a", pathlib.Path("b"), object()], stage="s"): pass
for each in taskmeter.track([{"id": "c"}], item=lambda each: each["id"], size=len): pass
"""
    run(code, tmp_path)
    found = [(each.item_id.text or each.item_id.number, each.status, each.stage, each.size) for each in items(tmp_path)]
    assert found == [
        ("a", 2, "s", 0), ("a", 3, "s", 0), ("b", 2, "s", 0), ("b", 3, "s", 0), (2, 2, "s", 0), (2, 3, "s", 0),
        ("c", 2, "", 1), ("c", 3, "", 1),
    ]  # fmt: skip
    assert block(tmp_path)[:2] == (4, 4)
