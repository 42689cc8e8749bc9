"""What goes to stdout: tables on terminals, tab-separated lines elsewhere, JSON when asked. Colours on terminals only.

`--json` gives the status view: one object for one task, one array for a list, one object per line for a stream.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 1000
"""Where nobody looks, nothing is wrapped."""


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
        width=None if is_terminal(stream) else PLAIN_WIDTH,
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
