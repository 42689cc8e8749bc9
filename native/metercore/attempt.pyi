"""Reads an attempt directory in one native call, in the only safe order: claim → lock → gone → exit → pid."""

from collections.abc import Callable

def read_records(directory: bytes) -> tuple[bytes | None, int, bytes | None, bytes | None, bytes | None] | None:
    """Return (claim, pid that holds the lock or 0, exit, pid, gone) as raw bytes; None for a file that is not there.

    None altogether when there is no such directory; OSError when it cannot be opened for another reason (EMFILE). Contents are
    not checked here: see `taskmeter.executors.taskdir`.
    """

def on_read(between: Callable[[str], None]) -> None:
    """Have `between(NAME)` called in `read_records` after each of its reads, for tests that let the world go on meanwhile.

    An OSError that it raises makes the call fail with EIO. There is one hook per process, and no way back.
    """

def open_owner(directory: bytes) -> tuple[int, int]:
    """Return (pid, pidfd) of the process that holds the lock, or (0, -1).

    The lock is asked again after the pidfd was opened, so the descriptor is of the holder even if pids are recycled fast.
    Raises OSError when that cannot be found out (EMFILE): it must not be taken for "nobody".
    """

def tell(pidfd: int) -> None:
    """Have a shim read its orders; nothing if it has ended. Raises OSError if `pidfd` is not a process's."""
