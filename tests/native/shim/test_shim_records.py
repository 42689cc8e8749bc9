"""What the records say, who may write them, and what is left when a shim dies."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from metercore.attempt import open_owner
from taskmeter.executors import taskdir
from taskmeter.executors.taskdir import ExitKind, ShimStatus
from taskmeter.executors.watch import Watch, Watches
from tests.attempts import Attempts, no_descriptors
from tests.native.shim.conftest import MakeAttempts
from tests.native.shim.direct import INCARNATION, block_for, exit_record, gone_record, make_attempt, run_shim, start_shim
from tests.native.shim.hostile import script
from tests.native.shim.test_shim_stop import armed
from tests.waiting import wait_until

BURN = """
import json, os, resource, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def total(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
orphaned, count, seconds = sys.argv[1] == "orphaned", int(sys.argv[2]), float(sys.argv[3])
read, write = os.pipe()
for _ in range(count):
    child = os.fork()
    if child == 0:
        if orphaned and os.fork():
            os._exit(0)
        burn(seconds)
        os.write(write, b"%.9f\\n" % total(resource.RUSAGE_SELF))
        os._exit(0)
    os.waitpid(child, 0)
os.close(write)
lines = os.fdopen(read).read().split()
used = total(resource.RUSAGE_SELF) + total(resource.RUSAGE_CHILDREN) + (sum(map(float, lines)) if orphaned else 0)
print(json.dumps({"seconds": used, "children": len(lines)}), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("how", "count", "seconds"),
    [("waited", 1000, 0.002), ("orphaned", 100, 0.05)],  # an orphan cannot tell what its own exit will cost: up to 0.5 ms
)
async def test_the_cpu_of_many_children_is_counted(make_attempts: MakeAttempts, how: str, count: int, seconds: float) -> None:
    attempts = await make_attempts(cgroup="off")
    attempt = await attempts.run(sys.executable, "-S", "-c", BURN, how, str(count), str(seconds))
    _, gone = await attempt.over(100.0)
    told = json.loads(attempt.output())
    assert told["children"] == count
    assert gone.reaped_cpu_ns / 1e9 == pytest.approx(told["seconds"], rel=0.02)


@pytest.mark.parametrize("how", ["waited", "orphaned"])
async def test_the_cgroups_total_agrees_with_the_reaped_one(attempts: Attempts, how: str) -> None:
    attempt = await attempts.run(sys.executable, "-S", "-c", BURN, how, "1000", "0.002")
    _, gone = await attempt.over(100.0)
    if attempts.executor.cgroups.v2:
        assert gone.cgroup_cpu_ns == pytest.approx(gone.reaped_cpu_ns, rel=0.02)
    else:
        assert gone.cgroup_cpu_ns == 0


async def test_the_usage_of_what_has_ended_is_published_while_main_runs(make_attempts: MakeAttempts) -> None:
    attempts = await make_attempts(cgroup="off")
    burn = "python3 -S -c 'import time\nwhile time.process_time() < 0.05: pass'"
    attempt = await attempts.shell(f"({burn.replace('python3', sys.executable)} &) ; sleep 1000")
    await attempt.started()

    def published() -> taskdir.Gone | None:
        gone = taskdir.unpack_gone((attempt.directory / "gone").read_bytes())
        return gone if gone and gone.reaped_user_ns + gone.reaped_system_ns >= 50_000_000 else None

    gone = wait_until(published, "the orphan's CPU time is in gone")
    assert gone is not None
    assert not gone.final
    assert attempt.facts.gone is None


async def test_what_the_task_wrote_is_in_its_io(attempts: Attempts) -> None:
    attempt = await attempts.shell("head -c 3000000 /dev/zero > file; sync file")
    _, gone = await attempt.over()
    if gone.write_bytes is not None:
        assert 3_000_000 <= gone.write_bytes < 4_000_000


async def test_a_second_shim_loses_and_touches_nothing(tmp_path: Path) -> None:
    directory = make_attempt(tmp_path / "1")
    assert run_shim(directory, block_for(directory, "/bin/sh", "-c", "echo first; exit 3"))[0] == ShimStatus.DONE
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    assert run_shim(directory, block_for(directory, "/bin/sh", "-c", "echo second"))[0] == ShimStatus.CLAIMED
    assert {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()} == before
    assert (directory / "task" / "stdout").read_text() == "first\n"


async def test_of_many_shims_at_once_exactly_one_runs_the_command(tmp_path: Path) -> None:
    directory = make_attempt(tmp_path / "1")
    block = block_for(directory, "/bin/sh", "-c", "echo once; exit 9")
    shims = [start_shim(directory, block) for _ in range(12)]
    statuses = []
    for shim in shims:
        shim.communicate(timeout=60)
        statuses.append(shim.returncode)
    assert sorted(statuses) == [ShimStatus.DONE] + [ShimStatus.CLAIMED] * 11
    assert (directory / "task" / "stdout").read_text() == "once\n"
    end, gone = exit_record(directory), gone_record(directory)
    assert end is not None
    assert gone is not None
    assert (end.kind, end.code, end.incarnation) == (ExitKind.EXITED, 9, INCARNATION)
    assert (gone.final, gone.incarnation, gone.reaped_count) == (True, INCARNATION, 1)


async def test_the_executor_adopts_the_winner_when_its_own_shim_loses(attempts: Attempts) -> None:
    """A daemon died after the spawn; the next one launches again before the first shim's claim can be seen."""
    attempt = await attempts.prepare()
    make_attempt(attempt.directory / "x")
    (attempt.directory / "task" / "work").mkdir(parents=True)
    block = block_for(attempt.directory, "sleep", "1000", incarnation=attempt.incarnation, token=attempt.token.encode())
    with start_shim(attempt.directory, block) as winner:
        wait_until(lambda: (attempt.directory / "pid").exists() and attempt.facts.started, "the first shim runs it")
        assert open_owner_pid(attempt.directory) == winner.pid
        await attempts.launch(attempt, "echo", "never")
        attempt.stop(30.0)  # at once: the executor may still hold the loser for the shim
        ended, _ = await attempt.over()
        assert ended.exit_signal == signal.SIGTERM
        winner.communicate(timeout=60)


def open_owner_pid(directory: Path) -> int:
    pid, pidfd = open_owner(os.fsencode(directory))
    if pidfd >= 0:
        os.close(pidfd)
    return pid


async def test_the_lock_names_the_shim_while_it_lives_and_nobody_after(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000")
    await attempt.started()
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    assert open_owner_pid(attempt.directory) == source.shim_pid
    attempt.stop(0.0)
    await attempt.until(lambda facts: not facts.alive)
    assert open_owner_pid(attempt.directory) == 0


async def test_a_killed_shim_leaves_facts_that_say_so_and_its_tree_can_be_killed(both_attempts: Attempts) -> None:
    attempt = await both_attempts.run(sys.executable, "-S", "-c", script("several_hoppers"))
    await armed(attempt)
    source = both_attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    os.kill(source.shim_pid, signal.SIGKILL)
    facts = await attempt.until(lambda facts: not facts.alive)
    assert facts.claimed
    assert facts.started is not None
    assert facts.ended is None
    assert facts.gone is None
    assert facts.same_boot
    assert await both_attempts.executor.kill_leftovers(attempt.token, 1) >= 1
    wait_until(lambda: not attempt.survivors(), "nothing survives")
    assert await both_attempts.executor.kill_leftovers(attempt.token, 1) == 0


async def test_a_shim_of_another_boot_is_told_from_one_of_this(attempts: Attempts) -> None:
    attempt = await attempts.prepare()
    claim = taskdir.Claim(1, attempt.incarnation, 1, "00000000-0000-0000-0000-000000000000")
    (attempt.directory / "claim").write_bytes(taskdir.pack_claim(claim))
    facts = attempt.facts
    assert (facts.claimed, facts.alive, facts.same_boot) == (True, False, False)


async def test_records_of_another_incarnation_do_not_count(attempts: Attempts) -> None:
    attempt = await attempts.run("true")
    await attempt.over()
    record = attempt.exit_record()
    claim = taskdir.Claim(1, attempt.incarnation + 1, 1, "x")
    (attempt.directory / "claim").write_bytes(taskdir.pack_claim(claim))
    assert record.incarnation == attempt.incarnation
    assert attempt.facts.ended is None
    assert attempt.facts.gone is None


async def test_torn_records_do_not_exist(attempts: Attempts) -> None:
    attempt = await attempts.run("true")
    await attempt.over()
    for name in ("exit", "pid", "gone"):
        path = attempt.directory / name
        data = bytearray(path.read_bytes())
        data[30] ^= 1
        data[taskdir.GONE_SLOT_BYTES + 30 :] = b""
        path.write_bytes(data)
    facts = attempt.facts
    assert (facts.started, facts.ended, facts.gone) == (None, None, None)


async def test_without_a_directory_nothing_is_known(attempts: Attempts) -> None:
    facts = attempts.executor.facts("tk_0000000000000000000000", 1)
    assert (facts.claimed, facts.alive, facts.started, facts.ended, facts.gone) == (False, False, None, None, None)


async def test_preallocated_records_survive_a_full_disk(attempts: Attempts) -> None:
    """What is written while a task runs has its blocks beforehand."""
    attempt = await attempts.run("sleep", "0.01")
    for name in ("ctl", "pid", "exit", "gone", "meter"):
        info = (attempt.directory / name).stat()
        assert info.st_size == taskdir.PAGE_BYTES
        assert info.st_blocks * 512 >= taskdir.PAGE_BYTES
    assert (attempt.directory / "task" / "report").stat().st_size == 4096
    await attempt.over()
    assert (attempt.directory / "exit").stat().st_size == taskdir.PAGE_BYTES


async def test_g3_a_living_shim_is_not_taken_for_dead_for_lack_of_descriptors(attempts: Attempts) -> None:
    """A daemon that adopts it just then looks again until it can see, and does not say LOST meanwhile."""
    attempt = await attempts.run("sleep", "1000")
    await attempt.started()
    watches = Watches()
    watch = watches.add(Watch(attempt.token, 1, os.fsencode(attempt.directory)))
    with no_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        open_owner(os.fsencode(attempt.directory))
    assert caught.value.errno == errno.EMFILE
    with no_descriptors():
        assert not watches.attach_owner(watch)
    assert (watch.alive, watch.unseen) == (True, True)
    assert watches.attach_owner(watch)
    assert (watch.alive, watch.unseen, watch.pidfd >= 0) == (True, False, True)
    watches.close()
    attempt.stop(0.0)
    await attempt.over()
