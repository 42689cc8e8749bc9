"""Who belongs to whom: found in one pass over /proc, whatever dies, forks or comes round meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from metercore.procfs import read_stat
from metercore.tree import ProcessTree
from tests.native.conftest import Plant
from tests.native.trees import python
from tests.waiting import wait_until

DEEP = """
import os, signal
for depth in range(12):
    if os.fork():
        signal.pause()
open("up", "w").write("x\\n")
signal.pause()
"""
DAEMONS = """
import os, signal
for n in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(f"up{n}", "w").write("x\\n")
            signal.pause()
        os._exit(0)
    os.wait()
open("up", "w").write("x\\n")
signal.pause()
"""


@pytest.fixture
def cgroup() -> str:
    return "off"


def descendants(pid: int) -> set[int]:
    """The oracle: walk the kernel's own lists of children."""
    found = {int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()}
    return found.union(*(descendants(child) for child in found))


def test_a_deep_tree_is_found_ancestors_first(planted: Plant) -> None:
    tree = planted(*python(DEEP))
    tree.wait_for("up")
    processes = ProcessTree()
    processes.sweep()  # everybody is an outsider, deep in the tree too
    processes.add_root(tree.shim.pid, 7)
    found = processes.sweep()
    pids = [pid for _, pid, _ in found]
    assert set(pids) == descendants(tree.shim.pid)
    assert len(pids) == 13
    assert pids[0] == tree.main_pid
    assert all(read_stat(pid).ppid == before for before, pid in pairwise(pids))
    assert {owner for owner, _, _ in found} == {7}
    assert [start for _, _, start in found] == [read_stat(pid).start_ticks for pid in pids]
    assert processes.sweep() == [], "each is found once"


def test_double_forked_daemons_are_found_although_their_parents_are_gone(planted: Plant) -> None:
    tree = planted(*python(DAEMONS))
    tree.wait_for("up")
    for n in range(20):
        tree.wait_for(f"up{n}")
    processes = ProcessTree()
    processes.add_root(tree.shim.pid, 1)
    found = {pid for _, pid, _ in processes.sweep()}
    assert found == descendants(tree.shim.pid)
    assert len(found) == 21


def test_new_processes_are_found_by_the_next_sweep_only_for_their_own_root(planted: Plant) -> None:
    fork = "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: os.fork())\n"
    fork += "open('up', 'w').write('x\\n')\nwhile True: signal.pause()"
    trees = [planted(*python(fork)) for _ in range(2)]
    processes = ProcessTree()
    for n, tree in enumerate(trees):
        tree.wait_for("up")
        processes.add_root(tree.shim.pid, n + 1)
    assert {owner: pid for owner, pid, _ in processes.sweep()} == {1: trees[0].main_pid, 2: trees[1].main_pid}
    signal.pidfd_send_signal(trees[1].main, signal.SIGUSR1)
    wait_until(lambda: len(descendants(trees[1].shim.pid)) == 2, "it has forked")
    found = processes.sweep()
    assert [owner for owner, _, _ in found] == [2]
    assert found[0][1] in descendants(trees[1].shim.pid)


def test_removing_a_root_and_adding_it_again_finds_its_members_again(planted: Plant) -> None:
    tree = planted(*python(DEEP))
    tree.wait_for("up")
    processes = ProcessTree()
    processes.add_root(tree.shim.pid, 1)
    assert len(processes.sweep()) == 13
    processes.remove_root(tree.shim.pid, 1)
    assert processes.sweep() == []
    processes.add_root(tree.shim.pid, 2)
    assert {owner for owner, _, _ in processes.sweep()} == {2}


def test_a_forgotten_member_is_found_anew(planted: Plant) -> None:
    tree = planted(*python("import signal; signal.pause()"))
    processes = ProcessTree()
    processes.add_root(tree.shim.pid, 1)
    first = processes.sweep()
    processes.forget(tree.main_pid)
    assert processes.sweep() == first


def test_a_quiet_system_is_not_read_again(planted: Plant) -> None:
    tree = planted(*python("import signal; signal.pause()"))
    processes = ProcessTree()
    processes.add_root(tree.shim.pid, 1)
    processes.sweep()
    before = processes.stat_count
    for _ in range(10):
        processes.sweep()
    # A 64th of the outsiders with each sweep, and whoever else starts on this machine.
    assert processes.stat_count - before < 10 * (len(os.listdir("/proc")) / 64 + 60)


def test_thousands_of_processes_come_and_go_without_loss() -> None:
    """The table grows, shrinks and moves its entries; what it says stays what the kernel says."""
    processes = ProcessTree()
    processes.add_root(os.getpid(), 9)
    seen: set[int] = set()
    for _ in range(5):
        children = [subprocess.Popen(["/bin/sleep", "1000"]) for _ in range(100)]
        try:
            found = {pid for _, pid, _ in processes.sweep()} - seen
            assert {child.pid for child in children} <= found
            seen |= found
        finally:
            for child in children:
                child.kill()
                child.wait()
        seen.clear()
    assert {pid for _, pid, _ in processes.sweep()} <= descendants(os.getpid())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="pid namespaces of one's own need root")
def test_a_pid_that_came_round_is_somebody_else(tmp_path: Path) -> None:
    """In a pid namespace with few pids, so that the same pid is had again soon."""
    native = str(Path(__file__).parents[2] / "native")
    code = f"""
import ctypes, os, sys
sys.path.insert(0, {native!r})
from metercore.tree import ProcessTree
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"proc", b"/proc", b"proc", 0, None): sys.exit(77)
tree = ProcessTree()
root = os.fork()
if root == 0:
    import signal; signal.pause()
first = os.fork()
if first == 0:
    import signal; signal.pause()
tree.add_root(os.getpid(), 5)
found = {{pid: start for _, pid, start in tree.sweep()}}
assert first in found, found
os.kill(first, 9); os.waitpid(first, 0)
last = 0
while last != first:
    if last:
        os.kill(last, 9); os.waitpid(last, 0)
    with open("/proc/sys/kernel/ns_last_pid", "w") as file: file.write(str(first - 1))
    last = os.fork()
    if last == 0:
        import signal; signal.pause()
again = {{}}
for _ in range(70):
    again |= {{pid: start for _, pid, start in tree.sweep()}}
    tree.forget(first)
assert first in again, again
os.kill(root, 9); os.kill(last, 9)
"""
    done = subprocess.run(
        ["unshare", "--pid", "--mount", "--fork", sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no pid namespace with its own /proc here")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("pid", "owner"), [(0, 1), (-1, 1), (1, 0)])
def test_a_root_is_a_process_and_has_an_owner(pid: int, owner: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        ProcessTree().add_root(pid, owner)
