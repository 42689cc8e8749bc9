"""The sides by name: ours, the floor of each of our back ends, psutil, and the programs of others."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import closing

from bench.meter.exporter import Exporter
from bench.meter.herd import Herd
from bench.meter.plan import Plan
from bench.meter.side import Program, Sides, UnavailableError, Worker
from metercore.bpf import BpfTable

BACKENDS = {"bpf": "BPF", "clock": "CLOCK", "procfs": "PROCFS"}
SHAPES = {"tree": "one tree", "slots": "a slot each"}
ONESHOT = "psutil oneshot"
FLOOR_PASSES = 20


def ours(backend: str, shape: str) -> str:
    """The name of one of our sides."""
    return f"{BACKENDS[backend]}, {SHAPES[shape]}"


def floor(backend: str) -> str:
    """The name of the least that a back end can cost."""
    return f"floor of {BACKENDS[backend]}, C"


def add_ours(sides: Sides, plan: Plan, herd: Herd, *shapes: str) -> None:
    """Our sampler with each back end forced; "tree" or "slots", see worker.open_slots."""
    for backend in BACKENDS:
        for shape in shapes or SHAPES:
            command = worker_command(f"ticks-{backend}-{shape}", plan)
            sides.add(ours(backend, shape), lambda name, command=command: Worker(name, command, herd, plan.ticks))  # type: ignore[misc]


def worker_command(side: str, plan: Plan) -> list[str]:
    """The command line of a side that is Python."""
    return [sys.executable, "-m", "bench.meter.worker", side, tempfile.mkdtemp(dir=plan.work)]


def link_descriptor() -> int:
    """Return the descriptor of this process's only BPF link."""
    return next(fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_link(fd))


def _is_link(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:bpf_link"
    except FileNotFoundError:  # that of the listing itself
        return False


def bpf_floor(name: str, plan: Plan, herd: Herd, passes: int) -> Worker:
    """The floor of BPF, with the program that metercore loads; it stays as long as a descriptor of its link is open."""
    try:
        with closing(BpfTable()):
            link = link_descriptor()
            return Worker(name, [plan.floor, "bpf", str(link)], herd, passes, inherit=link)
    except OSError as error:
        raise UnavailableError(error.strerror or str(error)) from error


def add_floors(sides: Sides, plan: Plan, herd: Herd) -> None:
    """The bare kernel calls of each back end, and BPF's with what metercore makes of the records."""
    passes = min(FLOOR_PASSES, plan.ticks)
    sides.add(floor("bpf"), lambda name: bpf_floor(name, plan, herd, passes))
    for backend in ("clock", "procfs"):
        command = [plan.floor, backend]
        sides.add(floor(backend), lambda name, command=command: Worker(name, command, herd, passes))  # type: ignore[misc]
    sides.add("BPF, its table alone", lambda name: Worker(name, worker_command("table", plan), herd, passes))


def add_psutil(sides: Sides, plan: Plan, herd: Herd) -> None:
    """Both ways to look at all with psutil."""
    sides.add(ONESHOT, lambda name: Worker(name, worker_command("psutil-oneshot", plan), herd, 1))
    sides.add("psutil process_iter", lambda name: Worker(name, worker_command("psutil-iter", plan), herd, 1))


def add_programs(sides: Sides) -> None:
    """Programs that one would call or scrape instead."""
    for name, command, package in (
        ("ps -e", "ps -eo pid,ppid,stat,time,rss,nlwp", "procps"),
        ("top -b -n1", "top -b -n1", "procps"),
        ("pidstat", "pidstat -u -r -p ALL", "sysstat"),
    ):
        sides.add(name, lambda name, command=command, package=package: Program(name, command.split(), package))  # type: ignore[misc]
    sides.add("prometheus-process-exporter", Exporter)
