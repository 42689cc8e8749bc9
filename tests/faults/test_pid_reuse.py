"""A stored pid is never signalled: while trees are being killed, strangers get the pids of their dead, and none is hit.

In a pid namespace whose pids come round every hundred forks. Strangers end by themselves with 0; every other end of one counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.size import new_seed, wanted_count

ROOT = Path(__file__).resolve().parents[2]
TREES = wanted_count(20)
SEED = new_seed()

SCENARIO = """
import os, random, signal, sys, time
from pathlib import Path
from tests.native.shim import direct
from tests.native.shim.hostile import SCRIPTS, script

trees, seed = int(sys.argv[1]), int(sys.argv[2])
dice = random.Random(seed)
FIRST, LAST = 300, 400
kinds = ["fork_hopper", "several_hoppers", "respawner", "double_fork", "setsid", "deep"]
tree_pids, reused = set(), 0
strangers, hit = 0, []

def come_round():
    # The next pid is the next free one after this; set back here, every pid is used again and again.
    with open("/proc/sys/kernel/ns_last_pid", "r+") as file:
        if not FIRST <= int(file.read()) < LAST:
            file.seek(0)
            file.write(str(FIRST))

def see_tree(shim):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in living and int(name) not in (1, shim.pid):
            tree_pids.add(int(name))

living = {}
def stranger():
    global strangers, reused
    come_round()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        time.sleep(0.02)
        os._exit(0)
    strangers += 1
    reused += pid in tree_pids
    living[pid] = True

def reap():
    for pid in list(living):
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            del living[pid]
            if status != 0:
                hit.append((pid, status))

for number in range(trees):
    directory = direct.make_attempt(Path(f"attempt-{number}").absolute())
    kind = dice.choice(kinds)
    deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + dice.randrange(200, 500) * 1_000_000
    block = direct.block_for(
        directory, sys.executable, "-S", "-c", script(kind), grace_ns=100_000_000, deadline_boottime_ns=deadline
    )
    come_round()
    shim = direct.start_shim(directory, block)
    end = time.monotonic() + 30
    while shim.poll() is None:
        assert time.monotonic() < end, f"{kind} does not end"
        see_tree(shim)
        while len(living) < 40:
            stranger()
        reap()
    assert shim.returncode == 0, shim.returncode
    shim.stderr.close()
    gone = direct.gone_record(directory)
    assert gone is not None and gone.final, kind
while living:
    reap()
left = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != 1]
print(f"pid reuse: N={trees} seed={seed} strangers={strangers} with a tree's pid={reused}", end=" ")
print(f"signalled={len(hit)} survivors={len(left)}")
assert not hit, hit
assert not left, left
assert reused > 10 * trees, "too few pids came round for this to say anything"
"""


@pytest.mark.root
def test_no_stranger_is_signalled_while_pids_come_round(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    done = subprocess.run(
        [*command, sys.executable, "-c", SCENARIO, str(TREES), str(SEED)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "") + os.pathsep + str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + TREES * 10,
    )
    print(f"\n{done.stdout}", file=sys.stderr)
    record_property("faults", TREES)
    assert done.returncode == 0, f"seed {SEED}\n{done.stderr[-3000:]}"
