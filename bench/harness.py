"""What the benchmarks share: pinning, processor time, statistics with their spread, Markdown."""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

SERVER_CPU = 0
CLIENT_CPU = 1
QUICK = bool(os.environ.get("BENCH_QUICK"))
"""Set by `run.py --quick`: small and short, to see that everything runs; figures mean nothing."""
T = TypeVar("T")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwind, so that nothing is left running

_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x00020000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_TOPDIR_FL of linux/fs.h."""


def full(size: T, *, quick: T) -> T:
    """Return how much is measured, or how much is enough to see that it runs."""
    return quick if QUICK else size


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """Yield an empty directory on a disk, in a part of it where nobody has deleted files lately; it is removed afterwards.

    ext4 without a journal gives no inode away for minutes after it was freed, and looks at each of these for every file that is
    made near them: beside thousands of files that tests have deleted, making a task's directory costs several times as much.
    A directory whose parent is marked as the top of unrelated trees gets a part of the disk that depends on its name.
    Elsewhere it is a directory like any.
    """
    parent = Path(tempfile.mkdtemp(prefix="tm-bench-", dir="/var/tmp"))
    try:
        descriptor = os.open(parent, os.O_RDONLY)
        try:
            [flags] = struct.unpack("L", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("L", 0)))
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("L", flags | _TOP_DIRECTORY))
        except OSError:
            pass
        finally:
            os.close(descriptor)
        place = parent / os.urandom(8).hex()
        place.mkdir()
        yield place
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def pin(pid: int, cpu: int) -> None:
    """Keep all threads of a process on one core, so that what is compared has the same and the load does not share it."""
    cpus = sorted(os.sched_getaffinity(0))
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {cpus[cpu % len(cpus)]})


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, from the kernel's clock of that process (ns resolution)."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of that pid


def server_core_seconds() -> float:
    """Return how long the server's core has run anything so far, interrupts left out (10 ms resolution)."""
    cpus = sorted(os.sched_getaffinity(0))
    core = f"cpu{cpus[SERVER_CPU % len(cpus)]} "
    fields = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(core)).split()
    user, nice, system, steal = (int(fields[index]) for index in (1, 2, 3, 8))
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


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
    if QUICK:
        print("**A quick run: figures mean nothing.**\n")
    print(f"{time.strftime('%Y-%m-%d %H:%M')} · {machine} · {versions}\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()
    sys.stdout.flush()


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse what the benchmarks have in common: `[PART …] [--quick] [--seed N]` as `chosen`, `quick` and `seed`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("chosen", nargs="*", metavar="PART", help="only these parts")
    parser.add_argument("--quick", action="store_true", default=QUICK, help="small and short, to see that it runs")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    return parser.parse_args(arguments)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of the loopback."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def debian(package: str) -> str:
    """Return the version of a Debian package, or nothing."""
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if not done.returncode else ""


def raise_descriptor_limit() -> None:
    """Let this process, and what it starts, open as many files as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def piped(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process whose stdin and stdout are ours: Ctrl-C does not reach it, and it does not outlive us, however we end."""
    command = ["setpriv", "--pdeathsig", "KILL", *command]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
