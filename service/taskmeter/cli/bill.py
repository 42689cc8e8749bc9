"""`taskmeter bill`: what tasks have used and what that costs."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import human, options
from taskmeter.cli.filters import filter_options, filters
from taskmeter.cli.output import console, is_terminal, print_json
from taskmeter.cli.text import escape, shorten

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus

TOKENS_PER_CURRENCY = 100.0
"""The contract's price: 100 tokens = 1.00 currency."""

FIELDS = ("token", "name", "project_id", "status", "core_seconds", "gib_hours", "gpu_gib_hours", "tokens", "currency", "tariff")


@dataclass(frozen=True, slots=True)
class Line:
    """One task's part of the bill, over all its attempts."""

    token: str
    name: str
    project_id: str
    status: str
    core_seconds: float
    gib_hours: float
    gpu_gib_hours: float
    tokens: float
    currency: float
    tariff: str


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN]...")
@filter_options
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a heading, and no total.")
@options.json_flag("Print one JSON object: tasks and total.")
@options.connection
def bill(tokens: tuple[str, ...], as_csv: bool, as_json: bool, target: str | None, state_dir: str | None, **wanted: Any) -> None:
    """Say what the given tasks, or all, have used and what that costs: per task and in total.

    Figures are over all attempts of a task; those of running tasks are as of now. 100 tokens are 1.00 of your currency.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve_all

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    with connect(target, state_dir) as client:
        if tokens:
            found = [client.get_task_status(token) for token in resolve_all(client, tokens)]
        else:
            found = list(client.list_tasks(**filters(**wanted)))
    lines = [line_of(status) for status in found]
    total = total_of(lines)
    if as_json:
        print_json({"tasks": [_as_dict(line) for line in lines], "total": _as_dict(total, total=True)})
    elif as_csv or not is_terminal(sys.stdout):
        _print_csv(lines, "," if as_csv else "\t", heading=as_csv)
    else:
        _print_table(lines, total)


def line_of(status: TaskStatus) -> Line:
    """Return a task's part of the bill."""
    from taskmeter.cli import words

    tokens = status.tokens
    return Line(
        token=status.token,
        name=words.title(status),
        project_id=status.project_id,
        status=words.standing(status).word,
        core_seconds=tokens.cpu_ns / 1e9,
        gib_hours=tokens.memory_byte_seconds / 2**30 / 3600,
        gpu_gib_hours=tokens.gpu_memory_byte_seconds / 2**30 / 3600,
        tokens=tokens.total,
        currency=tokens.total / TOKENS_PER_CURRENCY,
        tariff=tokens.tariff,
    )


def total_of(lines: Sequence[Line]) -> Line:
    """Return the sums; integrals and tokens are added, never computed from rounded ones."""
    tokens = sum(line.tokens for line in lines)
    return Line(
        token="",
        name="total",
        project_id="",
        status="",
        core_seconds=sum(line.core_seconds for line in lines),
        gib_hours=sum(line.gib_hours for line in lines),
        gpu_gib_hours=sum(line.gpu_gib_hours for line in lines),
        tokens=tokens,
        currency=tokens / TOKENS_PER_CURRENCY,
        tariff=" ".join(sorted({line.tariff for line in lines if line.tariff})),
    )


def _as_dict(line: Line, *, total: bool = False) -> dict[str, Any]:
    left_out = {"token", "name", "project_id", "status"} if total else set()
    return {field: getattr(line, field) for field in FIELDS if field not in left_out}


def _print_csv(lines: Sequence[Line], delimiter: str, *, heading: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if heading:
        writer.writerow(FIELDS)
    for line in lines:
        writer.writerow([escape(value) if isinstance(value, str) else repr(value) for value in _as_dict(line).values()])
    click.echo(text.getvalue(), nl=False)


def _print_table(lines: Sequence[Line], total: Line) -> None:
    from rich.text import Text

    from taskmeter.cli.table import Column, fitted

    columns = [
        Column("TOKEN", footer=human.plural(len(lines), "task", "tasks")),
        Column("NAME", flexible=True),
        Column("STATUS", rank=2),
        Column("CPU TIME", right=True, footer=human.span(total.core_seconds)),
        Column("GiB·h", right=True, footer=f"{total.gib_hours:.4f}"),
        Column("GPU GiB·h", right=True, footer=f"{total.gpu_gib_hours:.4f}"),
        Column("TOKENS", right=True, footer=human.tokens(total.tokens)),
        Column("PRICE", right=True, footer=human.money(total.tokens)),
    ]
    rows = [
        [
            line.token[:11],
            shorten(escape(line.name), 40),
            line.status,
            human.span(line.core_seconds),
            f"{line.gib_hours:.4f}",
            f"{line.gpu_gib_hours:.4f}",
            human.tokens(line.tokens),
            human.money(line.tokens),
        ]
        for line in lines
    ]
    if not total.gpu_gib_hours:
        columns = [column for column in columns if not column.heading.startswith("GPU")]
        rows = [row[:5] + row[6:] for row in rows]
    terminal = console()
    terminal.print(fitted(columns, [[Text(cell) for cell in row] for row in rows], terminal.width))
    if total.tariff:
        terminal.print(Text(f"tariff {escape(total.tariff)} · 100 tokens = 1.00", "dim"))
