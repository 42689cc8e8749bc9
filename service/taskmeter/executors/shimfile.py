"""A copy of the shim in the state directory, named by its content, so that an upgrade or a deleted environment breaks nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from taskmeter.executors.taskdir import ShimStatus

PACKAGED = Path(__file__).with_name("taskmeter-shim")
_CHECK_SECONDS = 10.0


def install_shim(state_dir: Path, packaged: Path = PACKAGED) -> Path:
    """Copy the shim to `state_dir`/bin unless it is there, drop copies of other versions, and return the one to run.

    Running shims keep their deleted file. Where the state directory is mounted noexec the packaged file itself is used. Raises
    FileNotFoundError when the package has no shim, OSError when neither copy can be run.
    """
    content = packaged.read_bytes()
    directory = state_dir / "bin"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = directory / f"taskmeter-shim-{hashlib.sha256(content).hexdigest()[:16]}"
    if not target.exists() or target.read_bytes() != content:
        fresh = directory / f".{target.name}.{os.getpid()}"
        fresh.write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(target)
    for other in directory.iterdir():
        if other != target:
            other.unlink()
    if _runs(target):
        return target
    if _runs(packaged):
        return packaged
    raise OSError(f"the shim cannot be run, neither as {target} nor as {packaged}: are both file systems mounted noexec?")


def _runs(path: Path) -> bool:
    """Run it without its argument: it must refuse with its own exit status."""
    try:
        status = subprocess.run([str(path)], stdin=subprocess.DEVNULL, check=False, timeout=_CHECK_SECONDS).returncode
    except OSError:
        return False
    return status == ShimStatus.USAGE
