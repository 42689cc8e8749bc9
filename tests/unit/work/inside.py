"""Run programs as a task's process would be, with a directory of their own, and read what they reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from metercore.itemlog import ItemLogReader
from metercore.report import Report, parse_report
from taskmeter.v1 import task_service_pb2

TOKEN = "tk_0123456789abcdefghijkl"


def run(code: str, directory: Path | None = None, **environment: str) -> str:
    """Run `code` in a fresh interpreter that can import what we can, inside the task `directory`; return what it prints."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
    if directory is not None:
        env.update(TASKMETER_TASK_DIR=str(directory), TASKMETER_TOKEN=TOKEN, TASKMETER_ATTEMPT="0")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def block(directory: Path) -> Report:
    """Return what the report block says."""
    report = parse_report((directory / "report").read_bytes())
    assert report is not None
    return report


def events(directory: Path) -> list[Any]:
    """Return the events in the item log, as messages of the contract, in order."""
    reader = ItemLogReader(str(directory / "items"))
    found: list[Any] = []
    try:
        while (batch := reader.read()) is not None:
            frames = batch.frames(len(found) + 1, TOKEN, 0, {})
            found += task_service_pb2.StreamEventsResponse.FromString(frames).events
            reader.commit()
    finally:
        reader.close()
    return found


def messages(directory: Path) -> list[tuple[int, str]]:
    """Return level and text of each message."""
    return [(event.message.level, event.message.text) for event in events(directory) if event.HasField("message")]


def items(directory: Path) -> list[Any]:
    """Return each ItemChanged."""
    return [event.item_changed for event in events(directory) if event.HasField("item_changed")]
