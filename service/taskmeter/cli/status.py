"""`taskmeter status`: everything about one task."""

from __future__ import annotations

import click

from taskmeter.cli import options
from taskmeter.cli.output import console, print_json


@click.command()
@options.token_argument
@options.json_flag("Print the status view: one JSON object.")
@options.connection
def status(token: str, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Show everything about a task as it stands now."""
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve
    from taskmeter.cli.summary import print_summary

    with connect(target, state_dir) as client:
        found = client.get_task_status(resolve(client, token))
    if as_json:
        print_json(found)
    else:
        print_summary(found, console(), full=True)
