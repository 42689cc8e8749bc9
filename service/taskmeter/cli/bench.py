"""`taskmeter bench`: how fast this daemon is on this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import sys
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json
from taskmeter.cli.text import escape
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from taskmeter.cli.measure import Bench, Measure
    from taskmeter.cli.workload import Room, Workload
    from taskmeter.client.status import ServerInfo

PARTS = ("status", "start", "events", "stop")
DEFAULT_STREAMS = (1, 10)
MOST_STREAMS = 1000


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PART]...")
@click.option(
    "--time", "span", type=options.SPAN, default=1.0, metavar="TIME", help="Spend TIME at most on each figure; default: 1 s."
)
@click.option(
    "--streams",
    "stream_counts",
    type=click.IntRange(1, MOST_STREAMS),
    multiple=True,
    metavar="N",
    help="Read the events with N streams; repeatable. Default: 1, then 10.",
)
@click.option("--remote", is_flag=True, help="The daemon may be on another host.")
@options.json_flag("Print one JSON object: the daemon, and a list of measures.")
@options.connection
def bench(
    parts: tuple[str, ...],
    span: float,
    stream_counts: tuple[int, ...],
    remote: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> int:
    """Measure how fast the daemon is, here and now, with whatever else it has to do. Takes about 15 s.

    Without any PART all four are measured. status: calls of GetTaskStatus, one by one and several in flight. start: StartTask
    until its answer, and until the process runs, and tasks per second. events: from a change of state until streams have told
    of it. stop: Terminate until its answer, and until the task has ended.

    What is measured is what a client in Python sees, its own time included. The tasks carry a tag of their own and are
    deleted at the end, also after Ctrl-C, which prints what was measured until then.
    """
    import uvloop

    from taskmeter.cli.connect import connect
    from taskmeter.cli.workload import Room

    if not 0.1 <= span <= 60.0:
        raise click.UsageError("--time is from 100ms to 60s")
    client = connect(target, state_dir)
    where = client.endpoint.target
    here = is_here(where)
    if not here and not remote:
        raise click.UsageError(f"{where} is not on this host; --remote measures it all the same, if it is yours to load")
    if not here and "events" in parts:
        raise click.UsageError("events are measured on the daemon's own host only: two hosts have two clocks")
    chosen = [part for part in PARTS if part in parts or (not parts and (here or part != "events"))]
    with client:
        info = client.server_info()
        room = Room.of(info, client.list_queues())
    run = _Run(chosen, span, stream_counts or DEFAULT_STREAMS, room, same_clock=here)
    run.announce(where, info)
    error = uvloop.run(run.all(target, state_dir))
    if as_json:
        print_json(run.as_json(where, info, complete=error is None and not run.signal))
    else:
        _print_table(run.measures)
    if error is not None:
        exits.report(error)
        return exits.code_of(error)
    return 128 + run.signal if run.signal else 0


def is_here(target: str) -> bool:
    """Tell whether a gRPC target is a unix socket or a loopback address, whatever a name server would say."""
    if target.startswith("unix:"):
        return True
    host = target.removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Run:
    """One run from its announcement to the deletion of its last task."""

    def __init__(self, parts: list[str], span: float, stream_counts: tuple[int, ...], room: Room, *, same_clock: bool) -> None:
        self._parts = parts
        self._span = span
        self._stream_counts = stream_counts
        self._room = room
        self._same_clock = same_clock
        self._bench: Bench | None = None
        self._under_way: asyncio.Future[Any] | None = None
        self._spinner: Any = None
        self.signal = 0
        """The signal that ended it early; 0 = none did."""

    @property
    def measures(self) -> list[Measure]:
        return self._bench.report.measures if self._bench else []

    def announce(self, where: str, info: ServerInfo) -> None:
        """Say on stderr what is about to happen."""
        from taskmeter.cli import human
        from taskmeter.cli.measure import most_figures, most_tasks

        self._room.require()
        tasks = most_tasks(self._parts, self._stream_counts, self._room.free_count)
        seconds = most_figures(self._parts, self._stream_counts) * self._span
        daemon = f"the daemon at {escape(where)} (version {escape(info.version)}, pid {info.pid})"
        of_them = f", at most {tasks.at_once} at once, all deleted afterwards" if tasks.in_all > 1 else ", deleted afterwards"
        say = console(err=True).print
        say(f"measuring {', '.join(self._parts)} of {daemon}")
        say(
            f"for {human.about(seconds)} and a little, with up to {human.plural(tasks.in_all, 'short task', 'short tasks')}"
            f"{of_them}; what else runs there will feel it"
        )

    async def all(self, target: str | None, state_dir: str | None) -> TaskmeterError | None:
        """Measure, then clear up whatever came of it; return what went wrong."""
        from taskmeter.cli.measure import Bench, Report
        from taskmeter.cli.workload import CALL_SECONDS, Workload
        from taskmeter.client.aio import Client

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, number)
        with ExitStack() as stack:
            if is_terminal(sys.stderr):
                self._spinner = stack.enter_context(console(err=True).status("connecting"))
            async with Client(target, state_dir=state_dir, timeout_seconds=CALL_SECONDS) as client:
                load = Workload(client, self._room)
                self._bench = Bench(load, Report(self._show), self._span, self._stream_counts, self._same_clock)
                error = None if self.signal else await self._guarded(self._measure(load))
                self._show("deleting its tasks")
                left = await self._guarded(load.clear())
        if left is not None or self._under_way is None:
            click.echo(f"some of its tasks may be left: taskmeter stop --now --tag {load.tag}", err=True)
        return error or left

    async def _measure(self, load: Workload) -> None:
        assert self._bench is not None
        for part in self._parts:
            await getattr(self._bench, part)()
            await load.clear()

    async def _guarded(self, work: Awaitable[None]) -> TaskmeterError | None:
        """Await it until it ends or a signal comes; return what it failed with."""
        self._under_way = asyncio.ensure_future(work)
        try:
            await self._under_way
        except TaskmeterError as error:
            return error
        except asyncio.CancelledError:
            if not self.signal:
                raise
        return None

    def _interrupt(self, number: int) -> None:
        self.signal = self.signal or number
        if self._under_way is not None:
            self._under_way.cancel()
            self._under_way = None

    def _show(self, what: str) -> None:
        if self._spinner is not None:
            self._spinner.update(what)

    def as_json(self, where: str, info: ServerInfo, *, complete: bool) -> dict[str, Any]:
        return {
            "target": where,
            "version": info.version,
            "pid": info.pid,
            "complete": complete,
            "taskCount": self._bench.load.started_count if self._bench else 0,
            "measures": [measure.as_json() for measure in self.measures],
        }


def _print_table(measures: list[Measure]) -> None:
    from rich.text import Text

    from taskmeter.cli import human
    from taskmeter.cli.table import Column, print_rows

    columns = [
        Column("PART", rank=2),
        Column("WHAT", flexible=True),
        Column("TIMES", right=True, rank=3),
        Column("RATE", right=True),
        Column("P50", right=True),
        Column("P99", right=True),
    ]
    rows = [
        [
            measure.part,
            measure.what,
            human.count(len(measure.spans)),
            human.rate(measure.per_second),
            human.brief(measure.percentile(50)),
            human.brief(measure.percentile(99)),
        ]
        for measure in measures
    ]
    if rows:
        print_rows(columns, ([Text(cell) for cell in row] for row in rows), rows)
