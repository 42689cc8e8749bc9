"""`taskmeter submit`: start a command in the background and print its token."""

from __future__ import annotations

from typing import Any

import click

from taskmeter.cli import options
from taskmeter.cli.output import print_json
from taskmeter.cli.spec import make_spec, spec_options


@click.command(context_settings={"allow_interspersed_args": False})
@spec_options
@options.json_flag("Print the task's status as JSON instead of the token alone.")
@options.connection
def submit(
    command: tuple[str, ...],
    as_json: bool,
    target: str | None,
    state_dir: str | None,
    idempotency_key: str,
    **spec_fields: Any,
) -> None:
    """Start COMMAND in the background and print its token, once it is accepted and durable.

    Everything else is as with `run`: directory, environment, piped input.
    """
    from taskmeter.cli.connect import connect

    spec = make_spec(command, **spec_fields)
    with connect(target, state_dir, create=True) as client:
        started = client.start_task(spec, idempotency_key=idempotency_key)
    if as_json:
        print_json(started.status)
    else:
        click.echo(started.token)
