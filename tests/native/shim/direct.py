"""Run the shim by hand, without executor or launcher: as another user, twice on one attempt, with a block of one's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from taskmeter.executors import taskdir
from taskmeter.executors.shimfile import PACKAGED

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
TOKEN = "tk_0123456789abcdefghijkl"
INCARNATION = 77
PLAIN = 'exec 3<"$0"; exec "$@"'


def make_attempt(directory: Path) -> Path:
    """Make an attempt directory with its task/work; the records are left to the shim."""
    (directory / "task" / "work").mkdir(parents=True)
    return directory


def block_for(directory: Path, *argv: str, **more: Any) -> bytes:
    defaults: dict[str, Any] = {
        "incarnation": INCARNATION,
        "boot_id": BOOT_ID,
        "argv": [argument.encode() for argument in argv],
        "env": [b"PATH=/usr/bin:/bin", f"TASKMETER_TOKEN={TOKEN}".encode()],
        "attempt_dir": os.fsencode(directory),
        "token": TOKEN.encode(),
        "attempt": 1,
        "grace_ns": 10**10,
    }
    return taskdir.pack_launch(taskdir.LaunchBlock(**{**defaults, **more}))


def start_shim(
    directory: Path, block: bytes, *, binary: Path = PACKAGED, script: str = PLAIN, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a shim with `block` on descriptor 3; `script`: the shell's; `options` go to Popen (user, …)."""
    memory = os.memfd_create("block")
    os.write(memory, block)
    # dash has no descriptors above 9, so the shell opens it anew.
    command = ["/bin/sh", "-c", script, f"/proc/self/fd/{memory}", str(binary), str(directory)]
    try:
        return subprocess.Popen(
            command, pass_fds=(memory,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
        )
    finally:
        os.close(memory)


def run_shim(directory: Path, block: bytes, **options: Any) -> tuple[int, bytes]:
    """Run a shim to its end; return its exit status and what it (or a sanitizer) wrote to stderr."""
    with start_shim(directory, block, **options) as shim:
        _, errors = shim.communicate(timeout=60)
        return shim.returncode, errors


def exit_record(directory: Path) -> taskdir.Exit | None:
    return taskdir.unpack_exit((directory / "exit").read_bytes())


def gone_record(directory: Path) -> taskdir.Gone | None:
    return taskdir.unpack_gone((directory / "gone").read_bytes())
