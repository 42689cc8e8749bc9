"""The screen of `top`: one row per task, kept up to date by one stream."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskmeter.cli import exits, human, words
from taskmeter.cli.keyboard import Keyboard
from taskmeter.cli.meter import bar
from taskmeter.cli.output import console
from taskmeter.cli.reported import MOST_MESSAGES, Message, heard, message_line
from taskmeter.cli.table import Column, fitted
from taskmeter.cli.text import escape, shorten
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from taskmeter.client.resume import Delivery
    from taskmeter.client.status import TaskStatus
    from taskmeter.client.sync import SyncClient

FRAME_SECONDS = 0.5
ENDED_STAY_SECONDS = 15.0
"""How long a task that has just ended stays in view."""
BAR_WIDTH = 12

COLUMNS = [
    Column("TOKEN"),
    Column("NAME", flexible=True),
    Column("STATUS"),
    Column("CPU", right=True),
    Column("CORES", right=True, rank=6),
    Column("RAM", right=True),
    Column("PEAK", right=True, rank=5),
    Column("PROGRESS", width=BAR_WIDTH, rank=2),
    Column("RATE", right=True, rank=4),
    Column("ETA", right=True, rank=3),
    Column("TIME", right=True, rank=1),
    Column("TOKENS", right=True, rank=4),
]
GPU_COLUMNS = [Column("GPU", right=True, rank=3), Column("VRAM", right=True, rank=3)]
GPU_PLACE = 7
"""They stand behind PEAK, while some task uses a GPU."""
SORT_HEADINGS = {"cpu": "CPU", "ram": "RAM", "time": "TIME", "tokens": "TOKENS", "name": "NAME"}
SORTS = {"c": "cpu", "m": "ram", "t": "time", "k": "tokens", "n": "name"}
"""Key → what it sorts by."""


class Board:
    """The screen: one row per task, kept up to date by one stream."""

    def __init__(self, client: SyncClient, tags: dict[str, str], *, everything: bool) -> None:
        self._client = client
        self._tags = tags
        self._everything = everything
        self._tasks: dict[str, TaskStatus] = {}
        self._sort = "cpu"
        self._queue: queue.Queue[Delivery | TaskmeterError | None] = queue.Queue()
        self._messages: deque[tuple[str, Message]] = deque(maxlen=MOST_MESSAGES)
        """(token, what its work said)"""
        self._notice = ""

    def run(self) -> int:
        """Draw until the user leaves."""
        from rich.live import Live

        revive = self._client.on_disconnect

        def lost(error: TaskmeterError) -> None:
            self._notice = "connection lost, trying again; the tasks are not affected"
            if revive is not None:
                revive(error)

        self._client.on_disconnect = lost
        threading.Thread(target=self._follow, name="taskmeter-top", daemon=True).start()
        terminal = console()
        try:
            with Keyboard() as keyboard, Live(console=terminal, auto_refresh=False, screen=True) as live:
                while True:
                    self._take_all()
                    live.update(self._draw(time.time(), terminal.width, terminal.height), refresh=True)
                    key = keyboard.key(FRAME_SECONDS) if keyboard.works else self._sleep()
                    if key in {"q", "\x1b"}:
                        return 0
                    self._sort = SORTS.get(key, self._sort)
        except KeyboardInterrupt:
            return exits.INTERRUPTED

    def _sleep(self) -> str:
        time.sleep(FRAME_SECONDS)
        return ""

    def _follow(self) -> None:
        try:
            for delivery in self._client.stream(
                tags=self._tags,
                kinds=["state", "deleted", "message"],
                snapshot_first=True,
                include_status=True,
                status_interval_seconds=1.0,
            ):
                self._queue.put(delivery)
            self._queue.put(None)
        except TaskmeterError as error:
            self._queue.put(error)

    def _take_all(self) -> None:
        while True:
            try:
                delivery = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(delivery, TaskmeterError):
                raise delivery
            if delivery is not None:
                self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        self._notice = ""
        for event in delivery.events:
            if event.task_deleted is not None:
                self._tasks.pop(event.token, None)
            elif event.state_changed is not None and event.state_changed.status is not None:
                self._tasks[event.token] = event.state_changed.status
            elif event.message is not None:
                self._messages.append((event.token, heard(event)))
        for status in delivery.statuses:
            self._tasks[status.token] = status

    def _draw(self, now: float, width: int, height: int) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        if not self._everything:
            self._tasks = {token: status for token, status in self._tasks.items() if _recent(status, now)}
        tasks = sorted(self._tasks.values(), key=lambda status: _sort_key(status, self._sort, now))
        live = [status for status in tasks if not status.completed]
        cores = sum(status.metrics.cpu_cores or 0.0 for status in live)
        memory = sum(status.metrics.memory_bytes or 0 for status in live)
        waiting = sum(status.start_time <= 0 for status in live)
        head = Text.assemble(
            ("taskmeter", "bold"),
            f"  {len(live) - waiting} running · {waiting} waiting · ",
            (f"{human.cores(cores)} cores", "cyan"),
            " · ",
            (human.size(memory), "magenta"),
        )
        messages = [message_line(message, width, self._title(token)) for token, message in self._messages]
        room = max(height - 5 - len(messages), 1)
        columns = [
            replace(column, heading=column.heading + "▾") if SORT_HEADINGS[self._sort] == column.heading else column
            for column in COLUMNS
        ]
        rows = [_row(status, now) for status in tasks[:room]]
        if any(status.metrics.gpus for status in tasks):
            columns[GPU_PLACE:GPU_PLACE] = GPU_COLUMNS
            for row, status in zip(rows, tasks[:room], strict=True):
                row[GPU_PLACE:GPU_PLACE] = _gpu_cells(status)
        table = fitted(columns, rows, width)
        hidden = len(tasks) - room
        foot = (
            self._notice or (f"{hidden} more · " if hidden > 0 else "") + "sort: c cpu, m ram, t time, k tokens, n name · q quit"
        )
        return Group(head, Text(""), table, *messages, Text(foot, "yellow" if self._notice else "dim"))

    def _title(self, token: str) -> str:
        status = self._tasks.get(token)
        return shorten(escape(words.title(status)), 20) if status is not None else words.short(token)


def _recent(status: TaskStatus, now: float) -> bool:
    return not status.completed or now - max(status.end_time, status.create_time) < ENDED_STAY_SECONDS


def _sort_key(status: TaskStatus, sort: str, now: float) -> tuple[bool, float, str]:

    value: float = {
        "cpu": status.metrics.cpu_percent or 0.0,
        "ram": float(status.metrics.memory_bytes or 0),
        "time": words.elapsed_seconds(status, now) or 0.0,
        "tokens": status.tokens.total,
        "name": 0.0,
    }[sort]
    return (status.completed, -value, words.title(status).lower())


def _gpu_cells(status: TaskStatus) -> list[Any]:
    from rich.text import Text

    metrics = status.metrics
    if status.completed:
        return [Text(human.percent(None), "green"), Text(human.mib(None), "green")]
    return [Text(human.percent(metrics.gpu_utilization_percent), "green"), Text(human.mib(metrics.gpu_memory_mb), "green")]


def _row(status: TaskStatus, now: float) -> list[Any]:
    from rich.text import Text

    metrics = status.metrics
    shown = words.standing(status)
    done = status.completed_count + status.failed_count
    progress = bar(done, status.total_count, BAR_WIDTH) if status.total_count else Text(human.count(done) if done else "")
    now_cpu = None if status.completed else metrics.cpu_percent
    return [
        Text(words.short(status.token), "bold"),
        Text(shorten(escape(words.title(status)), 40)),
        Text(f"{shown.sign} {shown.word}", shown.style),
        Text(human.percent(now_cpu), "cyan"),
        Text(human.cores(None if status.completed else metrics.cpu_cores), "dim"),
        Text(human.size(None if status.completed else metrics.memory_bytes), "magenta"),
        Text(human.size(metrics.peak_memory_bytes), "dim"),
        progress,
        Text(human.rate(status.rate_count_per_second) if done and not status.completed else ""),
        Text(human.about(status.eta_seconds) if status.eta_seconds is not None else ""),
        Text(human.clock(words.elapsed_seconds(status, now) or 0.0)),
        Text(human.tokens(status.tokens.total)),
    ]
