"""The one table of moves, and its likeness to the contract."""

from __future__ import annotations

import pytest

from taskmeter.model import event, state, usage
from taskmeter.model.state import FINAL_STATE, LEGAL, TERMINAL, IllegalTransitionError, Outcome, State
from taskmeter.v1 import event_pb2, task_pb2, usage_pb2

CONTRACT = {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (1, 4), (2, 4), (4, 0), (4, 5), (4, 6), (5, 0), (6, 0)}


def test_the_table_is_the_contract_s() -> None:
    assert {(int(before), int(after)) for before, allowed in LEGAL.items() for after in allowed} == CONTRACT


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_any_other_move_is_refused(before: State, after: State) -> None:
    if (before, after) in CONTRACT:
        state.check(before, after)
    else:
        with pytest.raises(IllegalTransitionError):
            state.check(before, after)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (State, task_pb2.TaskState),
        (Outcome, task_pb2.TaskOutcome),
        (usage.MetricsSource, usage_pb2.MetricsSource),
        (usage.MemorySource, usage_pb2.MemorySource),
    ],
)
def test_enums_have_the_names_and_numbers_of_the_wire(ours: type, theirs: object) -> None:
    wire = {name.split("_", 2)[2]: number for name, number in theirs.items()}  # type: ignore[attr-defined]
    assert {member.name: int(member) for member in ours} == wire  # type: ignore[attr-defined]


def test_event_kinds_have_the_numbers_of_the_wire() -> None:
    wire = {name.removeprefix("EVENT_KIND_"): number for name, number in event_pb2.EventKind.items() if number}
    assert {member.name: int(member) for member in event.EventKind} == wire


def test_every_outcome_has_a_final_state_that_nobody_knows_one_too() -> None:
    assert set(FINAL_STATE) == set(Outcome)
    assert set(FINAL_STATE.values()) == TERMINAL
