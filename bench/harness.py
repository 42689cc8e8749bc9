"""What the benchmarks share: pinning, processor time, statistics with their spread, Markdown."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

SERVER_CPU = 0
CLIENT_CPU = 1


def pin(pid: int, cpu: int) -> None:
    """Keep all threads of a process on one core, so that what is compared has the same and the load does not share it."""
    cpus = sorted(os.sched_getaffinity(0))
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {cpus[cpu % len(cpus)]})


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, from the kernel's clock of that process (ns resolution)."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of that pid


def status_kib(pid: int, *names: str) -> int:
    """Return the sum of fields of /proc/PID/status in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if name in names}
    return sum(values.values())


def pss_kib(pid: int) -> int:
    """Return the proportional set size in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Show a median with its range: `1.50 (1.41 to 1.62, n=7)`."""
    found = list(values)
    return f"{statistics.median(found):{form}} ({min(found):{form}} to {max(found):{form}}, n={len(found)})"


def heading(question: str) -> None:
    """Print the question and where it is answered."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    machine = f"{len(os.sched_getaffinity(0))} × {model} · Linux {platform.release()} · Python {platform.python_version()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("taskmeter", "grpcio", "protobuf"))
    print(f"# {question}\n")
    print(f"{time.strftime('%Y-%m-%d %H:%M')} · {machine} · {versions}\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()
    sys.stdout.flush()
