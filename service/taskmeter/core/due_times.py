"""When a schedule is due: intervals, one instant, or cron in a time zone.

Cron follows Debian's cron over changes of daylight saving time: what would fall into the hour that is left out runs right after
it, and what is fixed in the hour that comes twice runs once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from taskmeter.model.schedule import Timing

CRON_FIELD_COUNT = 5


def cron_problem(expression: str) -> str:
    """Say what is wrong with a cron expression; "" if nothing is."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  # most daemons have no cron schedules

    example = "; such as '30 2 * * 1-5' for 02:30 from Monday to Friday"
    count = len(expression.split())
    if count != CRON_FIELD_COUNT:
        return f"has {count} fields, not 5: minute hour day-of-month month day-of-week{example}"
    try:
        next(CronSim(expression, datetime.fromtimestamp(0, UTC)))
    except CronSimError as error:
        return f"{str(error).lower()}{example}"
    except StopIteration:
        return f"never comes{example}"
    return ""


def timezone_problem(name: str) -> str:
    """Say what is wrong with the name of a time zone; "" if nothing is."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  # as above

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return "is no IANA time zone, such as Europe/Berlin"
    return ""


def next_due(timing: Timing, previous: float, now: float) -> float:
    """Return the first due time after `now`, in step with the due time `previous`; 0 = there is none."""
    if timing.at_time:
        return timing.at_time if timing.at_time > now else 0.0
    if timing.every_seconds:
        steps = max(1, math.floor((now - previous) / timing.every_seconds) + 1)
        return previous + steps * timing.every_seconds
    return next(_cron_times(timing, now), 0.0)


def due_times(timing: Timing, first: float, now: float, keep: int) -> tuple[int, list[float]]:
    """Return how many due times there are from `first` to `now`, and the newest `keep` of them, oldest first."""
    if first > now:
        return 0, []
    if timing.at_time:
        return 1, [first]
    if timing.every_seconds:
        count = math.floor((now - first) / timing.every_seconds) + 1
        return count, [first + step * timing.every_seconds for step in range(max(0, count - keep), count)]
    newest: deque[float] = deque([first], maxlen=keep)
    count = 1
    for due in _cron_times(timing, first):
        if due > now:
            break
        newest.append(due)
        count += 1
    return count, list(newest)


def _cron_times(timing: Timing, after: float) -> Iterator[float]:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  # as above

    from cronsim import CronSim  # noqa: PLC0415  # as above

    for found in CronSim(timing.cron, datetime.fromtimestamp(after, ZoneInfo(timing.timezone))):
        if found.timestamp() > after:
            yield found.timestamp()
