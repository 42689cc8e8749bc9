"""From an attempt's records to the facts that the core asks for, and the records the daemon itself writes."""

from __future__ import annotations

import os
import time

from msgspec.structs import replace

from metercore.attempt import on_read, read_records
from taskmeter import failpoints
from taskmeter.core.ports import Ended, Facts, Gone, Started
from taskmeter.executors import taskdir
from taskmeter.executors.cgroups import Places
from taskmeter.executors.outcome import start_message
from taskmeter.executors.taskdir import ExitKind
from taskmeter.model.task import Cause

_NS = 1_000_000_000


if failpoints.armed:
    on_read(lambda name: failpoints.hit(f"reconcile.after_{name}"))


def read_facts(directory: bytes, boot_id: str, *, alive: bool) -> Facts:
    """Read what is known of an attempt. `alive`: its shim was seen alive before this call; else its lock tells."""
    records = read_records(directory)
    if records is not None and records[0] is None and (records[2] is not None or records[3] is not None):
        records = read_records(directory)  # a shim came after we had looked for its claim, and perhaps for its lock
    if records is None:
        return Facts(claimed=False, alive=alive)
    claim_data, owner, exit_data, pid_data, gone_data = records
    claim = taskdir.unpack_claim(claim_data)
    end, main, gone = taskdir.unpack_exit(exit_data), taskdir.unpack_pid(pid_data), taskdir.unpack_gone(gone_data)
    if claim is not None:  # records of another launch are stale
        end = end if end and end.incarnation == claim.incarnation else None
        main = main if main and main.incarnation == claim.incarnation else None
        gone = gone if gone and gone.incarnation == claim.incarnation else None
    return Facts(
        claimed=claim_data is not None or end is not None or main is not None,  # a power cut may have taken it
        alive=alive or owner > 0,
        started=Started(main.pid, main.start_realtime_ns / _NS) if main else None,
        ended=_ended(end) if end else None,
        gone=_gone(gone) if gone and gone.final else None,
        unkillable_pids=gone.unkillable_pids if gone and not gone.final else (),
        same_boot=claim is None or claim.boot_id == boot_id,
    )


def last_account(directory: bytes, cgroups: Places) -> Gone:
    """What a tree had used when its shim died: what the shim had published, and the cgroup's total if it still stands."""
    records = read_records(directory)
    gone = taskdir.unpack_gone(records[4]) if records else None
    account = _gone(gone) if gone else Gone(0.0, 0, 0, 0, 0, None, None, 0)
    return replace(account, time=time.time(), cgroup_cpu_ns=_cgroup_cpu_ns(cgroups), read_bytes=None, write_bytes=None)


def _cgroup_cpu_ns(cgroups: Places) -> int:
    if cgroups.v1_cpuacct and not cgroups.v2:
        return int(_read(os.fsencode(f"{cgroups.v1_cpuacct}/cpuacct.usage")) or b"0")
    for line in (_read(os.fsencode(f"{cgroups.v2}/cpu.stat")) or b"").splitlines() if cgroups.v2 else ():
        name, _, value = line.partition(b" ")
        if name == b"usage_usec":
            return int(value) * 1000
    return 0


def win_claim(directory: bytes, incarnation: int, boot_id: str, end: taskdir.Exit) -> bool:
    """Claim an attempt so that no shim ever runs it, and leave the records of its end; False when a shim has claimed it."""
    try:
        _write(directory + b"/claim", taskdir.pack_claim(taskdir.Claim(0, incarnation, 0, boot_id)), os.O_EXCL)
    except FileExistsError:
        found = taskdir.unpack_claim(_read(directory + b"/claim"))
        return found is not None and found.shim_pid == 0
    except FileNotFoundError:
        return True  # without a directory there is nothing that a shim could claim
    over = taskdir.Gone(1, incarnation, final=True, end_realtime_ns=time.time_ns())
    _write(directory + b"/exit", taskdir.pack_exit(end))
    _write(directory + b"/gone", taskdir.pack_gone(over))
    return True


def drop_input(directory: bytes) -> None:
    """Delete the file of the task's input: the main process has it open, and it may hold secrets. A launch writes it anew."""
    try:
        os.unlink(directory + b"/stdin")
    except OSError:
        pass


def write_order(directory: bytes, order: taskdir.Control) -> None:
    """Put an order into `ctl`, merged with one that the shim may not have read yet: the first cause, the shorter grace.

    An order that is not newer changes nothing. It outlives this process; a power cut ends the task with it.
    """
    before = read_order(directory)
    if before is not None:
        if order.serial <= before.serial:
            return
        order = taskdir.Control(order.serial, before.cause, min(order.grace_ns, before.grace_ns))
    _write(directory + b"/ctl", taskdir.pack_ctl(order))


def read_order(directory: bytes) -> taskdir.Control | None:
    """Return the newest order, if there is one."""
    return taskdir.unpack_ctl(_read(directory + b"/ctl"))


def _ended(end: taskdir.Exit) -> Ended:
    return Ended(
        failed_to_start=end.kind in {ExitKind.EXEC_FAILED, ExitKind.NEVER_STARTED},
        exit_code=end.code,
        exit_signal=end.signal,
        core_dumped=end.core,
        cause=Cause(end.cause),
        forced=end.forced,
        start_time=end.start_realtime_ns / _NS,
        end_time=end.end_realtime_ns / _NS,
        start_message=start_message(end) if end.kind is ExitKind.EXEC_FAILED else "",
        unknown=end.kind is ExitKind.UNKNOWN,
        detached=end.kind is ExitKind.DETACHED,
        oom_kill_count=end.oom_kill_count,
    )


def _gone(gone: taskdir.Gone) -> Gone:
    return Gone(
        time=gone.end_realtime_ns / _NS,
        reaped_cpu_ns=gone.reaped_user_ns + gone.reaped_system_ns,
        cgroup_cpu_ns=gone.cgroup_cpu_ns,
        max_rss_bytes=gone.reaped_max_rss_bytes,
        kernel_peak_memory_bytes=gone.cgroup_peak_memory_bytes,
        read_bytes=gone.read_bytes,
        write_bytes=gone.write_bytes,
        killed_count=gone.killed_count,
        minor_fault_count=gone.reaped_minor_faults,
        major_fault_count=gone.reaped_major_faults,
        voluntary_switch_count=gone.reaped_voluntary_switches,
        involuntary_switch_count=gone.reaped_involuntary_switches,
        clock_seconds=gone.end_boottime_ns / _NS,
    )


def _write(path: bytes, data: bytes, how: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)


def _read(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(taskdir.PAGE_BYTES)
    except FileNotFoundError:
        return None
