"""`taskmeter items`: how many items of a task stand how, which ones, and what happened to one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from taskmeter.cli import human, options
from taskmeter.cli.output import is_terminal, print_json
from taskmeter.cli.table import Column, print_rows
from taskmeter.cli.text import escape

if TYPE_CHECKING:
    from taskmeter.client.items import Item, ItemCounts, ItemHistory, ItemStats
    from taskmeter.client.status import Event
    from taskmeter.client.sync import SyncClient

DEFAULT_LIMIT = 100
STATUSES = ("queued", "in_progress", "completed", "failed", "retrying", "skipped")
NONE = "–"

COUNTS = [Column("STAGE", flexible=True), *(Column(status.replace("_", " ").upper(), right=True) for status in STATUSES)]
LIST = [
    Column("ITEM", flexible=True),
    Column("STATUS"),
    Column("STAGE", flexible=True),
    Column("TRIES", right=True, rank=1),
    Column("SIZE", right=True, rank=2),
    Column("CHANGED", rank=3),
    Column("ERROR", flexible=True),
]
HISTORY = [Column("TIME"), Column("ATTEMPT", right=True, rank=1), Column("STAGE", flexible=True), Column("WHAT", flexible=True)]


@click.command()
@click.argument("token", metavar="TOKEN")
@click.argument("item", required=False, metavar="[ITEM]")
@click.option("--failed", is_flag=True, help="List the items that were given up.")
@click.option("-s", "--status", "statuses", multiple=True, metavar="WORD", help=f"List items of a status: {', '.join(STATUSES)}.")
@click.option("--stage", default="", metavar="NAME", help="List only items in this stage.")
@click.option("-a", "--all", "every", is_flag=True, help="List items of every status.")
@click.option(
    "-n", "limit", type=click.IntRange(min=0), default=DEFAULT_LIMIT, show_default=True, help="List at most N items; 0: all."
)
@options.json_flag("Print one JSON object: counts, or an item and its events; or an array of items.")
@options.connection
def items(
    token: str,
    item: str | None,
    failed: bool,
    statuses: tuple[str, ...],
    stage: str,
    every: bool,
    limit: int,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> None:
    """Count the items of a task by status and stage; list those asked for; or show what happened to ITEM.

    An ITEM that is not a text is given as JSON: 7, [1,"a"].
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve

    words = (*statuses, *(("failed",) if failed else ()))
    listing = bool(words or stage or every)
    if item is not None and listing:
        raise click.UsageError("ITEM and what selects items exclude each other")
    with connect(target, state_dir) as client:
        found = resolve(client, token)
        if item is not None:
            _show_one(client, found, item, as_json=as_json)
        elif listing:
            listed = client.list_items(found, status=words, stage=stage)
            _show_list(list(islice(listed, limit or None)), as_json=as_json)
        else:
            _show_stats(client.get_item_stats(found), as_json=as_json)


def _print(columns: list[Column], rows: Sequence[Sequence[str]]) -> None:
    if is_terminal(sys.stdout):
        from rich.text import Text

        print_rows(columns, ([Text(cell) for cell in row] for row in rows), rows)
    else:
        print_rows(columns, (), rows)


def _show_stats(stats: ItemStats, *, as_json: bool) -> None:
    if as_json:
        print_json(stats)
        return
    rows = [_counts(_cell(each.stage) or NONE, each.counts) for each in stats.stages]
    _print(COUNTS, [*rows, _counts("all", stats.total)] if len(rows) != 1 else rows)


def _counts(name: str, counts: ItemCounts) -> list[str]:
    return [name, *(human.count(getattr(counts, status)) for status in STATUSES)]


def _show_list(found: list[Item], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [
        [
            _name(each.item_id),
            each.status.name.lower(),
            _cell(each.stage) or NONE,
            str(each.attempt + 1),
            human.size(each.size) if each.size else NONE,
            _when(each.time),
            _cell(each.error),
        ]
        for each in found
    ]
    _print(LIST, rows)


def _show_one(client: SyncClient, token: str, text: str, *, as_json: bool) -> None:
    item_id, found = _find(client, token, text)
    history = client.get_item_history(token, item_id)
    if as_json:
        print_json({"item": found, "events": history, "forgottenCount": history.forgotten_count})
        return
    _say_forgotten(history)
    _print(HISTORY, [_event(event) for event in history])


def _find(client: SyncClient, token: str, text: str) -> tuple[object, Item]:
    """Take what was typed for a text; if no item is called so, for JSON."""
    from taskmeter.errors import NotFoundError

    try:
        return text, client.get_item(token, text)
    except NotFoundError as error:
        try:
            value = json.loads(text)
        except ValueError:
            raise error from None
        if error.reason != "ITEM_NOT_FOUND" or isinstance(value, str):
            raise
    return value, client.get_item(token, value)


def _say_forgotten(history: ItemHistory) -> None:
    if history.forgotten_count:
        click.echo(f"{human.plural(history.forgotten_count, 'earlier event is', 'earlier events are')} no longer kept", err=True)


def _event(event: Event) -> list[str]:
    from taskmeter.model.item import ItemStatus, StepEventType

    said = event.item_changed or event.step or {}
    if event.step:
        what = f"{said['step']} {StepEventType(said['type']).name.lower()}"
        if said["durationSeconds"] is not None:
            what += f" after {human.span(said['durationSeconds'])}"
    else:
        what = ItemStatus(said["status"]).name.lower() if said else ""
    what += f" by {said['worker']}" if said.get("worker") else ""
    what += f": {said['error']}" if said.get("error") else ""
    return [_when(event.time), str(event.attempt), _cell(str(said.get("stage", ""))) or NONE, _cell(what)]


def _name(item_id: object) -> str:
    return _cell(item_id if isinstance(item_id, str) else json.dumps(item_id, ensure_ascii=False))


def _cell(text: str) -> str:
    return escape(text.replace("\t", " "))


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
