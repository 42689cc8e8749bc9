"""Where the unix socket of a state directory lies, also when the directory's path is too long for one."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from taskmeter.errors import UnavailableError

UNIX_PATH_BYTES = 107
"""sun_path of sockaddr_un holds 108 bytes with its NUL (unix(7))."""


def socket_path(state_dir: Path) -> Path:
    """Return DIR/daemon.sock, or a short path in the user's runtime directory; clients read it from daemon.json.

    Raises `UnavailableError` if somebody else could put a socket of theirs there, which clients would send their keys to.
    """
    direct = state_dir / "daemon.sock"
    if len(os.fsencode(direct)) <= UNIX_PATH_BYTES:
        return direct
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base:
        import tempfile  # noqa: PLC0415  # as in executors/hints.py

        base = os.path.join(tempfile.gettempdir(), f"taskmeter-{os.getuid()}")
        os.makedirs(base, mode=0o700, exist_ok=True)
        found = os.lstat(base)
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077 or not stat.S_ISDIR(found.st_mode):
            raise UnavailableError(
                f"{base} belongs to somebody else, and the path of {direct} is too long for a socket",
                hint="set XDG_RUNTIME_DIR, or choose a state directory with a shorter path",
            )
    return Path(base) / f"taskmeter-{hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]}.sock"
