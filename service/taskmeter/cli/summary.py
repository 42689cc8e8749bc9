"""What came of a task, for people: outcome, timeline, resources, items, cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskmeter.cli import human, words
from taskmeter.cli.text import escape
from taskmeter.client.status import TaskMetrics, TaskStatus, TaskTokens
from taskmeter.model.usage import MemorySource, MetricsSource

if TYPE_CHECKING:
    from rich.console import Console

WORTH_A_TIME_SECONDS = 30.0
"""A task that took less ended about when it was accepted."""

_CPU_SOURCES = {
    MetricsSource.CGROUP: "cgroup",
    MetricsSource.BPF: "BPF",
    MetricsSource.CLOCK: "process clocks",
    MetricsSource.PROCFS: "procfs",
    MetricsSource.EXTERNAL: "reported",
    MetricsSource.RUSAGE: "rusage",
}
_MEMORY_SOURCES = {
    MemorySource.CGROUP: "cgroup",
    MemorySource.PSS: "PSS",
    MemorySource.RSS: "RSS",
    MemorySource.EXTERNAL: "reported",
}


def print_summary(status: TaskStatus, console: Console, *, full: bool = False) -> None:
    """Print it; `full` adds what `status` shows beyond a summary."""
    from rich.table import Table
    from rich.text import Text

    shown = words.standing(status)
    head = Text.assemble((f"{shown.sign} ", shown.style), (escape(words.title(status)), "bold"), (f"  {shown.word}", shown.style))
    if more := words.detail(status):
        head.append(f" ({more})", shown.style)
    seconds = words.elapsed_seconds(status, time.time())
    if seconds is not None:
        head.append(f"  {human.span(seconds)}")
    head.append(f"  {status.token}", "dim")
    console.print(head, soft_wrap=True)
    if status.exit_message:
        console.print(Text(f"  {escape(status.exit_message)}"), soft_wrap=True)
    lines = summary_lines(status) + (more_lines(status) if full else [])
    if not console.is_terminal:
        for label, value in lines:
            console.print(f"  {label:<9} {value}")
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in lines:
        grid.add_row(f"  {label}", Text(value))
    console.print(grid)


def summary_lines(status: TaskStatus) -> list[tuple[str, str]]:
    """Return (label, text) of everything worth saying."""
    metrics, tokens = status.metrics, status.tokens
    lines = [("timeline", _timeline(status))]
    if metrics.cpu_time_ns is not None:
        used = f"{human.span(metrics.cpu_time_ns / 1e9)} of one core{_source(_CPU_SOURCES, metrics.source)}"
        lines.append(("cpu", _peak_average_total(human.percent, metrics.peak_cpu_percent, metrics.avg_cpu_percent, used)))
        used = f"{human.byte_seconds(tokens.memory_byte_seconds)}{_source(_MEMORY_SOURCES, metrics.memory_source)}"
        lines.append(("memory", _peak_average_total(human.mib, metrics.peak_cpu_memory_mb, metrics.avg_cpu_memory_mb, used)))
        if metrics.peak_gpu_memory_mb or metrics.peak_gpu_utilization_percent:
            lines.append(("gpu", _gpu(metrics, tokens)))
        if metrics.io_read_bytes is not None or metrics.io_write_bytes is not None:
            lines.append(("disk", f"read {human.size(metrics.io_read_bytes)} · written {human.size(metrics.io_write_bytes)}"))
    done = status.completed_count + status.failed_count
    if done or status.total_count:
        of = f" of {human.count(status.total_count)}" if status.total_count else ""
        failed = f" · {human.count(status.failed_count)} failed" if status.failed_count else ""
        seconds = words.elapsed_seconds(status, time.time())
        rate = f" · {human.rate(done / seconds)} on average" if seconds else ""
        lines.append(("items", f"{human.count(done)}{of}{failed}{rate}"))
    if status.completed_size:
        lines.append(("data", human.size(status.completed_size)))
    parts = f"cpu {human.tokens(tokens.cpu_utilization)} · memory {human.tokens(tokens.cpu_memory)}"
    if tokens.gpu_memory or tokens.gpu_utilization:
        parts += f" · gpu {human.tokens(tokens.gpu_memory + tokens.gpu_utilization)}"
    for name, priced in tokens.custom.items():
        parts += f" · {escape(name)} {human.tokens(priced)}"
    parts = f" ({parts})" if tokens.total else ""
    lines.append(("cost", f"{human.tokens(tokens.total)} tokens{parts} = {human.money(tokens.total)}"))
    return lines


def more_lines(status: TaskStatus) -> list[tuple[str, str]]:
    """Return what else is known of the task."""
    metrics = status.metrics
    ended = f" · outcome {status.outcome.name} · exit code {status.exit_code}" if status.completed else ""
    lines = [("state", status.state.name + ended)]
    if not status.completed and metrics.process_count is not None:
        parts = [
            f"CPU {human.percent(metrics.cpu_percent)} ({human.cores(metrics.cpu_cores)} cores)",
            f"RAM {human.size(metrics.memory_bytes)}",
            *_gpus_now(metrics),
            human.plural(metrics.process_count, "process", "processes"),
            human.plural(metrics.thread_count or 0, "thread", "threads"),
        ]
        lines.append(("now", " · ".join(parts)))
    if parts := _kernel(status):
        lines.append(("kernel", " · ".join(parts)))
    if status.eta_seconds is not None:
        lines.append(("eta", human.about(status.eta_seconds)))
    elif status.stalled:
        lines.append(("eta", "stalled: no progress for ten times its usual pause"))
    if status.waiting_reason or status.queue_position is not None:
        lines.append(("waiting", words.why_waiting(status)))
    for label, text in (
        ("says", status.status),
        ("works on", status.current_object),
        ("work", status.work_summary),
        ("project", status.project_id),
        ("source", status.source),
        ("queue", status.queue),
        ("node", status.node),
        ("pid", str(status.pid or "")),
        ("attempt", _attempts(status)),
        ("tags", " ".join(f"{key}={value}" for key, value in status.tags.items())),
        ("metadata", " ".join(f"{key}={value}" for key, value in status.metadata.items())),
        ("unkillable", " ".join(map(str, status.unkillable_pids))),
    ):
        if text:
            lines.append((label, escape(text)))
    lines += [("error", escape(text)) for text in status.errors[-5:]]
    lines += [("warning", escape(text)) for text in status.warnings[-5:]]
    return lines


def _attempts(status: TaskStatus) -> str:
    used = f"{status.retries_used} of {human.plural(status.max_retries, 'retry', 'retries')} used" if status.max_retries else ""
    return " · ".join(filter(None, [f"{status.attempt + 1}" if status.attempt or used else "", used]))


def _peak_average_total(show: Callable[[float | None], str], peak: float | None, average: float | None, total: str) -> str:
    return f"peak {show(peak)} · average {show(average)} · total {total}"


def _gpu(metrics: TaskMetrics, tokens: TaskTokens) -> str:
    text = f"peak {human.mib(metrics.peak_gpu_memory_mb)} · average {human.mib(metrics.avg_gpu_memory_mb)}"
    if metrics.peak_gpu_utilization_percent is not None:
        text += f" · busy at most {human.percent(metrics.peak_gpu_utilization_percent)}, {human.span(tokens.gpu_ns / 1e9)} in all"
    return text


def _gpus_now(metrics: TaskMetrics) -> list[str]:
    """Return what is used of each GPU; nothing when none is."""
    return [
        f"GPU {gpu['index']} {human.percent(gpu['utilizationPercent'])} {human.size(gpu['memoryBytes'])}" for gpu in metrics.gpus
    ]


def _kernel(status: TaskStatus) -> list[str]:
    """Return what the kernel counts beside processor time and memory, as far as it does here."""
    metrics = status.metrics
    parts = []
    if metrics.open_file_count is not None and not status.completed:
        parts.append(human.plural(metrics.open_file_count, "open file", "open files"))
    for total, rest, noun, how in (
        (metrics.voluntary_switch_count, metrics.involuntary_switch_count, "context switches", "forced"),
        (metrics.minor_fault_count, metrics.major_fault_count, "page faults", "from disk"),
    ):
        if total is not None:
            forced = f" ({human.count(rest)} {how})" if rest else ""
            parts.append(f"{human.count(total + (rest or 0))} {noun}{forced}")
    if metrics.uss_bytes is not None:
        parts.append(f"{human.size(metrics.uss_bytes)} of its own")
    waits = (
        ("CPU", metrics.cpu_pressure_percent),
        ("memory", metrics.memory_pressure_percent),
        ("disk", metrics.io_pressure_percent),
    )
    shown = [f"{name} {human.percent(percent)}" for name, percent in waits if percent is not None and percent >= 1.0]
    if shown and not status.completed:
        parts.append(f"waits for {', '.join(shown)} of the time")
    return parts


def _timeline(status: TaskStatus) -> str:
    timings = status.timings
    parts = [f"accepted {human.instant(status.create_time)}"]
    for label, seconds in (
        ("waited", timings.queue_seconds),
        ("started in", timings.start_seconds),
        ("ran", timings.run_seconds),
        ("stopped in", timings.stop_seconds),
    ):
        if seconds is not None:
            parts.append(f"{label} {human.span(seconds)}")
    if status.end_time - status.create_time > WORTH_A_TIME_SECONDS:
        parts.append(f"ended {human.instant(status.end_time)}")
    return " · ".join(parts)


def _source(names: dict[MetricsSource, str] | dict[MemorySource, str], source: int | None) -> str:
    name = names.get(source) if source else None  # type: ignore[call-overload]
    return f" ({name})" if name else ""
