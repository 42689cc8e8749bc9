"""What a history shows, as series to draw: processor, memory, GPU where there is one, rates where there were any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskmeter.cli import human
from taskmeter.client.history import MetricsHistory, MetricsPoint

_DECIMAL = [base * 10**power for power in range(-2, 13) for base in (1, 1.5, 2, 3, 4, 5, 6, 8)]
_BINARY = [
    size * 1024**power
    for power in range(7)
    for size in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
]
_SPANS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over the steps of a history; None where it was not measured."""

    title: str
    colour: str
    """For a terminal; `ink` is for paper."""
    ink: str
    show: Callable[[float | None], str]
    """Write a value with its unit."""
    means: Sequence[float | None]
    highs: Sequence[float | None]
    """The highest within each step; empty = not recorded."""
    binary: bool = False
    """Counted in bytes."""
    whole: float = 0.0
    """The top of the scale is at least this."""

    @property
    def highest(self) -> float:
        return max((value for value in (*self.means, *self.highs) if value is not None), default=0.0)

    @property
    def top(self) -> float:
        """The end of the scale: a round number above everything that is drawn."""
        wanted = max(self.highest, self.whole)
        scale = _BINARY if self.binary else _DECIMAL
        return float(next((value for value in scale if value >= wanted * 0.999), wanted)) if wanted > 0 else self.whole or 1.0


def series_of(history: MetricsHistory) -> list[Series]:
    """Return what there is to draw. Processor and memory always; the rest where there is anything of it."""
    points = history.points
    found = [
        Series("CPU", "cyan", "#0f7b9c", _cores, _all(points, "cpu_cores"), _all(points, "cpu_cores_max"), whole=0.1),
        Series(
            "RAM",
            "magenta",
            "#9b3d96",
            human.size,
            _all(points, "memory_bytes"),
            _all(points, "memory_bytes_max"),
            binary=True,
            whole=1024.0,
        ),
        Series("GPU", "green", "#3b8132", human.percent, _all(points, "gpu_utilization_percent"), (), whole=100.0),
        Series("GPU RAM", "green", "#3b8132", human.size, _all(points, "gpu_memory_bytes"), (), binary=True, whole=1024.0),
        Series("Items", "yellow", "#b0700a", human.rate, _all(points, "rate_count_per_second"), ()),
        Series("Bytes", "yellow", "#b0700a", _size_rate, _all(points, "rate_size_per_second"), (), binary=True),
    ]
    measured = [one for one in found[2:4] if any(value is not None for value in one.means)]
    return found[:2] + measured + [one for one in found[4:] if one.highest > 0]


def runs(history: MetricsHistory) -> list[range]:
    """Return the stretches of points without a hole between them."""
    times = [point.time for point in history.points]
    breaks = [n for n in range(1, len(times)) if times[n] - times[n - 1] > 1.5 * history.resolution_seconds]
    edges = [0, *breaks, len(times)]
    return [range(first, last) for first, last in pairwise(edges) if last > first]


def end_of(history: MetricsHistory) -> float:
    """Return when the last step ends."""
    return history.points[-1].time + history.resolution_seconds


def mean_of(series: Series) -> float | None:
    """Return the mean over the time that was sampled."""
    known = [value for value in series.means if value is not None]
    return sum(known) / len(known) if known else None


def zero_of(begin: float, start_time: float) -> float:
    """Return when running times count from: the start of the attempt, which is where its history begins, but for moments."""
    return start_time if 0 < start_time < begin - 2.0 else begin


def step_name(history: MetricsHistory) -> str:
    """Return how long the steps are: 10 s, 15 min, 2 h."""
    seconds = history.resolution_seconds
    for length, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def tick_seconds(span: float, most: int) -> float:
    """Return the shortest round time of which `span` holds at most so many."""
    days = (86400.0 * n for n in range(2, 10_000))
    return next((float(step) for step in _SPANS if span / step <= most), None) or next(day for day in days if span / day <= most)


def _all(points: Sequence[MetricsPoint], name: str) -> list[float | None]:
    return [getattr(point, name) for point in points]


def _cores(value: float | None) -> str:
    return human.NOTHING if value is None else f"{value:.2f} cores"


def _size_rate(value: float | None) -> str:
    return human.NOTHING if value is None else f"{human.size(value)}/s"
