"""Warnings and errors of `logging` reported as messages."""

from __future__ import annotations

from functools import wraps

from taskmeter.work.context import current
from taskmeter.work.failure import describe
from taskmeter.work.numbers import ERROR, WARNING

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from typing import Any

LEVEL_WARNING = 30
LEVEL_ERROR = 40
"""logging.WARNING and ERROR."""


def adopt(logging: Any) -> None:
    """Have every logger report what it hands to its handlers.

    Not a handler of our own: with one at the root, `basicConfig` would do nothing and warnings would not reach stderr.
    """
    cls = logging.Logger
    if "_taskmeter" in vars(cls):
        return
    cls._taskmeter = True  # our own name in a foreign class
    hand_out = cls.callHandlers

    @wraps(hand_out)
    def callHandlers(self: Any, record: Any) -> None:  # noqa: N802
        if record.levelno >= LEVEL_WARNING:
            _report(record)
        hand_out(self, record)

    cls.callHandlers = callHandlers


def _report(record: Any) -> None:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  # arguments that do not fit: logging will say so itself
        text = str(record.msg)
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text} ({describe(record.exc_info[1])[0]})"
    current().message(ERROR if record.levelno >= LEVEL_ERROR else WARNING, text)
