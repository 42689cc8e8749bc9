"""Finding and ending processes that belong to a state directory, by what the kernel says about them."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from time import monotonic


def command_of(pid: int, state_dir: Path) -> str | None:
    """Return the process's command line if it is a shim or a task's process of this state directory, else None.

    A shim names the attempt directory in its arguments; a task's processes have it in their environment, unless they clean it.
    """
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if f"\0{state_dir}/tasks/".encode() in command or (
            f"TASKMETER_TASK_DIR={state_dir}/".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        ):
            return command.replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return None


def of_state_dir(state_dir: Path) -> dict[int, str]:
    """Return pid → command line of every shim and every task's process of this state directory, zombies left out."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid())
    return {pid: command for pid in pids if (command := command_of(pid, state_dir)) is not None}


def parent_of(pid: int) -> int:
    """Return the parent's pid, 0 when the process is gone. comm may hold anything, so fields count from the last ")"."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[1])


def end_all(state_dir: Path, seconds: float = 20.0) -> None:
    """Kill all of them, those that they start meanwhile too; fail when some are left after `seconds`."""
    deadline = monotonic() + seconds
    while pids := of_state_dir(state_dir):
        assert monotonic() < deadline, f"cannot end {pids}"
        handles = []
        for pid in pids:
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue
            if command_of(pid, state_dir) is not None:  # still the same process, now that the handle pins it
                signal.pidfd_send_signal(handles[-1], signal.SIGKILL)
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        if handles:
            poll.poll(200)
        for handle in handles:
            os.close(handle)
