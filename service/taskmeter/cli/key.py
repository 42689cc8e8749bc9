"""`taskmeter key`: make, list and revoke keys."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import human, options
from taskmeter.cli.output import is_terminal, print_json
from taskmeter.cli.table import Column, print_rows
from taskmeter.cli.text import escape

if TYPE_CHECKING:
    from taskmeter.client.key import Key

SCOPES = ("submit", "read", "control", "files", "admin")
USUAL_SCOPES = ("submit", "read", "control", "files")
COLUMNS = [
    Column("KEY"),
    Column("NAME", flexible=True, rank=2),
    Column("TENANT", flexible=True),
    Column("SCOPES"),
    Column("STATUS"),
    Column("MADE", right=True, rank=4),
    Column("LIMITS", flexible=True, rank=3),
]


@click.group()
def key() -> None:
    """Make, list and revoke keys.

    A key belongs to one tenant and sees that tenant's tasks only. It is sent as `authorization: Bearer KEY`; clients and this
    command take it from TASKMETER_KEY. The daemon's own admin key lies in admin.key in its state directory. Each takes --json.
    """


@key.command()
@click.option("--name", default="", help="What it is for.")
@click.option("--tenant", default="", help="Whose tasks it sees. Default: the tenant of the key that is used to make it.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help="What it may do; repeat it for more. Default: all but admin. submit: start tasks. read: see them and their events. "
    "control: stop, retry, change and delete them. files: read what they wrote. admin: manage keys, and drain the daemon.",
)
@click.option("--expires", "lifetime_seconds", type=options.SPAN, metavar="TIME", help="It ends after TIME, such as 12h or 30d.")
@click.option(
    "--max-running", "running_count", type=click.IntRange(0), metavar="N", help="Tasks of the tenant that have not ended."
)
@click.option("--max-queued", "queued_count", type=click.IntRange(0), metavar="N", help="Tasks of the tenant that wait.")
@click.option("--max-streams", "stream_count", type=click.IntRange(0), metavar="N", help="Streams it may have open.")
@click.option(
    "--max-bytes", "disk_bytes", type=click.IntRange(0), metavar="N", help="Bytes that the tenant's tasks take on disk."
)
@click.option(
    "--rate", "calls_per_second", type=float, metavar="N", help="Calls per second, on average. Stops are counted apart, likewise."
)
@click.option(
    "--burst",
    "burst_count",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Calls at once after a pause. Default: 1 s of --rate.",
)
@options.json_flag("Print the secret and the key as one JSON object.")
@options.connection
def create(scopes: tuple[str, ...], as_json: bool, target: str | None, state_dir: str | None, **wanted: Any) -> None:
    """Make a key and print it. It is shown this once: the daemon keeps only a digest of it."""
    from taskmeter.cli.connect import connect

    if wanted["burst_count"] and wanted["calls_per_second"] is None:
        raise click.UsageError("--burst needs --rate")
    wanted["lifetime_seconds"] = wanted["lifetime_seconds"] or 0.0
    with connect(target, state_dir) as client:
        made = client.create_key(scopes or USUAL_SCOPES, **wanted)
    if as_json:
        print_json(made)
        return
    click.echo(made.secret)
    if is_terminal(sys.stdout):
        click.echo(f"This key ({made.key.key_id}, tenant {made.key.tenant}) is not shown again.", err=True)


@key.command()
@click.option("--tenant", default="", help="Only keys of this tenant.")
@click.option("-a", "--all", "include_ended", is_flag=True, help="Those that were revoked or have expired too.")
@options.json_flag("Print one JSON array.")
@options.connection
def ls(tenant: str, include_ended: bool, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """List keys, oldest first, without their secrets."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        found = client.list_keys(tenant=tenant, include_ended=include_ended)
    if as_json:
        print_json(found)
        return
    if not found and is_terminal(sys.stdout):
        click.echo("no keys but the admin key")
        return
    now = time.time()
    rows = [_cells(each, now) for each in found]
    print_rows(COLUMNS, [_texts(cells) for cells in rows], rows)


@key.command()
@click.argument("key_ids", nargs=-1, required=True, metavar="KEY...")
@options.json_flag("Print one JSON array of the keys as they are now.")
@options.connection
def revoke(key_ids: tuple[str, ...], as_json: bool, target: str | None, state_dir: str | None) -> None:
    """End keys for ever; their open streams end within a second, their tasks run on.

    KEY is the id that `key ls` shows, or the key itself.
    """
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        ended = [client.revoke_key(_id_of(each)) for each in key_ids]
    if as_json:
        print_json(ended)
    else:
        for each in ended:
            click.echo(f"revoked {each.key_id}")


def _id_of(given: str) -> str:
    """Take a whole key for its id, so that its secret is not sent around."""
    parts = given.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "tm" else given


def _cells(shown: Key, now: float) -> list[str]:
    quotas = shown.quotas.to_dict() if shown.quotas is not None else {}
    rate = [f"calls={shown.rate.calls_per_second:g}/s,{shown.rate.burst_count}"] if shown.rate is not None else []
    return [
        shown.key_id,
        escape(shown.name).replace("\t", " "),
        shown.tenant,
        ",".join(shown.scopes),
        _standing(shown, now),
        human.ago(shown.create_time, now),
        " ".join([f"{name}={value}" for name, value in quotas.items() if value is not None] + rate),
    ]


def _standing(shown: Key, now: float) -> str:
    if shown.revoke_time:
        return "revoked"
    if not shown.expire_time:
        return "valid"
    return f"valid for {human.span(shown.expire_time - now)}" if shown.expire_time > now else "expired"


def _texts(cells: list[str]) -> list[Any]:
    from rich.text import Text

    return [Text(cell) for cell in cells]
