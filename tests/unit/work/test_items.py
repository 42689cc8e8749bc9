"""Items: what a `with` block and the explicit calls say, to the counters and to the log."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from taskmeter.v1 import event_pb2, item_pb2
from taskmeter.work import numbers
from taskmeter.work.context import Context
from taskmeter.work.names import name_of
from tests.unit.work.inside import events, items


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(str(tmp_path / "report"), "tk_x")


def said(found: Any) -> tuple[Any, ...]:
    return found.item_id.text, found.status, found.stage, found.attempt, found.error, found.size, dict(found.metadata)


def test_the_numbers_are_those_of_the_contract() -> None:
    status = {word.lower(): item_pb2.ItemStatus.Value(f"ITEM_STATUS_{word.upper()}") for word in numbers.STATUSES}
    assert status == numbers.STATUSES
    assert {word: item_pb2.StepEventType.Value(f"STEP_EVENT_TYPE_{word.upper()}") for word in numbers.STEPS} == numbers.STEPS
    for word in ("NOTE", "WARNING", "ERROR", "LOG"):
        assert event_pb2.MessageLevel.Value(f"MESSAGE_LEVEL_{word}") == getattr(numbers, word)
    for word in numbers.STATUSES:
        assert getattr(numbers, word.upper()) == numbers.STATUSES[word]


def test_a_block_that_ends_completes_its_item(context: Context, tmp_path: Path) -> None:
    with context.item("a", stage="parse", size=7, metadata={"k": "v"}) as item:
        item.size = 9
    assert [said(each) for each in items(tmp_path)] == [
        ("a", 2, "parse", 0, "", 7, {"k": "v"}),
        ("a", 3, "parse", 0, "", 9, {"k": "v"}),
    ]
    assert context.read()[:6] == (0, 1, 0, 0, 9, 0)


def test_a_block_that_raises_fails_its_item_and_the_exception_goes_on(context: Context, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no good"), context.item("a", size=7, metadata={"k": "v"}):
        raise ValueError("no good")
    told = {"k": "v", "error": "no good", "error_type": "ValueError"}
    assert said(items(tmp_path)[-1]) == ("a", 4, "", 0, "ValueError: no good", 7, told)
    assert context.read()[:6] == (0, 0, 1, 0, 0, 7)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_item_is_not_completed(context: Context, tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind), context.item("a"):
        raise kind
    assert said(items(tmp_path)[-1])[4:] == (kind.__name__, 0, {"error": kind.__name__, "error_type": kind.__name__})


def test_an_exception_that_cannot_be_told_is_told_by_its_type(context: Context, tmp_path: Path) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(MuteError), context.item("a"):
        raise MuteError
    assert items(tmp_path)[-1].error == "MuteError"


def test_skipped_failed_and_retried_within_a_block(context: Context, tmp_path: Path) -> None:
    with context.item("a") as item:
        item.skip("blank")
    with context.item("b") as item:
        item.fail("by hand")
        item.skip("too late")
    with context.item("c") as item:
        item.retry(OSError("once"))
    assert [said(each) for each in items(tmp_path)] == [
        ("a", 2, "", 0, "", 0, {}),
        ("a", 6, "", 0, "", 0, {"reason": "blank"}),
        ("b", 2, "", 0, "", 0, {}),
        ("b", 4, "", 0, "by hand", 0, {"error": "by hand"}),
        ("c", 2, "", 0, "", 0, {}),
        ("c", 5, "", 0, "OSError: once", 0, {"error": "once", "error_type": "OSError", "attempt": "2"}),
        ("c", 3, "", 1, "", 0, {}),
    ]
    assert context.read()[1:3] == (1, 1)


def test_calls_one_by_one_say_the_same(context: Context, tmp_path: Path) -> None:
    log = context.items
    log.queued("a", stage="s", size=5, worker="w")
    log.start("a", stage="s", worker="w")
    log.retry("a", "busy", stage="s")
    log.start("a", stage="s", attempt=1)
    log.complete("a", stage="s", size=5, attempt=1, count=False)
    log.complete("a", stage="t", size=5)
    log.fail("b", TimeoutError())
    log.skip("c")
    assert [(each.item_id.text, each.status, each.stage, each.attempt) for each in items(tmp_path)] == [
        ("a", 1, "s", 0), ("a", 2, "s", 0), ("a", 5, "s", 0), ("a", 2, "s", 1), ("a", 3, "s", 1), ("a", 3, "t", 0),
        ("b", 4, "", 0), ("c", 6, "", 0),
    ]  # fmt: skip
    assert context.read()[:6] == (0, 1, 1, 0, 5, 0)


def test_steps_are_timed_and_fail_with_what_they_raise(context: Context, tmp_path: Path) -> None:
    def work() -> None:
        with context.item("a", stage="s", worker="w") as item:
            with item.step("one"):
                pass
            with item.step("two"):
                raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    steps = [event.step for event in events(tmp_path) if event.HasField("step")]
    assert [(each.step, each.type, each.stage, each.worker, each.error) for each in steps] == [
        ("one", 1, "s", "w", ""),
        ("one", 2, "s", "w", ""),
        ("two", 1, "s", "w", ""),
        ("two", 4, "s", "w", "ValueError: x"),
    ]
    assert [each.HasField("duration_seconds") for each in steps] == [False, True, False, True]


def test_a_step_of_no_known_kind_is_refused(context: Context) -> None:
    with pytest.raises(KeyError):
        context.items.step("a", "s", "begin")


NAMES: list[tuple[object, str | int | bytes]] = [
    ("a", "a"),
    ("1", "1"),
    (1, 1),
    (-(2**63), -(2**63)),
    (2**63 - 1, 2**63 - 1),
    (1.0, 1),
    (-0.0, 0),
    (1.5, b"1.5"),
    (True, b"true"),
    (None, b"null"),
    ([1, "a"], b'[1,"a"]'),
    ((1, "a"), b'[1,"a"]'),
    ({"b": 1, "a": {}}, b'{"a":{},"b":1}'),
    (Path("a/b"), "a/b"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(("value", "name"), NAMES, ids=[repr(value) for value, _ in NAMES])
def test_any_json_value_is_a_name(context: Context, tmp_path: Path, value: object, name: str | int | bytes) -> None:
    assert name_of(value) == name
    assert type(name_of(value)) is type(name)
    context.items.queued(value)
    [found] = items(tmp_path)
    kind = {str: "text", int: "number", bytes: "json"}[type(name)]
    assert found.item_id.WhichOneof("id") == kind
    assert getattr(found.item_id, kind) == (name.decode() if isinstance(name, bytes) else name)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, float("nan"), [2**60], "x" * 10_000, ["x" * 1025]])
def test_what_cannot_name_an_item_is_an_error_at_once(context: Context, tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        context.items.queued(value)
    with pytest.raises(ValueError, match=r"."), context.item(value):
        pass
    assert context.read()[1:3] == (0, 0)


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}])
def test_what_is_no_json_value_names_nothing(context: Context, value: object) -> None:
    with pytest.raises(TypeError):
        context.items.queued(value)
