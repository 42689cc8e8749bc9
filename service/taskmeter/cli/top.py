"""`taskmeter top`: all tasks live."""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import exits, human, options
from taskmeter.cli.output import console, is_terminal, print_json
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

SORTS = {"c": "cpu", "m": "ram", "t": "time", "k": "tokens", "n": "name"}


@click.command()
@options.tags("Only tasks with this tag; repeatable, all must match.")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended tasks too.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@options.json_flag("Print one snapshot as a JSON array of status views.")
@options.connection
def top(
    tags: tuple[tuple[str, str], ...], everything: bool, once: bool, as_json: bool, target: str | None, state_dir: str | None
) -> int:
    """Show all tasks live. Keys: c, m, t, k, n sort by CPU, memory, time, tokens, name; q leaves.

    Where stdout is no terminal, one snapshot is printed.
    """
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        if as_json or once or not is_terminal(sys.stdout):
            status = () if everything else "live"
            found = list(client.list_tasks(status=status, tags=dict(tags)))
            if as_json:
                print_json(found)
            else:
                _print_snapshot(found)
            return 0
        return Board(client, dict(tags), everything=everything).run()


class Board:
    """The screen: one row per task, kept up to date by one stream."""

    def __init__(self, client: SyncClient, tags: dict[str, str], *, everything: bool) -> None:
        self._client = client
        self._tags = tags
        self._everything = everything
        self._tasks: dict[str, TaskStatus] = {}
        self._sort = "cpu"
        self._queue: queue.Queue[Delivery | TaskmeterError | None] = queue.Queue()
        self._notice = ""

    def run(self) -> int:
        """Draw until the user leaves."""
        from rich.live import Live

        from taskmeter.cli.keyboard import Keyboard

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
                kinds=["state", "deleted"],
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
        for status in delivery.statuses:
            self._tasks[status.token] = status

    def _draw(self, now: float, width: int, height: int) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
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
        table = Table(box=None, pad_edge=False, header_style="bold dim", expand=True)
        for heading, justify, sort in (
            ("TOKEN", "left", ""),
            ("NAME", "left", "name"),
            ("STATUS", "left", ""),
            ("CPU", "right", "cpu"),
            ("CORES", "right", ""),
            ("RAM", "right", "ram"),
            ("PEAK", "right", ""),
            ("PROGRESS", "left", ""),
            ("RATE", "right", ""),
            ("ETA", "right", ""),
            ("TIME", "right", "time"),
            ("TOKENS", "right", "tokens"),
        ):
            mark = "▾" if sort == self._sort else ""
            table.add_column(heading + mark, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for status in tasks[: max(height - 5, 1)]:
            table.add_row(*_row(status, now, width))
        hidden = len(tasks) - max(height - 5, 1)
        foot = (
            self._notice or (f"{hidden} more · " if hidden > 0 else "") + "sort: c cpu, m ram, t time, k tokens, n name · q quit"
        )
        return Group(head, Text(""), table, Text(foot, "yellow" if self._notice else "dim"))


def _recent(status: TaskStatus, now: float) -> bool:
    return not status.completed or now - max(status.end_time, status.create_time) < ENDED_STAY_SECONDS


def _sort_key(status: TaskStatus, sort: str, now: float) -> tuple[bool, float, str]:
    from taskmeter.cli import words

    value: float = {
        "cpu": status.metrics.cpu_percent or 0.0,
        "ram": float(status.metrics.memory_bytes or 0),
        "time": words.elapsed_seconds(status, now) or 0.0,
        "tokens": status.tokens.total,
        "name": 0.0,
    }[sort]
    return (status.completed, -value, words.title(status).lower())


def _row(status: TaskStatus, now: float, width: int) -> list[Any]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    from taskmeter.cli import words
    from taskmeter.cli.ls import progress

    metrics = status.metrics
    shown = words.standing(status)
    done = status.completed_count + status.failed_count
    bar: Any = Text(progress(status))
    if status.total_count:
        bar = ProgressBar(total=status.total_count, completed=min(done, status.total_count), width=12)
    now_cpu = None if status.completed else metrics.cpu_percent
    return [
        Text(words.short(status.token), "bold"),
        Text(shorten(escape(words.title(status)), max(width // 6, 12))),
        Text(f"{shown.sign} {shown.word}", shown.style),
        Text(human.percent(now_cpu), "cyan"),
        Text(human.cores(None if status.completed else metrics.cpu_cores), "dim"),
        Text(human.size(None if status.completed else metrics.memory_bytes), "magenta"),
        Text(human.size(metrics.peak_memory_bytes), "dim"),
        bar,
        Text(human.rate(status.rate_count_per_second) if done else ""),
        Text(human.span(status.eta_seconds) if status.eta_seconds is not None else ""),
        Text(human.clock(words.elapsed_seconds(status, now) or 0.0)),
        Text(human.tokens(status.tokens.total)),
    ]


def _print_snapshot(found: list[TaskStatus]) -> None:
    from taskmeter.cli.ls import COLUMNS, plain, row
    from taskmeter.cli.output import print_rows

    now = time.time()
    print_rows(COLUMNS, (row(status, now) for status in found), (plain(status, now) for status in found))
