"""The daemon's log: one line per record, whatever a user put into a name."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from taskmeter.logs import ConsoleFormatter, JsonFormatter, configure_logging


def record(message: str, *, failed: bool = False) -> logging.LogRecord:
    info = None
    if failed:
        try:
            raise KeyError("why")
        except KeyError:
            info = sys.exc_info()
    return logging.LogRecord("taskmeter.core.x", logging.WARNING, __file__, 1, message, (), info)


def test_control_characters_of_users_are_made_visible() -> None:
    line = ConsoleFormatter().format(record("name \x1b[2J\r\x07 end"))
    assert line.endswith("warning core.x: name \\x1b[2J\\x0d\\x07 end")


def test_json_lines_are_complete_and_single() -> None:
    line = JsonFormatter().format(record("two\nlines \x1b", failed=True))
    entry = json.loads(line)
    assert "\n" not in line
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "taskmeter.core.x", "two\nlines \x1b")
    assert "KeyError" in entry["exception"]


def test_a_caller_who_hangs_up_is_no_error_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    class ExecuteBatchError(Exception):
        """Named as gRPC's, which cannot be raised from here."""

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("info", "console")
        for kind in (ExecuteBatchError, KeyError):
            try:
                raise kind("x")
            except kind:
                logging.getLogger("grpc._cython.cygrpc").exception("raised in core")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert "KeyError" in shown and "ExecuteBatchError" not in shown
