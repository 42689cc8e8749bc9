"""`taskmeter wait`: wait until tasks have ended, and exit with their code."""

from __future__ import annotations

import time

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import print_json


@click.command()
@options.token_arguments
@click.option("--timeout", "timeout_seconds", type=options.SPAN, default=0.0, metavar="TIME", help="Give up after TIME.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say how they ended.")
@options.json_flag("Print the final status view; of several tasks, one JSON array.")
@options.connection
def wait(
    tokens: tuple[str, ...], timeout_seconds: float, quiet: bool, as_json: bool, target: str | None, state_dir: str | None
) -> int:
    """Wait until the tasks have ended; exit with the task's own code, of several with the first that is not 0.

    128 + signal if a signal ended it, 126 or 127 if it could not be executed, 125 if we failed. After --timeout the exit code
    is 124, and the tasks run on.
    """
    from taskmeter.cli import words
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve_all
    from taskmeter.cli.text import escape

    deadline = time.monotonic() + timeout_seconds
    found = []
    code = 0
    with connect(target, state_dir) as client:
        for token in resolve_all(client, tokens):
            left = max(deadline - time.monotonic(), 0.001) if timeout_seconds else 0.0
            status = client.wait_task(token, timeout_seconds=left)
            found.append(status)
            if not status.completed:
                code = code or exits.TIME_IS_UP
            else:
                code = code or exits.code_of_task(status.outcome, status.exit_code, status.exit_signal)
            if not quiet and not as_json:
                text = words.sentence(status) if status.completed else f"still {words.standing(status).word}"
                click.echo(f"{escape(words.title(status))}: {escape(text)}", err=True)
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
    return code
