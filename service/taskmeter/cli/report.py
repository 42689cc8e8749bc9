"""`taskmeter report`: what a shell script inside a task says about its work."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import exits, options

if TYPE_CHECKING:
    from taskmeter.v1.task_service_pb2 import ReportProgressRequest

MOST = 2**62 - 1
TEXT_BYTES = 500
MESSAGE_BYTES = 4000
ERROR_BYTES = 2000
ITEM_STATUSES = {"queued": 1, "in-progress": 2, "completed": 3, "failed": 4, "retrying": 5, "skipped": 6}
"""Numbers as on the wire."""
_OF_AN_ITEM = frozenset({"item_status", "stage", "worker", "item_error", "item_size"})
LEVELS = {"notes": 1, "warnings": 2, "errors": 3, "logs": 4}


class Amount(click.ParamType[int]):
    """A whole number, from 0."""

    name = "n"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return it."""
        text = str(value)
        if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > self._most:
            self.fail(f"{value!r} is not a whole number from 0 to {self._most}", param, ctx)
        return int(text)


COUNT = Amount(MOST)
EXIT_CODE = Amount(2**31 - 1)


class Counter(click.ParamType[tuple[str, int]]):
    """NAME or NAME=N."""

    name = "name=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return (name, n)."""
        if isinstance(value, tuple):
            return value
        name, separator, number = str(value).partition("=")
        if not 0 < len(name.encode()) <= 24:
            self.fail(f"{value!r} has no name of 1 to 24 bytes", param, ctx)
        return name, COUNT.convert(number, param, ctx) if separator else 1


_EPILOG = """\b
Examples, in a script that runs as a task:
  taskmeter report --total 200 --status "converting"
  for file in *.png; do convert "$file" && taskmeter report --add --size "$(stat -c %s "$file")"; done
  taskmeter report --item "$file" --stage ocr --item-status failed --item-error "no text" --warning "skipped $file"
"""


@click.command(epilog=_EPILOG)
@click.option("--add", type=COUNT, is_flag=False, flag_value=1, metavar="[N]", help="N more items are done; 1 without N.")
@click.option("--fail", type=COUNT, is_flag=False, flag_value=1, metavar="[N]", help="N more items have failed.")
@click.option("--size", type=options.SIZE, metavar="BYTES", help="The bytes of --add, else of --fail; alone, bytes done.")
@click.option("--total", type=COUNT, metavar="N", help="How many items there are to do.")
@click.option("--total-size", type=options.SIZE, metavar="BYTES", help="How many bytes there are to do.")
@click.option("--status", metavar="TEXT", help="What the task is doing, in a few words.")
@click.option("--object", "object_", metavar="TEXT", help="What it is working on, such as a file.")
@click.option("--ready", is_flag=True, help="It is ready, for a task that announces that.")
@click.option("--count", "counts", type=Counter(), multiple=True, metavar="NAME[=N]", help="Add to a counter of your own.")
@click.option("--message", "--note", "notes", multiple=True, metavar="TEXT", help="Something worth knowing; repeatable.")
@click.option("--warning", "warnings", multiple=True, metavar="TEXT", help="Something is wrong; repeatable.")
@click.option("--error", "errors", multiple=True, metavar="TEXT", help="Something has failed; repeatable.")
@click.option("--log", "logs", multiple=True, metavar="TEXT", help="A line of the task's log; repeatable.")
@click.option("--item", metavar="ID", help="The item that the following options are about.")
@click.option(
    "--item-status", type=click.Choice(list(ITEM_STATUSES)), default="completed", show_default=True, help="How far it is."
)
@click.option("--stage", default="", metavar="NAME", help="The stage it is in.")
@click.option("--worker", default="", metavar="NAME", help="Who has it.")
@click.option("--item-error", default="", metavar="TEXT", help="Why it failed, or is retried.")
@click.option("--item-size", type=options.SIZE, default=0, metavar="BYTES", help="How large it is.")
@click.option("--exit", "exit_code", type=EXIT_CODE, metavar="CODE", help="External work has ended with CODE.")
@click.option("--token", metavar="TOKEN", help="Report about this task, through the daemon. Default: the task this runs in.")
@click.option("--strict", is_flag=True, help="Outside a task, fail with 3 instead of reporting to nobody.")
@options.json_flag("Print what became of it: one JSON object.")
@options.connection
def report(as_json: bool, strict: bool, token: str | None, target: str | None, state_dir: str | None, **said: Any) -> int:
    """Say how far a task is, from inside it; counts are added to what was reported before.

    In a task this writes to memory that it shares with the daemon: nothing is waited for, and no daemon has to run. Elsewhere,
    where TASKMETER_TOKEN, TASKMETER_REPORT_KEY and TASKMETER_TARGET say which task is meant, or --token does, the report goes
    to the daemon, and is durable when this returns. Outside a task nothing is reported and that is no failure, so that a script
    runs alike with and without us.
    """
    _check(said)
    directory = os.environ.get("TASKMETER_TASK_DIR", "")
    own = token or os.environ.get("TASKMETER_TOKEN", "")
    asked = bool(token or target or state_dir or said["exit_code"] is not None)
    if directory and not asked:
        _write(directory, said)
        way = "memory"
    elif own and (asked or os.environ.get("TASKMETER_REPORT_KEY")):
        _send(own, said, target, state_dir)
        way = "daemon"
    else:
        way = "nobody"
    if as_json:
        from taskmeter.cli.output import print_json

        print_json({"reportedTo": way, "token": own})
    if way == "nobody":
        return _nobody(strict=strict or asked, quiet=as_json)
    return 0


def _check(said: dict[str, Any]) -> None:
    if said["item"] is None and (said["stage"] or said["worker"] or said["item_error"] or said["item_size"]):
        raise click.UsageError("--stage, --worker, --item-error and --item-size are about an item: name it with --item")
    if said["item"] is not None and not 0 < len(said["item"].encode()) <= 1024:
        raise click.BadParameter("an item's name has 1 to 1024 bytes", param_hint="--item")
    if all(value is None or value is False or value == () for name, value in said.items() if name not in _OF_AN_ITEM):
        raise click.UsageError("there is nothing to report; see --help")


def _sizes(said: dict[str, Any]) -> tuple[int, int]:
    """Return the bytes that are done, and those that failed."""
    size = said["size"] or 0
    return (0, size) if said["fail"] is not None and said["add"] is None else (size, 0)


def _write(directory: str, said: dict[str, Any]) -> None:
    """Report through shared memory."""
    from taskmeter.errors import TaskmeterError
    from taskmeter.work import current

    block = current()
    if not block.shared:
        raise TaskmeterError(f"cannot write to the report block in {directory}", hint="is the disk full?")
    done, failed = _sizes(said)
    if said["total"] is not None or said["total_size"] is not None:
        block.progress(said["total"], said["total_size"])
    if said["add"] is not None or done:
        block.add(said["add"] or 0, done)
    if said["fail"] is not None:
        block.fail(said["fail"], failed)
    for name, n in said["counts"]:
        block.count(name, n)
    if said["status"] is not None:
        block.status(said["status"])
    if said["object_"] is not None:
        block.object(said["object_"])
    if said["ready"]:
        block.ready()
    if said["item"] is not None or any(said[name] for name in LEVELS):
        _log(directory, said)


def _log(directory: str, said: dict[str, Any]) -> None:
    from metercore.itemlog import ItemLog
    from taskmeter.errors import TaskmeterError

    log = ItemLog(os.path.join(directory, "items"))
    for name, level in LEVELS.items():
        for text in said[name]:
            log.message(level, text)
    if said["item"] is not None:
        log.item(
            said["item"],
            ITEM_STATUSES[said["item_status"]],
            said["stage"],
            error=said["item_error"],
            worker=said["worker"],
            size=said["item_size"],
        )
    if log.dropped_count:
        raise TaskmeterError(f"{log.dropped_count} of the messages and items could not be kept", hint="is the disk full?")


def _send(token: str, said: dict[str, Any], target: str | None, state_dir: str | None) -> None:
    """Report to the daemon."""
    from taskmeter.client.sync import SyncClient

    with_own_key = token == os.environ.get("TASKMETER_TOKEN")
    key = os.environ.get("TASKMETER_REPORT_KEY") if with_own_key and not state_dir else None
    client = SyncClient(target, key=key, state_dir=state_dir)
    try:
        client.report_progress(token, [_request(said)])
    finally:
        client.close()


def _request(said: dict[str, Any]) -> ReportProgressRequest:
    from taskmeter.client import reports

    done, failed = _sizes(said)
    messages = [reports.message(_cut(text, MESSAGE_BYTES), level) for name, level in LEVELS.items() for text in said[name]]
    items = []
    if said["item"] is not None:
        error = _cut(said["item_error"], ERROR_BYTES)
        status = ITEM_STATUSES[said["item_status"]]
        item = reports.item(said["item"], status, stage=said["stage"], worker=said["worker"], error=error, size=said["item_size"])
        items = [item]
    counts: dict[str, int] = {}
    for name, n in said["counts"]:
        counts[name] = counts.get(name, 0) + n
    return reports.report(
        total=said["total"],
        total_size=said["total_size"],
        add=said["add"] or 0,
        size=done,
        fail=said["fail"] or 0,
        failed_size=failed,
        status=None if said["status"] is None else _cut(said["status"], TEXT_BYTES),
        current_object=None if said["object_"] is None else _cut(said["object_"], TEXT_BYTES),
        ready=said["ready"],
        count=counts,
        messages=messages,
        items=items,
        exit_code=said["exit_code"],
    )


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode("utf-8", "ignore")


def _nobody(*, strict: bool, quiet: bool) -> int:
    if strict or (not quiet and sys.stderr.isatty()):
        click.echo("not in a task, and no --token says which one is meant: nothing was reported", err=True)
    return exits.REFUSED if strict else 0
