"""`taskmeter run`: start a command, show its meter, and exit with its code."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json
from taskmeter.cli.spec import make_spec, spec_options


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@spec_options
@click.option("-d", "--detach", is_flag=True, help="Do not watch it; print its token.")
@click.option("-q", "--quiet", is_flag=True, help="No summary at the end.")
@options.json_flag("Print the final status as JSON instead of output, meter and summary.")
@options.connection
def run(
    command: tuple[str, ...],
    detach: bool,
    quiet: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
    idempotency_key: str,
    **spec_fields: Any,
) -> int:
    """Run COMMAND under the live meter and exit with its code.

    The command gets this directory, environment and what is piped in here; it belongs to the daemon, which starts by itself
    if none runs. On a terminal the meter is shown, and Ctrl-C asks whether to stop the task or to let it run on. Elsewhere
    its stdout and stderr are passed through untouched, and Ctrl-C (or SIGTERM) stops it. The summary goes to stderr.

    The exit code is the task's own: 128 + signal if a signal ended it, 126 or 127 if it could not be executed; 125 if we
    failed, 130 if Ctrl-C ended it or the view. A task that was stopped, or whose time was up, never gives 0.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.interrupts import Interrupts
    from taskmeter.cli.live import Leave, LiveView, left_note, raw_copy_needed
    from taskmeter.cli.rawcopy import wait_and_copy
    from taskmeter.cli.summary import print_summary

    spec = make_spec(command, **spec_fields)
    with connect(target, state_dir, create=True) as client, Interrupts() as interrupts:
        started = client.start_task(spec, idempotency_key=idempotency_key)
        if detach:
            if as_json:
                print_json(started.status)
            else:
                click.echo(started.token)
            return 0
        terminals = (is_terminal(sys.stdout), is_terminal(sys.stderr))
        if as_json or raw_copy_needed(terminals):
            result = wait_and_copy(client, started.token, interrupts, copy=not as_json)
        else:
            result = LiveView(client, started.token, interrupts, may_stop=True).run()
        if isinstance(result, Leave):
            if not quiet:
                click.echo(left_note(started.status, started.token), err=True)
            return exits.INTERRUPTED
        with contextlib.suppress(BrokenPipeError):
            if as_json:
                print_json(result)
            elif not quiet:
                print_summary(result, console(err=True))
        if interrupts.any:
            return exits.INTERRUPTED if not interrupts.terminated else 128 + 15
        return exits.code_of_task(result.outcome, result.exit_code, result.exit_signal)
