"""A state directory without a daemon: what the command line starts there is ended and removed afterwards."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmeter.client.discovery import read_record
from tests import processes
from tests.daemon import Daemon, clean_environment, run_cli


class Home:
    """A state directory in which the command line starts daemons by itself."""

    def __init__(self) -> None:
        self._daemon = Daemon()
        self.state_dir = self._daemon.state_dir

    @property
    def env(self) -> dict[str, str]:
        return clean_environment(TASKMETER_STATE_DIR=str(self.state_dir))

    @property
    def daemon_pid(self) -> int:
        """The pid of the daemon that wrote daemon.json last."""
        record = read_record(self.state_dir)
        assert record is not None
        return record.pid

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_cli(arguments, self.env, **options)

    def daemons(self, directory: Path | None = None) -> list[int]:
        """Return the pids of all daemons of this, or of another, state directory."""
        wanted = [b"serve", b"--auto", b"--state-dir", os.fsencode(directory or self.state_dir)]
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if command[4:8] == wanted:
                    found.append(int(entry))
        return found

    def kill9(self) -> None:
        """End the daemon without any warning."""
        os.kill(self.daemon_pid, signal.SIGKILL)

    def end_daemons_of(self, directory: Path) -> None:
        """End what serves a state directory, in order, and its tasks."""
        for pid in self.daemons(directory):
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            assert select.select([handle], [], [], 20)[0], "the daemon does not end"
            os.close(handle)
        processes.end_all(directory)

    def close(self) -> None:
        self.end_daemons_of(self.state_dir)
        log = self.state_dir / "daemon.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        self._daemon.close()
        assert "Traceback" not in text, text


@pytest.fixture
def home() -> Iterator[Home]:
    """A place where no daemon runs yet."""
    place = Home()
    yield place
    place.close()
