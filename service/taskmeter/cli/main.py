"""Parse, run the verb, and turn whatever happens into one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from taskmeter.cli import exits
from taskmeter.cli.group import LazyGroup, forget_stdout
from taskmeter.errors import InvalidArgumentError, TaskmeterError

_HELP = """Run long jobs under a live meter, stop them cleanly, and know what they cost.

Jobs belong to a daemon that starts by itself and can be killed without harm to them. TOKEN is what `submit` printed; an
unambiguous beginning of at least 4 characters will do, and @last is the newest task. Every command takes --json.

Exit codes: 0 fine, 1 failed, 2 usage, 3 not found or refused, 4 no daemon, 130 interrupted. `run` and `wait` exit with the
task's own code (128 + signal; 126 or 127 if it could not be executed; 124 if its time was up), or with 125 if we failed.
"""


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from taskmeter import __version__

        click.echo(f"taskmeter {__version__}")
        context.exit()


cli = LazyGroup(
    name="taskmeter",
    help=_HELP,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
        code = code or exits.BROKEN_PIPE
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its warnings are no messages for our users
    try:
        result = cli.main(args=list(arguments), prog_name="taskmeter", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as mistake:
        mistake.show()
        return mistake.exit_code
    except TaskmeterError as error:
        exits.report(error)
        return exits.OURS if cli.verb in exits.OWN_CODE_VERBS else exits.code_of(error)
    except UnicodeEncodeError as error:
        exits.report(InvalidArgumentError(f"{error.object!r} is not UTF-8", hint="names, arguments and tags have to be"))
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
