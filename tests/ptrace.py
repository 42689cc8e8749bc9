"""Hold a process as a debugger does: when it is killed it dies, and stays a zombie that nobody but us can reap."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PTRACE_SEIZE = 0x4206
_WALL = 0x40000000
"""__WALL of waitpid(2)."""


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Be the debugger of a process that descends from this one, from this thread; let go of it, dead, at the end."""
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if library.ptrace(_PTRACE_SEIZE, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "PTRACE_SEIZE")
    try:
        yield
    finally:
        with suppress(ChildProcessError):
            os.waitpid(pid, _WALL)
