"""What a task may use at most: options of `run` and `submit`."""

from __future__ import annotations

import re
from typing import Any

import click

from taskmeter.cli.options import SPAN

_UNIT_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class Amount(click.ParamType[int]):
    """A number of bytes: 4096, 512M, 1.5GiB; units are powers of 1024."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = _AMOUNT.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no amount; write 4096, 512M or 1.5G", param, ctx)
        return int(float(match.group(1)) * _UNIT_BYTES[match.group(2).lower()])


class Rlimit(click.ParamType[tuple[str, int]]):
    """NAME=NUMBER, or NAME=unlimited."""

    name = "rlimit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return (name, number); -1 = unlimited."""
        if isinstance(value, tuple):
            return value
        name, separator, text = str(value).partition("=")
        if not separator or not (text == "unlimited" or text.isdigit()):
            self.fail(f"{value!r} is not NAME=NUMBER or NAME=unlimited", param, ctx)
        return name.lower().removeprefix("rlimit_"), -1 if text == "unlimited" else int(text)


LIMIT_OPTIONS = [
    click.option(
        "--memory", "memory_bytes", type=Amount(), default=0, metavar="BYTES", help="End it if it needs more (512M, 2G)."
    ),
    click.option(
        "--cpus",
        "cpu_cores",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="N",
        help="Give it no more cores; 0.5 is half a one.",
    ),
    click.option(
        "--max-processes", type=click.IntRange(min=0), default=0, metavar="N", help="Let it have no more processes and threads."
    ),
    click.option(
        "--idle", "idle_ttl_seconds", type=SPAN, default=0.0, metavar="TIME", help="End it after TIME without a sign of work."
    ),
    click.option(
        "--rlimit",
        "rlimits",
        type=Rlimit(),
        multiple=True,
        metavar="NAME=N",
        help="A limit of each process, as nofile=1024; repeatable.",
    ),
    click.option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Its niceness."),
]


def limits(
    *,
    memory_bytes: int,
    cpu_cores: float,
    max_processes: int,
    idle_ttl_seconds: float,
    rlimits: tuple[tuple[str, int], ...],
    nice: int | None,
) -> dict[str, Any]:
    """Return the arguments for `command_spec`. What is asked for here is meant: it is enforced or refused."""
    from taskmeter.v1.task_pb2 import Resources

    found: dict[str, Any] = {"idle_ttl_seconds": idle_ttl_seconds, "rlimits": dict(rlimits), "nice": nice}
    if memory_bytes or cpu_cores or max_processes:
        found["resources"] = Resources(memory_bytes=memory_bytes, cpu_cores=cpu_cores, max_processes=max_processes, enforce=True)
    return found
