"""Where does a tick of ours spend its time, by native function and system call? Needs Linux's perf (Debian: linux-perf).

`python -m bench.meter.where BACKEND tree|slots COUNT [WOKEN] [TICKS]` prints nanoseconds per process and tick. perf samples
the CPU clock and copies the stack, and its copying is in the figures: trust their shares.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench import harness
from bench.meter.compile import c_program
from bench.meter.herd import Herd
from bench.meter.worker import Ticks, raise_descriptor_limit

PERF = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", "1499", "--call-graph", "dwarf,32768"]
MOST_ROWS = 25
OURS = re.compile(r"__pyx_f_\d*metercore_\d+(\w+)")
SYSCALL = re.compile(r"__(?:x64|arm64|do)_sys_(\w+)")
ENTRY = ("entry_SYSCALL", "do_syscall", "syscall_", "asm_", "el0_")


def record(data: Path, ticks: Ticks, herd: Herd, woken: int, count: int) -> float:
    """Tick under perf; return the CPU nanoseconds per process and tick."""
    perf = subprocess.Popen([*PERF, "--output", str(data), "--pid", str(os.getpid())], process_group=0)
    try:
        while not data.exists():
            time.sleep(0.05)
        time.sleep(0.5)
        spent = 0
        for _ in range(count):
            herd.wake(woken)
            before = time.process_time_ns()
            ticks()
            spent += time.process_time_ns() - before
        return spent / count / herd.count
    finally:
        perf.terminate()
        perf.wait()


def read(data: Path) -> tuple[Counter[str], Counter[tuple[str, str]], int]:
    """Count samples by our function, callees included, and by our innermost function and what it asked of the kernel."""
    script = subprocess.run(
        ["perf", "script", "-i", str(data), "-F", "ip,sym"], capture_output=True, text=True, check=True
    ).stdout
    inclusive: Counter[str] = Counter()
    innermost: Counter[tuple[str, str]] = Counter()
    total = 0
    for sample in script.split("\n\n"):
        symbols = [line.split(None, 1)[1] for line in sample.splitlines() if len(line.split(None, 1)) > 1]
        ours = [found[1] for symbol in symbols if (found := OURS.match(symbol))]
        if not ours:
            continue
        total += 1
        inclusive.update(set(ours))
        asked = next((found[1] for symbol in symbols if (found := SYSCALL.match(symbol))), "")
        entering = any(symbol.startswith(ENTRY) for symbol in symbols)
        innermost[ours[0], asked or ("entering and leaving the kernel" if entering else "–")] += 1
    return inclusive, innermost, total


def main(backend: str, shape: str, count: str, woken: str = "0", ticks: str = "50") -> None:
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="taskmeter-bench-") as name:
        work = Path(name)
        with Herd(c_program("herd", work), int(count)) as herd:
            looking = Ticks(backend, shape, work, herd.root, herd.pids)
            ns = record(work / "perf", looking, herd, int(woken), int(ticks))
            inclusive, innermost, total = read(work / "perf")
        harness.heading(
            f"Where does a tick spend its time? {backend}, {shape}, {herd.count:,} processes, {woken} ran: {ns:.0f} ns each"
        )
    harness.table(
        ["native function, callees included", "ns"],
        [(symbol, f"{samples / total * ns:.0f}") for symbol, samples in inclusive.most_common(MOST_ROWS)],
    )
    harness.table(
        ["innermost native function", "in the kernel", "ns"],
        [(symbol, asked, f"{samples / total * ns:.0f}") for (symbol, asked), samples in innermost.most_common(MOST_ROWS)],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
