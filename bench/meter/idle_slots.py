"""What do 1,000 idle tasks in cgroups of their own cost at 10 Hz? Target: ≤ 3 % of a core. Needs a writable cgroup v2."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import harness
from metercore.sampler import Sampler
from taskmeter.executors import cgroups

COUNT = 1000
ROUNDS = 7
SECONDS = 3.0


def main() -> None:
    base = Path(tempfile.mkdtemp(prefix="taskmeter-bench-"))
    bases = cgroups.discover(base, f"bench{os.getpid()}", "auto")
    if not bases.v2:
        sys.exit("no writable cgroup v2 here")
    sleepers: list[subprocess.Popen[bytes]] = []
    sampler = Sampler(10.0)
    made: list[str] = []
    try:
        for n in range(COUNT):
            v2, v1 = bases.paths(str(n), 0)
            sleepers.append(subprocess.Popen(["/bin/sleep", "1000000"]))
            for path in filter(None, (v2, v1)):
                os.mkdir(path)
                made.append(path)
                Path(path, "cgroup.procs").write_text(f"{sleepers[-1].pid}\n")
            (base / str(n) / "task").mkdir(parents=True)
            (base / str(n) / "task" / "report").touch()
            sampler.open(os.getpid(), sleepers[-1].pid, str(base / str(n)), cgroup_v2=v2, cgroup_v1_memory=v1)
        time.sleep(12.0)  # until the young are old
        shares, per_slot = [], []
        after = sampler.stats()
        for _ in range(ROUNDS):
            before, begin = sampler.stats(), time.monotonic()
            time.sleep(SECONDS)
            after, end = sampler.stats(), time.monotonic()
            used = after.thread_cpu_ns - before.thread_cpu_ns
            shares.append(used / (end - begin) / 1e7)
            per_slot.append(used / 1e3 / (after.sample_count - before.sample_count))
        harness.heading(f"What do {COUNT:,} idle tasks in cgroups cost at 10 Hz?")
        memory = "v1" if bases.v1_memory else "v2" if os.path.exists(f"{made[0]}/memory.stat") else "none"
        harness.table(
            ["", "median (range)"],
            [
                ("% of a core", harness.spread(shares)),
                ("CPU µs per task and tick", harness.spread(per_slot)),
                ("ticks left out", after.overrun_count),
                ("memory cgroup", memory),
            ],
        )
    finally:
        sampler.close()
        for sleeper in sleepers:
            sleeper.send_signal(signal.SIGKILL)
            sleeper.wait()
        for path in [*made, *filter(None, (bases.v2, bases.v1_memory))]:
            os.rmdir(path)
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
