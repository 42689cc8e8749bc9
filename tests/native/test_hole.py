from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from metercore.hole import punch_hole

SIZE_BYTES = 2**20


def test_a_hole_reads_as_zeros_takes_no_room_and_moves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * SIZE_BYTES)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        punch_hole(descriptor, 0, SIZE_BYTES // 2)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == bytes(SIZE_BYTES // 2) + b"x" * (SIZE_BYTES // 2)
    assert path.stat().st_blocks * 512 <= SIZE_BYTES // 2 + 65536


def test_what_cannot_be_punched_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file") as caught:
        punch_hole(file.fileno(), 0, 1)
    assert caught.value.errno == errno.EBADF
    with path.open("r+b") as file, pytest.raises(OSError, match="Invalid") as caught:
        punch_hole(file.fileno(), 0, 0)
    assert caught.value.errno == errno.EINVAL
