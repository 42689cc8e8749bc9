"""A process that a failpoint has stopped where it stands: seeing that it does, and having it go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests import processes
from tests.daemon import Daemon
from tests.waiting import wait_until


def stands(pid: int) -> bool:
    """Tell whether it is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    except (FileNotFoundError, ProcessLookupError):
        return False


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def standing_of(daemon: Daemon) -> int:
    """Wait until a supervisor of this daemon, or a child that has not begun its command, stands; return its pid."""
    return wait_until(
        lambda: next((pid for pid in processes.of_state_dir(daemon.state_dir) if stands(pid)), 0), "a process stands"
    )


@contextmanager
def starting(daemon: Daemon) -> Iterator[None]:
    """Start a daemon whose failpoints stop it before it is ready; the body runs while it stands, then it becomes ready."""
    failures: list[BaseException] = []

    def start() -> None:
        try:
            daemon.start()
        except BaseException as error:  # noqa: BLE001  # it is raised below, on the thread of the test
            failures.append(error)

    before = daemon.process
    thread = Thread(target=start)
    thread.start()
    try:
        wait_until(lambda: failures or (daemon.process is not before and stands(daemon.pid)), "the daemon stands")
        if not failures:
            yield
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            go_on(daemon.pid)
        thread.join()
    if failures:
        raise failures[0]
