"""Where the unix socket of a state directory lies, also when the directory's path is too long for one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

UNIX_PATH_BYTES = 107
"""sun_path of sockaddr_un holds 108 bytes with its NUL (unix(7))."""


def socket_path(state_dir: Path) -> Path:
    """Return DIR/daemon.sock, or a short path in the user's runtime directory; clients read it from daemon.json."""
    direct = state_dir / "daemon.sock"
    if len(os.fsencode(direct)) <= UNIX_PATH_BYTES:
        return direct
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base:
        base = os.path.join(tempfile.gettempdir(), f"taskmeter-{os.getuid()}")
        os.makedirs(base, mode=0o700, exist_ok=True)
    return Path(base) / f"taskmeter-{hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]}.sock"
