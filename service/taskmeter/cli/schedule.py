"""`taskmeter schedule`: start a command again and again."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import human, options
from taskmeter.cli.output import is_terminal, print_json
from taskmeter.cli.spec import make_spec, spec_options
from taskmeter.cli.table import Column, print_rows
from taskmeter.cli.text import escape

if TYPE_CHECKING:
    from taskmeter.client.schedules import ScheduleStatus
    from taskmeter.client.sync import SyncClient

COLUMNS = [
    Column("SCHEDULE", flexible=True),
    Column("WHEN"),
    Column("STATE"),
    Column("NEXT", right=True),
    Column("LAST", right=True),
    Column("RUNS", right=True),
    Column("LAST TASK", rank=1),
    Column("PROBLEM", flexible=True),
]
POLICIES = {"once": "MISSED_RUNS_RUN_ONCE", "skip": "MISSED_RUNS_SKIP", "all": "MISSED_RUNS_RUN_ALL"}

_NAME = click.argument("name", metavar="SCHEDULE")
_JSON = options.json_flag("Print the schedule as one JSON object.")


class Instant(click.ParamType[float]):
    """ISO date and time, local unless it says otherwise; as Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            self.fail(f"{value!r} is no time, such as 2030-01-31T18:00", param, ctx)


@click.group()
def schedule() -> None:
    """Start a command again and again: every so often, once, or by cron.

    Its tasks have the tag taskmeter.schedule=SCHEDULE: `taskmeter ls --tag taskmeter.schedule=nightly`.

    All of these but rm print JSON with --json.
    """


@schedule.command(context_settings={"allow_interspersed_args": False})
@click.option("--every", "every_seconds", type=options.SPAN, metavar="TIME", help="Every so often, from now (90s, 1h).")
@click.option("--at", "at_time", type=Instant(), metavar="TIME", help="Once, such as 2030-01-31T18:00.")
@click.option("--cron", metavar="FIELDS", help="As in crontab: minute hour day month weekday, such as '30 2 * * 1-5'.")
@click.option("--timezone", default="", metavar="ZONE", help="Of --cron, such as Europe/Berlin; default UTC.")
@click.option("--until", "end_time", type=Instant(), default=0.0, metavar="TIME", help="Nothing from then on.")
@click.option("--max-runs", type=click.IntRange(0), default=0, metavar="N", help="At most N times; 0 (default): no bound.")
@click.option("--missed", type=click.Choice(list(POLICIES)), default="once", help="Runs missed while the daemon was away.")
@click.option(
    "--max-missed", type=click.IntRange(0, 1000), default=0, metavar="N", help="With --missed all: the newest N; default 10."
)
@click.option("--no-overlap", is_flag=True, help="Skip a run while the last one has not ended.")
@_JSON
@options.connection
@click.argument("schedule_name", metavar="SCHEDULE")
@spec_options
def put(
    schedule_name: str,
    command: tuple[str, ...],
    every_seconds: float | None,
    at_time: float | None,
    cron: str | None,
    timezone: str,
    end_time: float,
    max_runs: int,
    missed: str,
    max_missed: int,
    no_overlap: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
    idempotency_key: str,
    **spec_fields: Any,
) -> None:
    """Make SCHEDULE, or change it: options first, then its name, then COMMAND, which is as with `submit`."""
    from taskmeter.cli.connect import connect
    from taskmeter.v1.schedule_service_pb2 import ScheduleTiming

    if [every_seconds, at_time, cron].count(None) != 2:
        raise click.UsageError("give one of --every, --at, --cron")
    command = command[command[0] == "--" :]
    if not command or command[0].startswith("-"):
        raise click.UsageError("what follows SCHEDULE is the command; options come before it")
    if idempotency_key:
        raise click.UsageError("a schedule has keys of its own; leave out --idempotency-key")
    timing = ScheduleTiming(
        every_seconds=every_seconds,
        at_time=at_time,
        cron=cron,
        timezone=timezone,
        end_time=end_time,
        max_run_count=max_runs,
        missed_runs=POLICIES[missed],
        max_missed_count=max_missed,
        overlap="OVERLAP_SKIP" if no_overlap else "OVERLAP_ALLOW",
    )
    spec = make_spec(command, **spec_fields)
    with connect(target, state_dir, create=True) as client:
        _show([client.put_schedule(schedule_name, spec, timing)], as_json=as_json, one=True)


@schedule.command()
@options.json_flag("Print all schedules as one JSON array.")
@options.connection
def ls(as_json: bool, target: str | None, state_dir: str | None) -> None:
    """List schedules by name: a table on a terminal, elsewhere one line each with tabs between the columns."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        _show(client.list_schedules(), as_json=as_json, one=False)


def _one(verb: str, text: str, method: str) -> None:
    @schedule.command(verb, help=text)
    @_NAME
    @_JSON
    @options.connection
    def command(name: str, as_json: bool, target: str | None, state_dir: str | None) -> None:
        from taskmeter.cli.connect import connect

        with connect(target, state_dir) as client:
            _show([_call(client, method, name)], as_json=as_json, one=True)


def _call(client: SyncClient, method: str, name: str) -> ScheduleStatus:
    found: ScheduleStatus = getattr(client, method)(name)
    return found


_one("show", "Show SCHEDULE.", "get_schedule")
_one("pause", "Start nothing more of SCHEDULE; what runs goes on.", "pause_schedule")
_one("resume", "Go on with SCHEDULE, from now.", "resume_schedule")


@schedule.command()
@click.option("--idempotency-key", default="", metavar="KEY", help="The same key again returns the same task.")
@_NAME
@options.json_flag("Print the task's token and the schedule as one JSON object.")
@options.connection
def run(name: str, idempotency_key: str, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Start a task of SCHEDULE at once, besides its times, and print its token."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        ran = client.run_schedule(name, idempotency_key=idempotency_key)
    if as_json:
        print_json(ran)
    else:
        click.echo(ran.token)


@schedule.command()
@_NAME
@options.connection
def rm(name: str, target: str | None, state_dir: str | None) -> None:
    """Forget SCHEDULE; its tasks stay."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        client.delete_schedule(name)


def _show(found: list[ScheduleStatus], *, as_json: bool, one: bool) -> None:
    if as_json:
        print_json(found[0] if one else found)
        return
    rows = [_cells(each) for each in found]
    if is_terminal(sys.stdout):
        from rich.text import Text

        print_rows(COLUMNS, ([Text(cell) for cell in row] for row in rows), rows)
    else:
        print_rows(COLUMNS, (), rows)


def _cells(found: ScheduleStatus) -> list[str]:
    return [
        escape(found.name),
        _when(found.timing),
        "paused" if found.paused else "on" if found.next_time else "done",
        human.instant(found.next_time or 0.0),
        human.instant(found.last_time or 0.0),
        str(found.run_count),
        found.last_token or human.NOTHING,
        escape(found.last_problem or ""),
    ]


def _when(timing: dict[str, Any]) -> str:
    if timing.get("cron"):
        return escape(f"{timing['cron']} {timing.get('timezone', '')}")
    if timing.get("everySeconds"):
        return f"every {human.span(timing['everySeconds'])}"
    return f"at {human.instant(timing.get('atTime') or 0.0)}"
