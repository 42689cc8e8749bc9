from __future__ import annotations

from typing import Any

import pytest

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.retention import Retention
from taskmeter.model.state import Outcome
from taskmeter.retention import parse


def test_nothing_said_gives_the_defaults() -> None:
    assert parse({}) == Retention()


def test_all_is_taken_over() -> None:
    found = parse({"max_age_seconds": 60, "max_count": 5, "outcomes": {"failed": 7, "oom_killed": 0.5}})
    assert (found.max_age_seconds, found.max_count) == (60.0, 5)
    assert (found.age_of(Outcome.FAILED), found.age_of(Outcome.OOM_KILLED), found.age_of(Outcome.LOST)) == (7.0, 0.5, 60.0)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ([], "retention"),
        ({"max_aeg": 1}, "retention.max_aeg"),
        ({"max_count": 1.5}, "retention.max_count"),
        ({"max_count": True}, "retention.max_count"),
        ({"max_bytes": -1}, "retention.max_bytes"),
        ({"max_age_seconds": float("nan")}, "retention.max_age_seconds"),
        ({"max_age_seconds": "1"}, "retention.max_age_seconds"),
        ({"idempotency_seconds": 86399}, "retention.idempotency_seconds"),
        ({"interval_seconds": 0}, "retention.interval_seconds"),
        ({"outcomes": 3}, "retention.outcomes"),
        ({"outcomes": {"faild": 3}}, "retention.outcomes.faild"),
        ({"outcomes": {"failed": -3}}, "retention.outcomes.failed"),
    ],
)
def test_what_is_wrong_is_named(table: Any, name: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse(table)
    assert caught.value.fields[0][0] == name
