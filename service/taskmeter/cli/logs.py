"""`taskmeter logs`: what a task wrote to its stdout and stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import options
from taskmeter.cli.output import is_terminal, print_json_line, wants_colour
from taskmeter.cli.text import decode

if TYPE_CHECKING:
    from taskmeter.cli.feed import Output
    from taskmeter.client.sync import SyncClient

Show = Callable[[str, bytes, int], None]


@click.command()
@options.token_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@click.option("-n", "--lines", "last_lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines (of each).")
@click.option("--stdout", "only", flag_value="stdout", default=None, help="Only what it wrote to stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only what it wrote to stderr.")
@click.option("--attempt", type=click.IntRange(min=0), metavar="N", help="Of attempt N, from 0; default: the newest.")
@options.json_flag("Print pieces as JSON, one object per line: stream, offset, text.")
@options.connection
def logs(
    token: str,
    follow: bool,
    last_lines: int | None,
    only: str | None,
    attempt: int | None,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> None:
    """Show what a task wrote: its stdout on stdout, its stderr on stderr.

    Bytes go through untouched unless they go to a terminal, where control characters are shown as codes. Without --follow, all
    of stdout comes before all of stderr.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve

    streams = [only] if only else ["stdout", "stderr"]
    with connect(target, state_dir) as client:
        token = resolve(client, token)
        show = _json_shower() if as_json else _shower()
        wanted = {"attempt": attempt, "last_lines": last_lines}
        if follow:
            for item in _follow(client, token, streams, wanted):
                _say_lost(item.stream, item.lost_bytes)
                show(item.stream, item.data, item.offset)
        else:
            for stream in streams:
                for chunk in client.read_file(token, stream, **wanted):  # type: ignore[arg-type]
                    if chunk.data:
                        _say_lost(stream, chunk.lost_bytes)
                        show(stream, chunk.data, chunk.offset)
        show("", b"", 0)


def _follow(client: SyncClient, token: str, streams: list[str], wanted: dict[str, Any]) -> Iterator[Output]:
    from taskmeter.cli.feed import Feed, Output

    with Feed(client, token, interval_seconds=None, streams=streams, **wanted) as feed:
        while not feed.finished:
            for item in feed.get_all(1.0):
                if isinstance(item, Output):
                    yield item


def _say_lost(stream: str, lost_bytes: int) -> None:
    """Say on stderr that what should come here is no longer kept."""
    if lost_bytes:
        click.echo(f"taskmeter: {lost_bytes} bytes of {stream} before this are no longer kept", err=True)


def _shower() -> Show:
    """Write bytes where they belong; to a terminal only whole, harmless lines. No bytes mean that there will be no more."""
    import os

    from taskmeter.cli.lines import LineCutter

    files = {"stdout": sys.stdout, "stderr": sys.stderr}
    cutters = {name: LineCutter() for name, file in files.items() if is_terminal(file)}

    def show(stream: str, data: bytes, _: int) -> None:
        if not stream:
            for name, cutter in cutters.items():
                _print_lines(name, cutter.finish())
        elif stream in cutters:
            _print_lines(stream, cutters[stream].feed(data))
        else:
            view = memoryview(data)
            while view:
                view = view[os.write(files[stream].fileno(), view) :]

    return show


def _print_lines(stream: str, lines: list[str]) -> None:
    if not lines:
        return
    text = "\n".join(lines)
    if stream == "stderr":
        click.echo(click.style(text, dim=True) if wants_colour(sys.stderr) else text, err=True)
    else:
        click.echo(text)


def _json_shower() -> Show:
    def show(stream: str, data: bytes, offset: int) -> None:
        if stream:
            print_json_line({"stream": stream, "offset": offset, "text": decode(data)})

    return show
