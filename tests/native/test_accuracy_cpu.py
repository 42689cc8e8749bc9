"""CPU against outside oracles, within 1 %: getrusage and wait4 of the work itself, the cgroup's own total.

The work writes down what the kernel told it, so that the load of the machine cannot make a difference.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.sampler import Sampler
from tests.native.backends import Backend, each_backend
from tests.native.trees import Tree, plant, python
from tests.waiting import wait_until

TOLERANCE = 0.01
"""Of the truth. Rusage is exact, procfs has ticks of 10 ms per process."""

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

WORK = """
import ctypes, os, resource, sys, threading, time
def say(name, text=""):
    with open(name + ".new", "w") as file: file.write(str(text) + "\\n")
    os.rename(name + ".new", name)
def burn(seconds, clock=time.CLOCK_PROCESS_CPUTIME_ID):
    begin = time.clock_gettime(clock)
    while time.clock_gettime(clock) - begin < seconds: pass
def own():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
def subreaper():
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
def hold():
    # Until the test has read what it wants: a line on a pipe in the working directory.
    with open("go") as file: file.read()
os.mkfifo("go")
"""

TREES = {
    "exits": """
for _ in range(8):
    if os.fork() == 0:
        burn(0.15); os._exit(0)
    os.wait()
say("done", own() + children()); hold()
""",
    "exits that overlap": """
for _ in range(6):
    if os.fork() == 0:
        burn(0.2); os._exit(0)
for _ in range(6): os.wait()
say("done", own() + children()); hold()
""",
    "execs": """
burn(0.4)
if "again" not in sys.argv:
    os.unlink("go")
    os.execv(sys.executable, [sys.executable, "-S", "-c", os.environ["CODE"], "again"])
burn(0.4)
say("done", own() + children()); hold()
""",
    "threads": """
# A thread that ended counts in its process. One core is not shared evenly, so each has its own clock.
threads = [threading.Thread(target=burn, args=(0.3, time.CLOCK_THREAD_CPUTIME_ID)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say("done", own() + children()); hold()
""",
    "double forks below a subreaper": """
subreaper()
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            burn(0.2); os._exit(0)
        burn(0.05); os._exit(0)
while True:
    try: os.wait()
    except ChildProcessError: break
say("done", own() + children()); hold()
""",
    "grandchildren that are waited for": """
for _ in range(3):
    if os.fork() == 0:
        for _ in range(2):
            if os.fork() == 0:
                burn(0.15); os._exit(0)
        os.wait(); os.wait()
        burn(0.1); os._exit(0)
for _ in range(3): os.wait()
say("done", own() + children()); hold()
""",
    "children that live on": """
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        burn(0.3)
        os.write(writer, str(own()).encode().ljust(32)); hold(); os._exit(0)
burn(0.2)
total = sum(float(os.read(reader, 32)) for _ in range(3))
say("done", own() + total); hold()
""",
}


@pytest.fixture
def tree(backend: Backend, kind: str, tmp_path: Path) -> Iterator[Tree]:
    code = WORK + TREES[kind]
    planted = plant(tmp_path, *python(code), cgroup=backend.cgroup, env={"CODE": code})
    yield planted
    planted.close()


def used(tree: Tree) -> float:
    """What the cgroup counted, in seconds."""
    for line in Path(f"{tree.cgroup_v2}/cpu.stat").read_text().splitlines():
        if line.startswith("usage_usec"):
            return int(line.split()[1]) / 1e6
    raise AssertionError("no usage in cpu.stat")


@pytest.mark.parametrize("kind", TREES)
@each_backend
def test_cpu_is_what_the_work_was_told_by_the_kernel(backend: Backend, kind: str, tree: Tree) -> None:
    sampler = backend.make(start=False)
    handle = backend.open(sampler, tree)
    done = tree.directory / "task" / "work" / "done"
    last = 0

    def look() -> bool:
        nonlocal last
        sampler.tick()
        now = sampler.read(handle).cpu_ns
        assert now >= last, "a published total never falls"
        last = now
        return done.exists()

    wait_until(look, "the work is done", 60)
    truth = float(done.read_text())
    # Everybody is looked for and read once more, also where thousands of others make that dear and thus rare.
    for _ in range(20):
        sampler.tick(skip_seconds=1.5)
    reading = sampler.read(handle)
    # Ending, and waiting in hold(), cost a little after the work has asked; a tick is missing per process that lives.
    slack = 0.03 + TICK_SECONDS * reading.process_count
    assert truth * (1 - TOLERANCE) - slack <= reading.cpu_ns / 1e9 <= truth * (1 + TOLERANCE) + slack
    assert reading.peak_cpu_percent <= 100.0
    if tree.cgroup_v2:
        assert reading.cpu_ns / 1e9 == pytest.approx(used(tree), rel=TOLERANCE, abs=0.01)

    gone = tree.end()
    reaped = gone.reaped_user_ns + gone.reaped_system_ns
    final = sampler.finish(handle, reaped_cpu_ns=reaped, cgroup_cpu_ns=gone.cgroup_cpu_ns)
    if tree.cgroup_v2:  # two accounts of the kernel, independent of each other
        assert gone.cgroup_cpu_ns == pytest.approx(reaped, rel=TOLERANCE, abs=10e6)
    assert final.cpu_ns >= reading.cpu_ns
    assert final.cpu_ns == pytest.approx(max(reaped, gone.cgroup_cpu_ns), rel=TOLERANCE, abs=TICK_SECONDS * 1e9)


def test_a_process_that_could_not_be_read_at_first_is_counted_once(tmp_path: Path) -> None:
    """Main is a member from the start, when its start time may not be readable; the tree finds it again later."""
    tree = plant(tmp_path, *python(WORK + "burn(0.5)\nsay('done', own())\nhold()"))
    sampler = Sampler(start=False)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(int(name) for name in os.listdir("/proc/self/fd")), limit[1]))
    try:
        handle = tree.open(sampler)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    try:
        truth = float(tree.wait_for("done"))
        for _ in range(3):
            sampler.tick(skip_seconds=1.5)
        reading = sampler.read(handle)
        assert reading.process_count == 1
        assert reading.cpu_ns / 1e9 == pytest.approx(truth, rel=TOLERANCE, abs=0.03)
    finally:
        tree.close()
