"""Tables that fit the terminal: flexible columns give way first, then the least important columns go; figures are never cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from taskmeter.cli.output import console, is_terminal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

GAP = 2
MIN_FLEXIBLE_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Column:
    """One column and how it gives way."""

    heading: str
    right: bool = False
    flexible: bool = False
    """Its text may be cut."""
    rank: int = 0
    """Columns with the highest rank go first when there is no room; 0 stays."""
    width: int = 0
    """Of cells that are not text."""
    footer: str = ""


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[RenderableType]], width: int) -> Table:
    """Return a table of the columns that fit into `width` characters."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    natural = [
        max(
            [column.width, cell_len(column.heading), cell_len(column.footer)]
            + [cell_len(row[index].plain) for row in rows if isinstance(row[index], Text)]  # type: ignore[union-attr]
        )
        for index, column in enumerate(columns)
    ]
    least = [
        min(wanted, MIN_FLEXIBLE_WIDTH) if column.flexible else wanted for column, wanted in zip(columns, natural, strict=True)
    ]
    shown = list(range(len(columns)))
    while sum(least[index] + GAP for index in shown) - GAP > width:
        last = max(shown, key=lambda index: (columns[index].rank, index))
        if not columns[last].rank:
            break
        shown.remove(last)
    spare = width - sum(least[index] + GAP for index in shown) + GAP
    footer = any(column.footer for column in columns)
    table = Table(
        box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold dim", show_footer=footer, footer_style="bold"
    )
    for index in shown:
        column = columns[index]
        more = min(max(spare, 0), natural[index] - least[index])
        spare -= more
        table.add_column(
            column.heading,
            column.footer,
            justify="right" if column.right else "left",
            width=least[index] + more,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*[row[index] for index in shown])
    return table


def print_rows(columns: Sequence[Column], rows: Iterable[Sequence[RenderableType]], plain: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal; elsewhere `plain`, one line each, with tabs between all columns and no heading."""
    if is_terminal(sys.stdout):
        terminal = console()
        terminal.print(fitted(columns, list(rows), terminal.width))
        return
    for line in plain:
        click.echo("\t".join(line))
