"""A history drawn with characters: filled to the mean of each step, a light line at its highest, nothing where nobody looked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from taskmeter.cli import human, series
from taskmeter.cli.output import is_terminal
from taskmeter.cli.series import Series
from taskmeter.client.history import MetricsHistory

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

ROWS = 5
LEAST_WIDTH, MOST_WIDTH, UNSEEN_WIDTH = 60, 200, 100
LABEL_WIDTH = 11
COLUMNS_PER_TICK = 12

_BRAILLE = 0x2800
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Bits of the dots of each column of a braille cell, from below (Unicode chapter 21)."""


@dataclass(frozen=True, slots=True)
class Pen:
    """How a cell is drawn from two bars and two marks, each 0 to `levels` high in it."""

    across: int
    """Columns of dots in a cell."""
    levels: int
    axis: str
    corner: str
    line: str
    tick: str


FINE = Pen(2, 4, "┤", "└", "─", "┴")
PLAIN = Pen(1, 2, "|", "+", "-", "+")


def print_plot(history: MetricsHistory, start_time: float, console: Console) -> None:
    """Print one panel for each quantity that there is, over a common axis of time."""
    from rich.text import Text

    if not history.points:
        console.print(Text("  no history: it is kept from the first second of a running task on"), soft_wrap=True)
        return
    fine = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    for line in plot_lines(history, start_time, plot_width(), FINE if fine else PLAIN):
        console.print(line if fine else _in_ascii(line), soft_wrap=True)


def plot_width() -> int:
    """Return the columns to draw in: those of the terminal, within reason."""
    columns = get_terminal_size((UNSEEN_WIDTH, 24)).columns if is_terminal(sys.stdout) else UNSEEN_WIDTH
    return min(max(columns, LEAST_WIDTH), MOST_WIDTH)


def plot_lines(history: MetricsHistory, start_time: float, width: int, pen: Pen) -> list[Text]:
    """Return the lines of the drawing."""
    from rich.text import Text

    columns = width - LABEL_WIDTH - 2
    begin, end = history.points[0].time, series.end_of(history)
    shown = series.series_of(history)
    lines: list[Text] = []
    for one in shown:
        lines += [Text(), _title(one), *_panel(one, history, (begin, end), columns, pen)]
    lines += _time_axis(begin, end, start_time, columns, pen)
    lines += _legend(history, begin, end, columns)
    return lines


def _title(one: Series) -> Text:
    from rich.text import Text

    parts = [f"mean {one.show(series.mean_of(one))}", f"highest {one.show(one.highest)}"]
    return Text.assemble((f"{one.title:>{LABEL_WIDTH}}  ", f"bold {one.colour}"), (" · ".join(parts), "dim"))


def _panel(one: Series, history: MetricsHistory, span: tuple[float, float], columns: int, pen: Pen) -> list[Text]:
    from rich.text import Text

    top = one.top
    means = _spread(one.means, history, span, columns * pen.across, sum_up=False)
    highs = _spread(one.highs, history, span, columns * pen.across, sum_up=True) if one.highs else [None] * len(means)
    levels = ROWS * pen.levels
    bars = [_level(value, top, levels) for value in means]
    marks = [_level(value, top, levels) for value in highs]
    labels = {ROWS - 1: one.show(top), ROWS // 2: one.show(top / 2), 0: "0"}
    lines = []
    for row in reversed(range(ROWS)):
        line = Text(f"{labels.get(row, ''):>{LABEL_WIDTH}} ", "dim")
        line.append(pen.axis if labels.get(row) else ("│" if pen is FINE else "|"), "dim")
        cells = [
            _cell(bars[at : at + pen.across], marks[at : at + pen.across], row, pen) for at in range(0, len(bars), pen.across)
        ]
        for style, run in groupby(cells, key=lambda cell: cell[1]):
            line.append("".join(text for text, _ in run), one.colour if style == "bar" else f"dim {one.colour}")
        lines.append(line)
    return lines


def _spread(
    values: Sequence[float | None], history: MetricsHistory, span: tuple[float, float], columns: int, *, sum_up: bool
) -> list[float | None]:
    """Return the mean (or, to `sum_up`, the highest) of the steps that each column touches; None where there is none."""
    begin, end = span
    width = (end - begin) / columns
    found: list[list[float]] = [[] for _ in range(columns)]
    for point, value in zip(history.points, values, strict=True):
        if value is not None:
            first = int((point.time - begin) / width + 1e-6)
            last = int((point.time + history.resolution_seconds - begin) / width - 1e-6)
            for column in range(first, min(last, columns - 1) + 1):
                found[column].append(value)
    return [None if not each else max(each) if sum_up else sum(each) / len(each) for each in found]


def _level(value: float | None, top: float, levels: int) -> int:
    """How many dots high; what was measured has at least one, so that 0 is not taken for a gap."""
    return 0 if value is None else max(1, min(round(value / top * levels), levels))


def _cell(bars: Sequence[int], marks: Sequence[int], row: int, pen: Pen) -> tuple[str, str]:
    """Return the character of a cell, and whether it belongs to the bars or only to the marks above them."""
    base = row * pen.levels
    if pen is FINE:
        bits = filled = 0
        for dots, bar, mark in zip(_DOTS, bars, marks, strict=True):
            for level, dot in enumerate(dots):
                if base + level < bar:
                    filled |= dot
                elif base + level == mark - 1:
                    bits |= dot
        return chr(_BRAILLE | bits | filled) if bits | filled else " ", "bar" if filled else "mark"
    [bar], [mark] = bars, marks
    if bar > base:
        return ("#" if bar >= base + pen.levels else "_" if row == 0 and bar == 1 else "="), "bar"
    return ("." if base < mark <= base + pen.levels else " "), "mark"


def _time_axis(begin: float, end: float, start_time: float, columns: int, pen: Pen) -> list[Text]:
    """Return the line below the panels and the running times below that."""
    from rich.text import Text

    zero = series.zero_of(begin, start_time)
    step = series.tick_seconds(end - begin, max(columns // COLUMNS_PER_TICK, 2))
    axis, below = list(pen.line * columns), [" "] * columns
    free = 0
    elapsed = -(-(begin - zero) // step) * step
    while zero + elapsed <= end:
        at = min(max(int((zero + elapsed - begin) / (end - begin) * columns), 0), columns - 1)
        label = human.clock(elapsed)
        left = min(max(at - len(label) // 2, 0), columns - len(label))
        if left >= free:
            axis[at] = pen.tick
            below[left : left + len(label)] = label
            free = left + len(label) + 2
        elapsed += step
    indent = " " * (LABEL_WIDTH + 1)
    return [
        Text(f"{indent}{pen.corner}{''.join(axis)}", "dim"),
        Text(f"{indent} {''.join(below).rstrip()}", "dim"),
    ]


def _legend(history: MetricsHistory, begin: float, end: float, columns: int) -> list[Text]:
    from rich.text import Text

    parts = [f"{human.instant(begin)} to {human.instant(end)}", f"steps of {series.step_name(history)}"]
    if any(point.cpu_cores_max > point.cpu_cores for point in history.points):
        parts.append("light: the highest within")
    if len(series.runs(history)) > 1:
        parts.append("blank: nobody looked")
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= columns:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return [Text(f"{' ' * (LABEL_WIDTH + 2)}{line}", "dim") for line in lines]


def _in_ascii(line: Text) -> Text:
    """Keep what any terminal can show."""
    from rich.text import Text

    return Text(line.plain.replace("·", ",").replace("–", "-").encode("ascii", "replace").decode("ascii"))
