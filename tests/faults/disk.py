"""A file system of one's own in a file, for root: to be made read-only, or to lose all that it had not put on disk yet."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

from tests.waiting import wait_until

_SHUTDOWN, _WITHOUT_LOG = 0x8004587D, 2
"""FS_IOC_SHUTDOWN of linux/fs.h, and the flag by which nothing that is only in memory is written first."""


class Disk:
    """An ext4 in `image`, mounted at `path`. Skips the test where this machine has no loop devices."""

    def __init__(self, directory: Path, size_bytes: int, options: str = "") -> None:
        self.image, self.path = directory / "image", directory / "disk"
        self._options = ",".join(filter(None, ("loop", options)))
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(self.image)], check=True)
        if self.mount():
            pytest.skip("this machine has no loop devices to mount")

    def mount(self) -> int:
        """Return mount's exit code; its journal is replayed."""
        command = ["mount", "-o", self._options, str(self.image), str(self.path)]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def cut_power(self) -> None:
        """From now on nothing reaches the image any more: what was not synced is lost, and every write fails."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("<I", _WITHOUT_LOG))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Wait for the last one who uses it: a lazy unmount would leave the image mounted when it is mounted again."""
        command = ["umount", str(self.path)]
        wait_until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0, "the disk is unmounted")
