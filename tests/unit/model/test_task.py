"""Frozen values: a change is a copy, names are checked, tokens are unguessable."""

from __future__ import annotations

import pytest
from msgspec.structs import asdict

from taskmeter.model.ids import TOKEN_RANDOM_LENGTH, is_token, new_incarnation, new_token
from taskmeter.model.state import State
from taskmeter.model.task import Task, TaskSpec
from taskmeter.model.usage import Integrals, Tariff

TASK = Task(token="t", spec=TaskSpec(argv=("true",)), spec_hash=b"h", create_time=1.5, tags={"a": "b"})


def test_a_change_is_a_copy_in_which_all_else_is_the_same() -> None:
    changed = TASK.evolve(state=State.RUNNING, pid=7)
    assert asdict(changed) == {**asdict(TASK), "state": State.RUNNING, "pid": 7}
    assert TASK.state is State.NONE


def test_a_task_cannot_be_changed_nor_given_other_fields() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        TASK.pid = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="colour"):
        TASK.evolve(colour="red")


def test_tokens_are_of_their_form_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(10_000)}
    assert len(tokens) == 10_000 and all(is_token(token) for token in tokens)
    letters = "".join(token.removeprefix("tk_") for token in tokens)
    counts = [letters.count(letter) for letter in set(letters)]
    mean = len(tokens) * TOKEN_RANDOM_LENGTH / 62
    assert len(counts) == 62 and max(abs(count - mean) for count in counts) < 6 * mean**0.5, "every letter as often as the others"


@pytest.mark.parametrize(
    "text", ["", "tk_", "tk_" + "a" * 21, "tk_" + "a" * 23, "tk_" + "a" * 21 + "/", "xx_" + "a" * 22, "tk_" + "ä" * 22]
)
def test_what_is_no_token_is_told(text: str) -> None:
    assert not is_token(text)


def test_incarnations_fit_a_signed_column_and_are_never_zero() -> None:
    assert all(0 < new_incarnation() < 2**63 for _ in range(1000))


def test_the_default_tariff_is_1020_per_core_hour_and_100_per_gib_hour() -> None:
    hour = Integrals(cpu_ns=3600 * 10**9, memory_byte_ns2=2 * 2**30 * 3600 * 10**9)
    assert Tariff().cpu_tokens(hour) == pytest.approx(1020.0)
    assert Tariff().memory_tokens(hour) == pytest.approx(100.0)
    assert (hour + hour).memory_byte_seconds == pytest.approx(2 * 2**30 * 3600)
