"""A file that does nothing but take room, to be given up when the disk is full: then what must be stored still can be."""

from __future__ import annotations

import logging
import os
from pathlib import Path

MARGIN_BYTES = 2**20
"""Room that must be left beside the ballast, so that it is not released again at once."""
DISK_SHARE = 8
"""It never takes more than this part of a small disk."""

log = logging.getLogger(__name__)


class Ballast:
    """Belongs to the store's writer thread."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        whole = os.statvfs(path.parent)
        self._size_bytes = min(size_bytes, whole.f_blocks * whole.f_frsize // DISK_SHARE)
        self.released = False
        """The disk was full, and has not had room for the ballast since."""
        if self._size_bytes:
            self.released = not self._make()
        else:
            path.unlink(missing_ok=True)

    def release(self) -> bool:
        """Give the room back; tells whether there was any."""
        if not self._size_bytes or self.released:
            return False
        self.released = True
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("cannot give the ballast up: %s", error)
            return False
        log.warning("the disk is full: %d MiB set aside are released; new tasks are refused", self._size_bytes >> 20)
        return True

    def restore(self) -> bool:
        """Take the room again if there is some; tells whether it is taken."""
        if self.released and self._make():
            self.released = False
            log.warning("the disk has room again; new tasks are accepted")
        return not self.released

    def _make(self) -> bool:
        try:
            if self._path.exists() and self._path.stat().st_size == self._size_bytes:
                return True
            space = os.statvfs(self._path.parent)
            if space.f_bavail * space.f_frsize < self._size_bytes + MARGIN_BYTES:
                return False
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            try:
                self._path.unlink(missing_ok=True)  # half of it helps nobody
            except OSError:
                pass
            return False
        return True
