"""What the daemon's end means for its tasks: whether the host, or the container it is the first process of, goes with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ASK_SECONDS = 2.0
"""How long systemd may take to say how it is; one that does not answer is not known to stop."""


def goes_down_with_us() -> bool:
    """Tell whether all tasks are about to be killed: systemd shuts the host down, or this is process 1 of a container."""
    return os.getpid() == 1 or _systemd_stops()


def _systemd_stops() -> bool:
    import shutil  # noqa: PLC0415  # only at the end

    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").exists():
        return False
    try:
        answer = subprocess.run([systemctl, "is-system-running"], capture_output=True, check=False, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == b"stopping"
