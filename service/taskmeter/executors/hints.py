"""The socket on which shims say that there is something to read.

It is lossy: the records are the truth, and a sweep finds what was missed.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

from taskmeter.executors.taskdir import HINT, HINTS_PATH_BYTES, unpack_hint

_RECEIVE_BUFFER_BYTES = 1 << 20
_NAME = "hints.sock"


def hints_path(state_dir: Path) -> str:
    """Return the socket's path: in the state directory, or a short one made of its hash where that is too long for sun_path."""
    path = str(state_dir / _NAME)
    if len(os.fsencode(path)) <= HINTS_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    import tempfile  # noqa: PLC0415  # with shutil and its compressors it takes 2 ms of each start

    directory = runtime if runtime and len(os.fsencode(runtime)) < HINTS_PATH_BYTES - 40 else tempfile.gettempdir()
    return os.path.join(directory, f"taskmeter-{digest}.hints")


class Hints:
    """The bound socket. A restarted daemon binds the same path, so shims of the earlier one reach it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            os.unlink(path)  # left by a daemon that was killed; the state directory's lock says that there is no other
        except FileNotFoundError:
            pass
        self._socket.bind(path)
        os.chmod(path, 0o600)

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> set[tuple[str, int]]:
        """Receive all that is there; return the (token, attempt) pairs it was about."""
        found: set[tuple[str, int]] = set()
        while True:
            try:
                hint = unpack_hint(self._socket.recv(HINT.size + 1))
            except BlockingIOError:
                return found
            if hint is not None:
                found.add(hint[1:])

    def close(self) -> None:
        """Close it; the path stays for the next daemon, which replaces it."""
        self._socket.close()
