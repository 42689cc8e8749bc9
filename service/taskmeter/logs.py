"""The daemon's own log: stdlib logging to stderr, for people or as JSON lines. User strings are escaped."""

from __future__ import annotations

import json
import logging
import sys
import time


def _escape(text: str) -> str:
    """Make control characters visible, so that no task name can move a terminal's cursor or forge a line."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


class ConsoleFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z warning module: message`."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = f"{when} {record.levelname.lower()} {record.name.removeprefix('taskmeter.')}: {_escape(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (Unix seconds), level, logger, message, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": record.created, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=True)


class _HangUps(logging.Filter):
    """Drops what gRPC logs, with a traceback, when a caller hangs up in the moment in which its call ends by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and record.exc_info[0] is not None and record.exc_info[0].__name__ == "ExecuteBatchError")


def configure_logging(level: str, form: str) -> None:
    """Send everything at `level` and above to stderr; `form` is "console" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_HangUps())
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("grpc").setLevel(logging.ERROR)
