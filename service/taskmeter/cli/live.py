"""The live view of one task: its output scrolls by, its meter stays at the bottom, Ctrl-C asks what is meant."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from taskmeter.cli import words
from taskmeter.cli.feed import STREAMS, Arrival, Feed, Output
from taskmeter.cli.interrupts import Interrupts
from taskmeter.cli.keyboard import Keyboard
from taskmeter.cli.lines import LastLines
from taskmeter.cli.meter import HISTORY_SECONDS, Meter
from taskmeter.cli.output import console
from taskmeter.cli.reported import Reported
from taskmeter.client.items import ItemStats
from taskmeter.client.status import Event, TaskStatus
from taskmeter.client.sync import SyncClient
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

FRAME_SECONDS = 0.1
STATUS_SECONDS = 0.25
TRAILING_OUTPUT_SECONDS = 10.0
"""After the task has ended its output is complete; a longer silence before its end is the connection's fault."""


class Leave(Enum):
    """Why the view was left before the task had ended."""

    DETACHED = "detached"
    GAVE_UP = "gave up"


class LiveView:
    """Watches one task on the terminal.

    Args:
        may_stop: Ctrl-C asks whether to stop the task; else it only leaves the view.
        last_lines: how much earlier output to show first; None = all.
        streams: which outputs to show.
    """

    def __init__(
        self,
        client: SyncClient,
        token: str,
        interrupts: Interrupts,
        *,
        may_stop: bool,
        last_lines: int | None = None,
        streams: Sequence[str] = STREAMS,
    ) -> None:
        self._client = client
        self._token = token
        self._interrupts = interrupts
        self._may_stop = may_stop
        self._last_lines = last_lines
        self._streams = streams
        self._meter = Meter()
        self._reported = Reported()
        self._lines = LastLines(1)
        self._asking = False
        self._stop_orders = 0
        self._notice = ""

    def run(self) -> TaskStatus | Leave:
        """Draw until the task has ended and return its last status, or why the user left."""
        from rich.live import Live

        self._begin_with_the_past()
        feed = Feed(
            self._client,
            self._token,
            interval_seconds=STATUS_SECONDS,
            streams=self._streams,
            last_lines=self._last_lines,
            first_attempt=0 if self._last_lines is None else None,
            with_work=True,
        )
        terminal = console()
        with (
            feed,
            Keyboard() as keyboard,
            Live(console=terminal, auto_refresh=False, transient=True, vertical_overflow="crop") as live,
        ):
            last_time = time.monotonic()
            while not feed.finished:
                items = feed.get_all(FRAME_SECONDS)
                for item in items:
                    self._take(item, live)
                left = self._react(keyboard)
                if left is not None:
                    return left
                if items:
                    last_time = time.monotonic()
                elif feed.task_ended and time.monotonic() - last_time > TRAILING_OUTPUT_SECONDS:
                    break
                now = time.time()
                self._meter.tick(now)
                live.update(self._draw(now, terminal.width), refresh=True)
            self._print(live, self._lines.finish())
        terminal.print()
        assert self._meter.status is not None
        return self._meter.status

    def _begin_with_the_past(self) -> None:
        try:
            self._meter.begin(self._client.metrics_history(self._token, resolution_seconds=HISTORY_SECONDS))
        except TaskmeterError:  # the view does without
            return

    def _take(self, item: Arrival, live: Live) -> None:
        if isinstance(item, TaskStatus):
            self._meter.update(item)
            self._reported.begin(item)
            self._notice = "" if self._stop_orders == 0 else self._notice
        elif isinstance(item, Output):
            self._print(live, self._lines.feed(item.stream, item.data))
        elif isinstance(item, ItemStats):
            self._reported.count(item)
        elif isinstance(item, Event):
            self._reported.hear(item)
        else:
            self._notice = "connection lost, trying again; the task is not affected"

    def _print(self, live: Live, lines: Iterable[tuple[str, str]]) -> None:
        """Print whole lines above the meter; as ready segments, because a task may write a million of them."""
        from rich.segment import Segment, Segments
        from rich.style import Style

        styles = {"stdout": None, "stderr": Style(dim=True)}
        runs = [
            Segment("".join(f"{line}\n" for _, line in run), styles[stream]) for stream, run in groupby(lines, key=itemgetter(0))
        ]
        if runs:
            live.console.print(Segments(runs), soft_wrap=True, end="")

    def _react(self, keyboard: Keyboard) -> Leave | None:
        key = keyboard.key()
        interrupted = self._interrupts.take()
        if not interrupted and not (self._asking and key):
            return None
        if not self._may_stop:
            return Leave.DETACHED
        if self._stop_orders:
            return self._escalate() if interrupted else None
        if interrupted and keyboard.works and not self._asking and not self._interrupts.terminated:
            self._asking = True
        elif interrupted or key == "s":
            self._asking = False
            self._order_stop(immediate=False)
        elif key == "d":
            return Leave.DETACHED
        elif key in {"c", "g", "\n", "\r", "\x1b"}:
            self._asking = False
        return None

    def _escalate(self) -> Leave | None:
        if self._stop_orders > 1:
            return Leave.GAVE_UP
        self._order_stop(immediate=True)
        return None

    def _order_stop(self, *, immediate: bool) -> None:
        self._stop_orders += 1
        self._notice = "killing it; Ctrl-C leaves the view" if immediate else "asked it to stop; Ctrl-C kills it at once"
        try:
            self._client.terminate(self._token, immediate=immediate, reason="interrupted at the terminal")
        except TaskmeterError as error:
            if error.reason != "TASK_ENDED":
                self._notice = error.message

    def _draw(self, now: float, width: int) -> RenderableType:
        from rich.console import Group
        from rich.rule import Rule
        from rich.text import Text

        parts: list[RenderableType] = [
            Text(line, _style(stream), no_wrap=True, overflow="ellipsis") for stream, line in self._lines.partial
        ]
        parts += [Rule(style="dim"), self._meter.render(now, width), *self._reported.render(width)]
        if self._asking:
            parts.append(_question())
        elif self._notice:
            parts.append(Text(self._notice, "yellow"))
        return Group(*parts)


def raw_copy_needed(terminals: tuple[bool, bool]) -> bool:
    """Tell whether the task's bytes go through untouched: unless someone looks at both of our outputs."""
    return not all(terminals)


def _question() -> Text:
    from rich.text import Text

    return Text.assemble(
        ("Interrupted. ", "bold yellow"),
        ("s", "bold"),
        "top the task, ",
        ("d", "bold"),
        "etach and let it run, or ",
        ("c", "bold"),
        "ontinue? ",
        ("(Ctrl-C stops it)", "dim"),
    )


def _style(stream: str) -> str:
    return "dim" if stream == "stderr" else ""


def left_note(status: TaskStatus | None, token: str) -> str:
    """Say how to come back to a task that was left."""
    name = f"{words.title(status)} " if status is not None else ""
    return f"{name}runs on: taskmeter watch {words.short(token)}"
