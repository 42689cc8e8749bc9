"""`taskmeter events`: what happens, as it happens, each event once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from taskmeter.cli import options
from taskmeter.cli.output import print_json_line, styled
from taskmeter.cli.text import decode, escape

if TYPE_CHECKING:
    from taskmeter.client.status import Event


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN]...")
@click.option("--from", "from_seq", type=click.IntRange(min=1), metavar="SEQ", help="Begin with event SEQ; default: from now on.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="state, item, step, message, log, metadata, deleted.")
@options.tags("Only events of tasks with this tag; repeatable, all must match.")
@click.option("--until-terminal", is_flag=True, help="End when all the given tasks have ended.")
@options.json_flag("One JSON object per line.")
@options.connection
def events(
    tokens: tuple[str, ...],
    from_seq: int | None,
    kinds: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    until_terminal: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> None:
    """Stream events of the given tasks, or of all; a lost connection is made again without a gap.

    Every event has a number: `--from` that number + 1 goes on later where this ended.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve_all

    if until_terminal and not tokens:
        raise click.UsageError("--until-terminal needs tokens")
    with connect(target, state_dir) as client:
        wanted = resolve_all(client, tokens)
        for event in client.events(wanted, kinds=kinds, tags=dict(tags), from_seq=from_seq, until_terminal=until_terminal):
            if as_json:
                print_json_line(event)
            else:
                click.echo(_line(event))


def _line(event: Event) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{int(event.time * 1000) % 1000:03d}"
    return f"{event.seq:>6}  {when}  {styled(event.token[:11], 'white')}  {escape(_what(event))}"


def _what(event: Event) -> str:
    moved = event.state_changed
    if moved is not None:
        said = f"{moved.from_state.name} → {moved.to_state.name}"
        if moved.reason == "accepted":
            said = "accepted"
        parts = [moved.outcome.name if moved.outcome else "", moved.reason if moved.reason != "accepted" else ""]
        more = ", ".join(part for part in parts if part)
        return said + (f" ({more})" if more else "")
    if event.log is not None:
        return f"log {decode(event.log.data)}"
    if event.message is not None:
        return f"message: {event.message['text']}"
    if event.metadata_changed is not None:
        pairs = {**event.metadata_changed["tags"], **event.metadata_changed["metadata"]}
        return "metadata " + " ".join(f"{key}={value}" for key, value in pairs.items())
    if event.item_changed is not None:
        return f"item {event.item_changed['itemId']} {event.item_changed['stage']} status {event.item_changed['status']}"
    if event.step is not None:
        return f"step {event.step['itemId']} {event.step['stage']} {event.step['step']}"
    return "deleted" if event.task_deleted is not None else "?"
