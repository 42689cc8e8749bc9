"""Draws figures as SVG, where matplotlib is installed (the extra `plot`): a line per side, a panel per case, ranges as bands."""

from __future__ import annotations

import io
import re
import statistics
from importlib.util import find_spec
from typing import Any

from bench.result import Cell, Plot, Result

_PANEL_WIDTH, _HEIGHT, _LEGEND_WIDTH = 4.2, 4.4, 2.6


def available() -> bool:
    """Tell whether there can be plots."""
    return find_spec("matplotlib") is not None


def lines(result: Result, plot: Plot) -> str:
    """Return an SVG, or nothing without matplotlib or figures."""
    cells = [cell for cell in result.cells if cell.get(plot.key)]
    if not available() or not cells:
        return ""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = plot.key  # the same figures make the same file
    panels = list(dict.fromkeys(cell.get(plot.panel, "") for cell in cells))
    sides = list(dict.fromkeys(cell["side"] for cell in result.cells))
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(_PANEL_WIDTH * len(panels) + _LEGEND_WIDTH, _HEIGHT),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    drawn = {}
    for axis, panel in zip(axes[0], panels, strict=True):
        for number, side in enumerate(sides):
            here = [cell for cell in cells if cell["side"] == side and cell.get(plot.panel, "") == panel]
            if here:
                drawn[side] = _line(axis, here, plot, number, ours=side == result.base)
        axis.set_xscale("log")
        axis.set_yscale("log" if plot.y_log else "linear")
        axis.set_xlabel(plot.x.replace("_", " "))
        name = f"{panel:,} {plot.panel.replace('_', ' ')}" if isinstance(panel, int) else str(panel)
        axis.set_title(name, fontsize="medium")
        axis.grid(visible=True, which="both", alpha=0.2)
    axes[0][0].set_ylabel(next((column.title for column in result.columns if column.key == plot.key), plot.key))
    figure.suptitle(plot.title)
    figure.legend(drawn.values(), drawn.keys(), loc="outside right upper", fontsize="small")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()


def _line(axis: Any, cells: list[Cell], plot: Plot, number: int, *, ours: bool) -> Any:
    from matplotlib import pyplot as plt

    color = "black" if ours else plt.get_cmap("tab10")(number % 10)
    x = [cell[plot.x] for cell in cells]
    [line] = axis.plot(
        x, [statistics.median(cell[plot.key]) for cell in cells], marker="o", ms=3, lw=2.2 if ours else 1.2, color=color
    )
    axis.fill_between(x, [min(c[plot.key]) for c in cells], [max(c[plot.key]) for c in cells], alpha=0.12, color=color)
    return line


def titles(body: str, name: str) -> list[str]:
    """Return the alternative texts with which a page shows a picture."""
    return re.findall(rf'<img alt="([^"]*)" src="{re.escape(name)}" />', body)
