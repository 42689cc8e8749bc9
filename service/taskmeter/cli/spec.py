"""The options of `run` and `submit`, and the task spec they make."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taskmeter.cli import stdin
from taskmeter.cli.envfile import read_env_files
from taskmeter.cli.limits import LIMIT_OPTIONS, limits
from taskmeter.cli.options import PAIR, SPAN
from taskmeter.cli.retries import RETRY_OPTIONS, make_policy

if TYPE_CHECKING:
    from taskmeter.v1.task_pb2 import TaskSpec

F = TypeVar("F", bound=Callable[..., Any])

_INTERPRETERS = ("python", "pypy", "node", "ruby", "perl", "bash", "sh", "dash", "zsh", "Rscript", "julia")

_OPTIONS = [
    click.option("--name", default="", help="What the task is called; default: the name of the program or script."),
    click.option("--tag", "tags", type=PAIR, multiple=True, metavar="KEY=VALUE", help="A tag; repeatable."),
    click.option("--project", "project_id", default="", help="The project it belongs to."),
    click.option("--source", default="", help="Where in the project it comes from."),
    click.option("--env", "env", type=PAIR, multiple=True, metavar="NAME=VALUE", help="An environment variable; repeatable."),
    click.option(
        "--env-file",
        "env_files",
        multiple=True,
        metavar="FILE",
        help="Environment variables, one NAME=VALUE per line; the file must be yours alone (0600). --env wins. Repeatable.",
    ),
    click.option("--clean-env", is_flag=True, help="Do not hand on the environment of this command, only --env."),
    click.option("--cwd", "working_directory", default="", metavar="DIR", help="Its working directory; default: this one."),
    click.option("--timeout", "timeout_seconds", type=SPAN, default=0.0, metavar="TIME", help="End it after TIME (1.5h, 90s)."),
    click.option("--grace", "grace_seconds", type=SPAN, metavar="TIME", help="How long it may take to stop; default 10s."),
    *LIMIT_OPTIONS,
    click.option("--stdin", "stdin_path", metavar="FILE", help="Its standard input; default: what is piped in, up to 1 MiB."),
    click.option("--total", "total_count", type=click.IntRange(min=0), default=0, metavar="N", help="How many items it will do."),
    click.option("--tariff", default="", metavar="NAME", help="What it is billed by; default: the daemon's default."),
    click.option("--queue", default="", metavar="QUEUE", help="The queue it waits in; default: the one called default."),
    click.option("--priority", type=int, default=0, metavar="N", help="Higher starts earlier within its queue; default 0."),
    click.option("--after", "after", multiple=True, metavar="TOKEN", help="Start when this task has succeeded; repeatable."),
    click.option(
        "--start-in", "start_in_seconds", type=SPAN, default=0.0, metavar="TIME", help="Do not start before TIME has passed."
    ),
    click.option("--merge-stderr", is_flag=True, help="Write its stderr into its stdout, in exact order."),
    *RETRY_OPTIONS,
    click.option("--idempotency-key", default="", metavar="KEY", help="The same key again returns the same task."),
]


def spec_options(function: F) -> F:
    """Add the options and the COMMAND argument."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND [ARG]...")(function)


def make_spec(
    command: tuple[str, ...],
    *,
    name: str,
    tags: tuple[tuple[str, str], ...],
    project_id: str,
    source: str,
    env: tuple[tuple[str, str], ...],
    env_files: tuple[str, ...],
    clean_env: bool,
    working_directory: str,
    timeout_seconds: float,
    grace_seconds: float | None,
    stdin_path: str | None,
    total_count: int,
    tariff: str,
    merge_stderr: bool,
    requeue: bool,
    queue: str,
    priority: int,
    after: tuple[str, ...],
    start_in_seconds: float,
    **others: Any,
) -> TaskSpec:
    """Build the spec: the command as it would run from this shell, with this directory, environment and umask."""
    from taskmeter.client.requests import command_spec

    retries = {option: others.pop(option) for option in list(others) if option.startswith("retr")}
    name = name or name_of(command)
    if stdin_path is None:
        stdin_data = stdin.read_piped()
    else:
        stdin_data, command = stdin.from_file(stdin_path, command)
    return command_spec(
        command,
        name=name,
        project_id=project_id,
        source=source,
        env=environment(os.environ, read_env_files(env_files) | dict(env), clean=clean_env, other_user=bool(others["user"])),
        working_directory=_directory(working_directory),
        stdin_data=stdin_data,
        tags=dict(tags),
        timeout_seconds=timeout_seconds,
        grace_period_seconds=grace_seconds,
        total_count=total_count,
        tariff=tariff,
        umask=_umask(),
        merge_stderr=merge_stderr,
        retry=make_policy(**retries),
        requeue_on_interrupt=requeue,
        **limits(**others),
        queue=queue,
        priority=priority,
        after=after,
        start_after_time=time.time() + start_in_seconds if start_in_seconds else 0.0,
    )


_OF_A_USER = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"})


def environment(ours: Mapping[str, str], added: Mapping[str, str], *, clean: bool, other_user: bool = False) -> dict[str, str]:
    """Return the caller's environment without what is meant for us (TASKMETER_*) or is this user's alone, and what was added."""
    kept = {} if clean else {name: value for name, value in ours.items() if not name.startswith("TASKMETER_")}
    if other_user:
        kept = {name: value for name, value in kept.items() if name not in _OF_A_USER}
    return {name: _utf8(value) for name, value in {**kept, **added}.items() if _is_utf8(name)}


def name_of(command: tuple[str, ...]) -> str:
    """Return a name for a command: its program, or the script or module if an interpreter runs it."""
    program = PurePath(command[0]).name
    if program.startswith(_INTERPRETERS):
        for index, argument in enumerate(command[1:], 1):
            if argument == "-m" and index + 1 < len(command):
                return command[index + 1]
            if not argument.startswith("-"):
                return PurePath(argument).name or program
            if argument in {"-c", "-e", "-lc"}:
                break
    return program


def _directory(given: str) -> str:
    """$PWD names the directory as the user sees it, which getcwd() does not if it was reached through a link."""
    if given:
        return os.path.abspath(os.path.expanduser(given))
    seen = os.environ.get("PWD", "")
    try:
        if seen and os.path.isabs(seen) and os.path.samefile(seen, "."):
            return seen
        return os.getcwd()
    except OSError:
        return seen


def _umask() -> int:
    """It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_utf8(name: str) -> bool:
    return not any("\udc80" <= char <= "\udcff" for char in name)


def _utf8(value: str) -> str:
    """Bytes that are not UTF-8 cannot travel in a protobuf string."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
