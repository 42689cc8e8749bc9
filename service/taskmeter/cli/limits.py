"""What a task may use at most: options of `run` and `submit`."""

from __future__ import annotations

from typing import Any

import click

from taskmeter.cli.options import SIZE, SPAN


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
    click.option("--memory", "memory_bytes", type=SIZE, default=0, metavar="BYTES", help="End it if it needs more (512M, 2G)."),
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
    click.option(
        "--need-cpus",
        "need_cpus",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="N",
        help="Start when N cores are not promised to others.",
    ),
    click.option(
        "--need-memory",
        "need_memory",
        type=SIZE,
        default=0,
        metavar="BYTES",
        help="Start when so much memory (2G, 500M) is not promised to others.",
    ),
    click.option(
        "--need-gpus",
        "need_gpus",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Start when N GPUs are free, and see only those.",
    ),
    click.option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Its niceness."),
    click.option("--user", default="", metavar="NAME", help="Run it as this user, if the daemon may (serve --task-users)."),
]


def limits(
    *,
    memory_bytes: int,
    cpu_cores: float,
    max_processes: int,
    idle_ttl_seconds: float,
    need_cpus: float,
    need_memory: int,
    need_gpus: int,
    rlimits: tuple[tuple[str, int], ...],
    nice: int | None,
    user: str,
) -> dict[str, Any]:
    """Return the arguments for `command_spec`. What is asked for here is meant: it is enforced or refused."""
    from taskmeter.v1.task_pb2 import Resources

    found: dict[str, Any] = {"idle_ttl_seconds": idle_ttl_seconds, "rlimits": dict(rlimits), "nice": nice, "user": user}
    enforce = bool(memory_bytes or cpu_cores or max_processes)
    if enforce and (need_cpus or need_memory):
        raise click.UsageError("--memory, --cpus and --max-processes set their amounts aside too: leave --need-… out")
    if enforce or need_cpus or need_memory or need_gpus:
        found["resources"] = Resources(
            memory_bytes=memory_bytes or need_memory,
            cpu_cores=cpu_cores or need_cpus,
            gpus=need_gpus,
            max_processes=max_processes,
            enforce=enforce,
        )
    return found
