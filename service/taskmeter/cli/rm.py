"""`taskmeter rm`: forget ended tasks and delete their files."""

from __future__ import annotations

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import print_json
from taskmeter.errors import TaskmeterError


@click.command()
@options.token_arguments
@options.json_flag("Print the tokens of what was removed as one JSON array.")
@options.connection
def rm(tokens: tuple[str, ...], as_json: bool, target: str | None, state_dir: str | None) -> int:
    """Forget ended tasks: their status, their output, their bill. A task that has not ended is refused (exit code 3)."""
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve

    code = 0
    removed = []
    with connect(target, state_dir) as client:
        for text in tokens:
            try:
                token = resolve(client, text)
                client.delete_task(token)
                removed.append(token)
            except TaskmeterError as error:
                exits.report(error)
                code = exits.code_of(error)
    if as_json:
        print_json(removed)
    return code
