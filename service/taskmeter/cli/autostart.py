"""Start a daemon for a state directory if none serves there: detached, at most one, and only if it is really gone.

A lock on `autostart.lock` settles races between clients; the daemon's own lock settles those with `taskmeter serve`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskmeter.client import discovery
from taskmeter.client.discovery import DaemonRecord
from taskmeter.errors import TaskmeterError, UnavailableError

WAIT_SECONDS = 10.0
LOG_NAME = "daemon.log"
LOCK_NAME = "autostart.lock"
POLL_SECONDS = 0.01
HELD_CODE = 4
"""`taskmeter serve` ends with it when another daemon holds the directory."""

_NOT_FOR_THE_DAEMON = ("TARGET", "KEY", "STATE_DIR", "TOKEN", "ATTEMPT", "TASK_DIR", "REPORT_KEY")
"""TASKMETER_ variables of a client or of a task; the others are the daemon's settings."""


def ensure(directory: Path) -> None:
    """Return once a daemon serves from this directory. Raises `UnavailableError` if none does within 10 s."""
    if serves(directory) and not _outdated(directory):
        return
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(directory, deadline):
            if serves(directory) and (not _outdated(directory) or not _retire(directory, deadline)):
                return
            _start(directory, deadline)
    except OSError as error:
        raise UnavailableError(
            f"cannot use the state directory {directory}: {error.strerror}",
            hint="choose another one with --state-dir or TASKMETER_STATE_DIR",
        ) from None


def serves(directory: Path) -> bool:
    """Tell whether someone listens on the daemon's socket."""
    try:
        path = discovery.find(state_dir=directory, environ={}).socket_path
    except UnavailableError:
        return False
    if path is None:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _start(directory: Path, deadline: float) -> None:
    # -P: no module of the directory we happen to stand in is imported by mistake
    command = [sys.executable, "-P", "-m", "taskmeter", "serve", "--auto", "--state-dir", str(directory)]
    with (directory / LOG_NAME).open("ab") as log:
        start = log.tell()
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            umask=0o077,
        )
    _wait(lambda: serves(directory) or daemon.poll() not in {None, HELD_CODE}, deadline)
    code, daemon.returncode = daemon.returncode, 0  # it outlives us on purpose; without this Python warns when the object goes
    if not serves(directory):
        why = f"it did not serve within {WAIT_SECONDS:g} s" if code is None else f"it ended with code {code}"
        last = _last_line(directory / LOG_NAME, start)
        raise UnavailableError(
            f"a daemon could not be started in {directory}: {why}" + (f": {last}" if last else ""),
            hint=f"its log is {directory / LOG_NAME}; `taskmeter doctor` checks this machine",
        )


def _environment() -> dict[str, str]:
    """Return the caller's environment for a daemon that is neither a task nor a client of another one, and starts in /."""
    hidden = {f"TASKMETER_{name}" for name in _NOT_FOR_THE_DAEMON}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    if kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, kept["PYTHONPATH"].split(os.pathsep))))
    return kept


@contextmanager
def _lock(directory: Path, deadline: float) -> Iterator[None]:
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _wait(lambda: _try_lock(descriptor), deadline):
            raise UnavailableError(f"another client has been starting a daemon in {directory} for {WAIT_SECONDS:g} s")
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outdated(directory: Path) -> bool:
    """Whether the daemon is older than this client; cheap, because it is asked before every command."""
    from taskmeter import __version__

    record = discovery.read_record(directory)
    return record is not None and record.version != __version__ and _number(record.version) < _number(__version__)


def _retire(directory: Path, deadline: float) -> bool:
    """End an older daemon that was started by a client, so that a newer one takes over; its tasks live on."""
    from taskmeter.client.sync import SyncClient

    record = discovery.read_record(directory)
    try:
        with SyncClient(state_dir=directory, timeout_seconds=5.0) as client:
            if record is None or not client.server_info().auto_started:
                return False
    except TaskmeterError:
        return False
    return _end(record) and _wait(lambda: not serves(directory), deadline)


def _end(record: DaemonRecord) -> bool:
    try:
        descriptor = os.pidfd_open(record.pid)
    except OSError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _number(version: str) -> tuple[int, ...]:
    """Order releases by the numbers at their beginning: 0.10.1 after 0.9."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = "".join(char for char in part if char.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _last_line(path: Path, start: int) -> str:
    try:
        with path.open("rb") as log:
            log.seek(start)
            lines = log.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told or lines or [""])[-1][:200]
