"""A real daemon in a process and a state directory of its own, for tests."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, Self

import grpc

from tests import processes
from tests.calls import Calls

START_SECONDS = 20.0
STOP_SECONDS = 20.0


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would change a daemon's, a client's or a task's behaviour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKMETER_")}
    kept.pop("PYTHONUNBUFFERED", None)
    return {**kept, **more}


class Daemon:
    """`taskmeter serve` on a fresh, short path (socket names are bounded); ended with all its tasks by `close`.

        with Daemon("--max-running", "2") as daemon:
            token = daemon.calls.StartTask(spec={"command": {"argv": ["true"]}}).token

    `kill9` and `restart` keep the state directory and the tasks. `allow_tracebacks`: the log may show them at the end.
    """

    def __init__(self, *options: str, env: Mapping[str, str] | None = None, state_dir: Path | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tm-", dir="/tmp"))
        self.state_dir = state_dir or self.home / "state"
        self.log_path = self.home / "log"
        self.options = options
        self.env = clean_environment(**(env or {}))
        self.allow_tracebacks = False
        self.process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.allow_tracebacks = True  # the failure has shown the log
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------- its life

    def start(self, *more: str) -> Self:
        """Start it and return once it has said that it is ready."""
        assert self.process is None or self.process.returncode is not None, "it runs already"
        self._forget_connection()
        command = [sys.executable, "-m", "taskmeter", "serve", "--state-dir", str(self.state_dir), *self.options, *more]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.env, text=True, cwd="/"
            )
        assert self.process.stdout is not None
        deadline = monotonic() + START_SECONDS
        while True:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - monotonic()))
            assert readable, f"the daemon is not ready after {START_SECONDS:g} s\n{self.log()}"
            line = self.process.stdout.readline()
            if not line:
                code = self.process.wait(STOP_SECONDS)
                self.process.stdout.close()
                raise AssertionError(f"the daemon ended with {code} before it was ready\n{self.log()}")
            if line.startswith("ready"):
                return self

    def stop(self) -> int:
        """End it in order (SIGTERM; tasks run on) and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End it without any warning."""
        self._end(signal.SIGKILL)

    def restart(self, *more: str) -> Self:
        """Start it again on the same state directory, killing it before if it runs."""
        if self.process is not None and self.process.returncode is None:
            self.kill9()
        return self.start(*more)

    def close(self) -> None:
        """End the daemon and every process of its tasks, and remove all it left; fail if its log shows a traceback."""
        try:
            if self.process is not None and self.process.returncode is None:
                code = self.stop()
                assert code == 0, f"the daemon ended with {code}\n{self.log()}"
            assert self.allow_tracebacks or "Traceback" not in self.log(), self.log()
        finally:
            if self.process is not None and self.process.returncode is None:
                self.kill9()
            processes.end_all(self.state_dir)
            self._remove_cgroups()
            shutil.rmtree(self.home, ignore_errors=True)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self._forget_connection()
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _remove_cgroups(self) -> None:
        store_id = self.store_id
        if not store_id:
            return
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            for mount in ("", "unified", *line.split(":")[1].split(",")):
                group = Path("/sys/fs/cgroup", mount, line.split(":")[2].lstrip("/"), f"taskmeter-{store_id}")
                for path in (*group.glob("*/"), group):
                    try:
                        path.rmdir()
                    except OSError:
                        continue

    # ------------------------------------------------------------------------------------------------- what it says

    @property
    def info(self) -> dict[str, Any]:
        """What daemon.json says."""
        found: dict[str, Any] = json.loads((self.state_dir / "daemon.json").read_text())
        return found

    @property
    def target(self) -> str:
        """Its unix socket as a gRPC target."""
        return next(str(target) for target in self.info["grpc"] if target.startswith("unix:"))

    @property
    def key(self) -> str:
        return (self.state_dir / "admin.key").read_text().strip()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def store_id(self) -> str:
        """Read from its database, also when it does not run; empty if there is none."""
        for path in self.state_dir.glob("*.db"):
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                row = database.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
                if row:
                    return str(row[0])
        return ""

    def log(self) -> str:
        """All it wrote to stderr so far, over all restarts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---------------------------------------------------------------------------------------------- talking to it

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.target)
        return self._channel

    @cached_property
    def calls(self) -> Calls:
        """Plain calls by method name; see `Calls`."""
        return Calls(self.channel, self.key)

    def client_env(self, **more: str) -> dict[str, str]:
        """Return the environment of a client, or of the command line, that is to find this daemon."""
        return clean_environment(TASKMETER_STATE_DIR=str(self.state_dir), **more)

    def cli(self, *arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line against it; captures text and does not check the exit code."""
        return run_cli(arguments, self.client_env(**(env or {})), **options)

    def _forget_connection(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self.__dict__.pop("calls", None)


def run_cli(arguments: Sequence[str], env: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `taskmeter ARGUMENTS` in this environment."""
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, **options}
    if "input" not in settings:
        settings.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([sys.executable, "-m", "taskmeter", *arguments], check=False, env=dict(env), **settings)
