"""What goes to stdout: tables on terminals, tab-separated lines elsewhere, JSON when asked. Colours on terminals only.

`--json` gives the status view: one object for one task, one array for a list, one object per line for a stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console


def is_terminal(stream: TextIO) -> bool:
    """Tell whether someone looks at this stream."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def wants_colour(stream: TextIO) -> bool:
    """Tell whether colours are welcome: a terminal that knows them, and no NO_COLOR (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, colour: str, *, err: bool = False) -> str:
    """Colour a word of ours for stdout or stderr."""
    return click.style(text, fg=colour, bold=True) if wants_colour(sys.stderr if err else sys.stdout) else text


@cache
def console(*, err: bool = False) -> Console:
    """Return the rich console of stdout or stderr; markup and highlighting are off, the texts are not ours."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        no_color=not wants_colour(stream),
        soft_wrap=not is_terminal(stream),
    )


def print_json(value: object) -> None:
    """Print one JSON document: indented for people, in one line for programs."""
    from taskmeter.client.view import to_json

    click.echo(to_json(value, indent=2 if is_terminal(sys.stdout) else None))


def print_json_line(value: object) -> None:
    """Print one object of a stream in one line and flush it."""
    from taskmeter.client.view import to_json

    click.echo(to_json(value))


def print_rows(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]], plain: Iterable[Sequence[str]]) -> None:
    """Print a table: on a terminal `rows` of rich texts, elsewhere `plain` ones, one line each, separated by tabs.

    Args:
        columns: heading and alignment ("left" or "right") of each column.
    """
    if not is_terminal(sys.stdout):
        for line in plain:
            click.echo("\t".join(line))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold dim", show_edge=False)
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)  # type: ignore[arg-type]
    console().print(table)
