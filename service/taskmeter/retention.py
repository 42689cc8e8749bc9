"""The `[retention]` table of the config file, checked.

[retention]
max_age_seconds = 2592000        # of ended tasks; 0 = no bound, here and below
max_count = 100000               # ended tasks
max_bytes = 0                    # of their directories
events_max_age_seconds = 2592000
events_max_count = 5000000
log_max_bytes = 0                # of each output, the newest bytes are kept
idempotency_seconds = 86400      # how long a key stays bound at least; not less than a day

[retention.outcomes]             # other ages by outcome, in seconds
failed = 7776000
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.retention import DAY_SECONDS, Retention
from taskmeter.model.state import Outcome

_LEAST = {"idempotency_seconds": DAY_SECONDS, "interval_seconds": 0.1}


def parse(table: Any) -> Retention:
    """Return the bounds, defaults where the table says nothing. Raises `InvalidArgumentError` naming what is wrong."""
    if not isinstance(table, Mapping):
        raise _invalid("retention", "must be a table")
    defaults = Retention()
    known = set(Retention.__struct_fields__)
    given: dict[str, Any] = {}
    for name, value in table.items():
        at = f"retention.{name}"
        if name not in known:
            raise _invalid(at, f"is not a setting; known are {', '.join(sorted(known))}")
        given[name] = _ages(at, value) if name == "outcomes" else _number(at, value, type(getattr(defaults, name)), name)
    return Retention(**given)


def _ages(at: str, table: Any) -> dict[Outcome, float]:
    if not isinstance(table, Mapping):
        raise _invalid(at, "must be a table of outcomes and seconds")
    known = {outcome.name.lower(): outcome for outcome in Outcome}
    ages = {}
    for name, value in table.items():
        if name not in known:
            raise _invalid(f"{at}.{name}", f"is not an outcome; known are {', '.join(sorted(known))}")
        ages[known[name]] = float(_number(f"{at}.{name}", value, float, name))
    return ages


def _number(at: str, value: Any, kind: type, name: str) -> float:
    least = _LEAST.get(name, 0)
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value) or value < least:
        raise _invalid(at, f"must be a {'whole ' if kind is int else ''}number of at least {least:g}")
    return kind(value)  # type: ignore[no-any-return]


def _invalid(name: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}: {problem}", fields=[(name, problem)])
