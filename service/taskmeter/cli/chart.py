"""A history as a picture: one panel for each quantity over a common axis of time, by matplotlib without a display."""

from __future__ import annotations

import io
import os
import stat
import warnings
from typing import TYPE_CHECKING, Any

from taskmeter.cli import human, series, words
from taskmeter.cli.series import Series
from taskmeter.cli.text import escape, shorten
from taskmeter.client.history import MetricsHistory
from taskmeter.client.status import TaskStatus
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, PANEL_INCHES, EDGE_INCHES, DOTS_PER_INCH = 10.0, 1.7, 1.25, 144
INK, GREY, LIGHT = "#1f2328", "#6b737c", "#dfe3e8"
MOST_TICKS = 8
EAST_ASIAN_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "IPAGothic", "Unifont")


def write_chart(history: MetricsHistory, status: TaskStatus, path: str) -> None:
    """Write a PNG of the history to `path`, over what was there, whole or not at all.

    Raises `TaskmeterError` where matplotlib is missing, there is nothing to draw, or the file cannot be written.
    """
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ImportError:
        raise TaskmeterError("charts need matplotlib, which is not installed", hint="pip install 'taskmeter[plot]'") from None
    if not history.points:
        raise TaskmeterError("the task has no history to draw: it is kept from its first second on")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that no font here has
        _draw(history, status).savefig(picture, format="png", dpi=DOTS_PER_INCH)
    try:
        _write(path, picture.getvalue())
    except OSError as error:
        raise TaskmeterError(f"{path}: {error.strerror}") from None


def _write(path: str, data: bytes) -> None:
    path = os.path.realpath(path)
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = True
    if not regular:  # a pipe, a device: written to, not replaced
        with open(path, "wb") as file:
            file.write(data)
        return
    fresh = f"{path}.{os.getpid()}.new"
    try:
        with open(fresh, "xb") as file:
            file.write(data)
        os.replace(fresh, path)
    except BaseException:
        if os.path.lexists(fresh):
            os.unlink(fresh)
        raise


def _draw(history: MetricsHistory, status: TaskStatus) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = series.series_of(history)
    height = EDGE_INCHES + PANEL_INCHES * len(shown)
    figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    edges = {"left": 0.115, "right": 0.97, "top": 1 - 0.72 / height, "bottom": 0.5 / height}
    figure.subplots_adjust(hspace=0.42, **edges)
    for panel, one in zip(panels, shown, strict=True):
        _panel(panel, one, history)
    _time_axis(panels[-1], history, status.start_time)
    _head(figure, history, status, height)
    return figure


def _panel(panel: Axes, one: Series, history: MetricsHistory) -> None:
    """Draw the mean as a filled line, and up to the highest within each step lighter."""
    step = history.resolution_seconds
    for run in series.runs(history):
        edges = [history.points[n].time for n in run] + [history.points[run[-1]].time + step]
        means = _along(one.means, run)
        if one.highs:
            panel.fill_between(edges, means, _along(one.highs, run), step="post", color=one.ink, alpha=0.16, linewidth=0)
        panel.fill_between(edges, means, step="post", color=one.ink, alpha=0.30, linewidth=0)
        panel.step(edges, means, where="post", color=one.ink, linewidth=1.4, solid_joinstyle="round")
    panel.set_ylim(0, one.top * 1.04)
    panel.set_yticks([0, one.top / 2, one.top], ["0", _plain(one.show(one.top / 2)), _plain(one.show(one.top))])
    panel.set_xlim(history.points[0].time, series.end_of(history))
    panel.grid(axis="y", color=LIGHT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, labelsize=9, labelcolor=GREY, pad=6)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
    facts = f"mean {one.show(series.mean_of(one))} · highest {one.show(one.highest)}"
    panel.set_title(one.title, loc="left", fontsize=10.5, fontweight="bold", color=one.ink, pad=6)
    panel.set_title(facts, loc="right", fontsize=9, color=GREY, pad=6)


def _along(values: Any, run: range) -> list[float]:
    """Return one value per edge of the steps; NaN where nothing was measured."""
    found = [float("nan") if values[n] is None else float(values[n]) for n in run]
    return [*found, found[-1]]


def _time_axis(panel: Axes, history: MetricsHistory, start_time: float) -> None:
    begin, end = history.points[0].time, series.end_of(history)
    zero = series.zero_of(begin, start_time)
    step = series.tick_seconds(end - begin, MOST_TICKS)
    first = -(-(begin - zero) // step)
    ticks = [zero + step * n for n in range(int(first), int((end - zero) // step) + 1)]
    panel.set_xticks(ticks, [human.clock(tick - zero) for tick in ticks])
    panel.tick_params(axis="x", length=4, color=GREY)


def _head(figure: Figure, history: MetricsHistory, status: TaskStatus, height: float) -> None:
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    family = ["DejaVu Sans", *(name for name in EAST_ASIAN_FONTS if name in known)]
    begin, end = history.points[0].time, series.end_of(history)
    name = shorten(escape(words.title(status)), 60)
    about = f"{words.standing(status).word} · {human.instant(begin)} to {human.instant(end)}"
    about += f" · steps of {series.step_name(history)} · {status.token}"
    top = 1 - 0.16 / height
    figure.text(0.022, top, name, fontsize=14, fontweight="bold", color=INK, va="top", family=family, parse_math=False)
    figure.text(0.97, top - 0.02 / height, about, fontsize=8.5, color=GREY, va="top", ha="right", parse_math=False)


def _plain(text: str) -> str:
    """Units without what a scale need not say."""
    return text.removesuffix(" cores")
