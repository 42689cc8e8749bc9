"""What a process holds, and what of it grows when something is done again and again: the C heap (mallinfo2(3)), blocks of Python,
mappings, descriptors, threads."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from metercore import descriptors
from tests.waiting import wait_until

Case = Callable[[Path], object]
"""One round of what may leak."""

MALLINFO2 = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of malloc.h: `uordblks` is what is allocated, `hblkhd` what lies in mappings of its own."""

    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in MALLINFO2.split()]


@dataclass(frozen=True, slots=True)
class State:
    """What this process holds."""

    heap_bytes: int
    python_blocks: int
    mapping_count: int
    descriptors: int
    kept: int
    threads: int


def state() -> State:
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        mappings = sum(1 for _ in file)
    files, threads = (len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task"))
    return State(info.uordblks + info.hblkhd, sys.getallocatedblocks(), mappings, files, descriptors.kept_count(), threads)


ROUNDS = 25
HEAP_SLACK = 16 * ROUNDS
"""Bytes. The smallest block malloc gives, once per round, is a leak; less is somebody's cache."""


def grown(function: Case, directory: Path) -> list[str]:
    """Repeat a case; what there is more of afterwards."""
    before = state()
    for _ in range(ROUNDS):
        function(directory)
    try:
        # A joined thread may still be listed for a moment: the kernel wakes its joiner before it is gone.
        wait_until(lambda: len(os.listdir("/proc/self/task")) <= before.threads, "threads are gone", 5)
    except AssertionError:
        pass
    after = state()
    slack = {"heap_bytes": HEAP_SLACK - 1, "python_blocks": ROUNDS // 2, "mapping_count": ROUNDS // 4}
    return [
        f"{name}: {getattr(before, name)} → {getattr(after, name)} in {ROUNDS} rounds"
        for name in State.__slots__
        if getattr(after, name) > getattr(before, name) + slack.get(name, 0)
    ]


def leaks(function: Case, directory: Path) -> list[str]:
    """What grows every time; caches and pools that fill up do so only at first (as in psutil's tests)."""
    for _ in range(3):
        function(directory)
    found: list[str] = []
    for _ in range(5):
        found = grown(function, directory)
        if not found:
            return []
    return found
