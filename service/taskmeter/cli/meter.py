"""The meter of one task as a block of lines: progress, CPU, memory, what else it uses, what it costs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from taskmeter.cli import human, words
from taskmeter.cli.text import escape, shorten
from taskmeter.client.history import MetricsHistory
from taskmeter.client.status import TaskMetrics, TaskStatus
from taskmeter.model.state import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
HEADROOM = 1.25
"""A value at its peak fills four fifths of a sparkline's height, so that lines stay apart."""
WIDE, NARROW, MIN_SPARK = 61, 36, 8
"""Columns that the figures beside a sparkline take with and without average and cores, and its least width."""
HISTORY_COUNT = 60
HISTORY_SECONDS = 1.0
"""One column of a sparkline, as long as the finest step of a stored history."""


class Meter:
    """Remembers the newest status and the recent past of what it shows."""

    def __init__(self) -> None:
        self.status: TaskStatus | None = None
        self._cpu: deque[float | None] = deque(maxlen=HISTORY_COUNT)
        self._memory: deque[float | None] = deque(maxlen=HISTORY_COUNT)
        self._last_tick = 0.0

    def update(self, status: TaskStatus) -> None:
        """Show this from now on."""
        self.status = status

    def begin(self, history: MetricsHistory) -> None:
        """Start with a past in steps of a second; a hole in it stays one."""
        before = 0.0
        for point in history.points:
            hole = round(point.time - before) - 1 if before else 0
            for past in (self._cpu, self._memory):
                past.extend([None] * min(hole, HISTORY_COUNT))
            self._cpu.append(point.cpu_cores)
            self._memory.append(point.memory_bytes)
            before = point.time

    def tick(self, now: float) -> None:
        """Take the current values into the past, once a second whether or not they changed."""
        if self.status is None or now - self._last_tick < HISTORY_SECONDS or self.status.start_time <= 0:
            return
        self._last_tick = now
        self._cpu.append(self.status.metrics.cpu_cores)
        self._memory.append(self.status.metrics.memory_bytes)

    def render(self, now: float, width: int) -> RenderableType:
        """Draw the block."""
        from rich.console import Group

        status = self.status
        if status is None:
            return Group()
        lines: list[RenderableType] = [self._head(status, now, width)]
        if status.total_count or status.completed_count or status.completed_size:
            lines.append(_progress(status, width))
        if status.start_time > 0:
            lines += [self._gauges(status, width), _rest(status)]
        said = " · ".join(escape(text) for text in (status.status, status.current_object) if text)
        if said:
            lines.append(_plain(f"now: {said}", "dim"))
        return Group(*lines)

    def _head(self, status: TaskStatus, now: float, width: int) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        shown = words.standing(status)
        left = Text.assemble((f"{shown.sign} ", shown.style), (shorten(escape(words.title(status)), max(width - 40, 12)), "bold"))
        left.append(f"  {shown.word}", shown.style)
        if more := _why(status):
            left.append(f" · {more}", "dim")
        seconds = words.elapsed_seconds(status, now)
        right = Text(words.short(status.token), "dim")
        if seconds is not None:
            right = Text.assemble((human.clock(seconds), "bold"), "  ", right)
        grid = Table.grid(expand=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(left, right)
        return grid

    def _gauges(self, status: TaskStatus, width: int) -> RenderableType:
        """One line each for CPU, memory and GPU; the sparkline gives way first, then what is said last."""
        from rich.table import Table
        from rich.text import Text

        metrics = status.metrics
        columns, spark = (6, width - WIDE) if width >= WIDE + MIN_SPARK else (4, width - NARROW)
        spark = max(min(spark, HISTORY_COUNT), 0)
        cores = "" if metrics.cpu_cores is None else f"{human.cores(metrics.cpu_cores)} cores"
        rows = [
            (
                Text("CPU", "cyan"),
                Text(human.percent(metrics.cpu_percent), "bold"),
                Text(sparkline(self._cpu, _peak_cores(metrics), spark), "cyan"),
                Text(f"peak {human.percent(metrics.peak_cpu_percent)}"),
                Text(f"avg {human.percent(metrics.avg_cpu_percent)}", "dim"),
                Text(cores, "dim"),
            ),
            (
                Text("RAM", "magenta"),
                Text(human.size(metrics.memory_bytes), "bold"),
                Text(sparkline(self._memory, metrics.peak_memory_bytes, spark), "magenta"),
                Text(f"peak {human.size(metrics.peak_memory_bytes)}"),
                Text(f"avg {human.mib(metrics.avg_cpu_memory_mb)}", "dim"),
                Text(""),
            ),
        ]
        if metrics.gpu_memory_mb is not None or metrics.gpu_utilization_percent is not None:
            rows.append(
                (
                    Text("GPU", "green"),
                    Text(human.percent(metrics.gpu_utilization_percent), "bold"),
                    Text(human.mib(metrics.gpu_memory_mb)),
                    Text(f"peak {human.percent(metrics.peak_gpu_utilization_percent)}"),
                    Text(f"peak {human.mib(metrics.peak_gpu_memory_mb)}", "dim"),
                    Text(""),
                )
            )
        grid = Table.grid(padding=(0, 2))
        for index in range(columns):
            grid.add_column(justify="right" if index == 1 else "left", no_wrap=True)
        for row in rows:
            grid.add_row(*row[:columns])
        return grid


def _peak_cores(metrics: TaskMetrics) -> float | None:
    """Return the peak in cores, as far as the current values tell how many cores 100 % are."""
    if not metrics.cpu_percent or metrics.cpu_percent >= 100 or not metrics.cpu_cores or metrics.peak_cpu_percent is None:
        return None
    return metrics.peak_cpu_percent * metrics.cpu_cores / metrics.cpu_percent


def sparkline(values: deque[float | None], peak: float | None, width: int) -> str:
    """Draw the newest values from 0 to the peak, the very newest on the right; a gap where nothing was measured."""
    top = HEADROOM * max([value for value in values if value is not None] + [peak or 0.0, 1e-9])
    drawn = "".join(" " if value is None else BARS[min(int(value / top * 8), 7)] for value in values)
    return drawn.rjust(width)[-width:] if width else ""


def bar(part: int, total: int, width: int) -> RenderableType:
    """Draw how much of a total is done."""
    from rich.progress_bar import ProgressBar

    return ProgressBar(total, min(part, total), width=width, complete_style="green", finished_style="green")


def _why(status: TaskStatus) -> str:
    if status.state is State.NONE and not status.completed:
        return words.why_waiting(status)
    return f"attempt {status.attempt + 1}" if status.attempt else ""


def _progress(status: TaskStatus, width: int) -> RenderableType:
    from rich.table import Table

    done = status.completed_count + status.failed_count
    counts = f"{human.count(done)} of {human.count(status.total_count)}" if status.total_count else f"{human.count(done)} done"
    parts = [counts] if done or status.total_count else []
    if status.completed_size:
        of = f" of {human.size(status.total_size)}" if status.total_size else ""
        parts.append(human.size(status.completed_size) + of)
    if status.failed_count:
        parts.append(f"{human.count(status.failed_count)} failed")
    if done or status.total_count:
        parts.append(human.rate(status.rate_count_per_second))
    if status.completed_size:
        parts.append(f"{human.size(status.rate_size_per_second)}/s")
    if status.eta_seconds is not None:
        parts.append(f"ETA {_eta(status)}")
    if not status.total_count and not status.total_size:
        return _plain(" · ".join(parts))
    by_count = bool(status.total_count)
    total = status.total_count if by_count else status.total_size
    part = done if by_count else status.completed_size
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(
        bar(part, total, max(min(width // 3, 40), 10)),
        _plain(human.percent(100 * min(part, total) / total), "bold"),
        _plain(" · ".join(parts)),
    )
    return grid


def _eta(status: TaskStatus) -> str:
    low, high, middle = status.eta_low_seconds, status.eta_high_seconds, status.eta_seconds
    if low is None or high is None or middle is None or high - low < max(2.0, 0.1 * middle):
        return human.about(middle)
    return f"{human.about(middle)} ({human.about(low)} to {human.about(high)})"


def _rest(status: TaskStatus) -> Text:
    metrics = status.metrics
    parts = [f"{human.tokens(status.tokens.total)} tokens = {human.money(status.tokens.total)}"]
    if metrics.process_count:
        parts.append(human.plural(metrics.process_count, "process", "processes"))
    if metrics.thread_count:
        parts.append(human.plural(metrics.thread_count, "thread", "threads"))
    if metrics.io_read_bytes is not None:
        parts.append(f"read {human.size(metrics.io_read_bytes)}")
    if metrics.io_write_bytes is not None:
        parts.append(f"written {human.size(metrics.io_write_bytes)}")
    return _plain(" · ".join(parts), "dim")


def _plain(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style, no_wrap=True, overflow="ellipsis")
