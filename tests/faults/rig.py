"""A real daemon under load: client processes, subscribers, a history, and what can be done to the daemon meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests import processes
from tests.daemon import Daemon, clean_environment
from tests.faults.client import PATIENCE_SECONDS
from tests.waiting import wait_until

_HIT = re.compile(rb"failpoint ([a-z_.]+): ")
_REACHED = re.compile(rb'"fact": "reached", "time": [0-9.e+]+, "seq": (\d+)}')
ROOT = Path(__file__).resolve().parents[2]
SETTLE_SECONDS = 120.0


class Rig:
    """`with Rig(seed) as rig:` starts the daemon; `load` the clients; `settle` ends both and waits until every task has ended.

    `failpoints`: what the first daemon is armed with; those after it are not, unless `restart` says so. `config`: text of the
    daemon's config file.
    """

    def __init__(
        self, seed: int, *options: str, failpoints: str = "", env: Mapping[str, str] | None = None, config: str = ""
    ) -> None:
        self.seed = seed
        self.directory = Path(tempfile.mkdtemp(prefix="tm-faults-", dir="/tmp"))
        self.options = options
        config_path = self.directory / "config.toml"
        config_path.write_text(config)
        self.daemon = Daemon(*options, *(("--config", str(config_path)) if config else ()))
        self.daemon.allow_tracebacks = True  # faults are injected; what they lead to is judged by the validator
        self.failpoints = failpoints
        self._env = dict(env or {})
        self.kill_count = 0
        self.deaths: list[str] = []
        """Of daemons that ended although nobody had killed them: each a violation of G11."""
        self.settled_seq = 0
        """The newest event when every task had ended; retention may add more."""
        self._armed = failpoints
        self._hits: Counter[str] = Counter()
        self._log_offset = 0
        self._children: list[subprocess.Popen[bytes]] = []
        self.keep = False
        """Leave everything for reading."""

    def __enter__(self) -> Self:
        return self._start(self.failpoints)

    def __exit__(self, kind: object, *_: object) -> None:
        self.keep = self.keep or (kind is not None and bool(os.environ.get("KEEP")))
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdin:
                child.stdin.close()
        if self.keep:
            print(f"kept: {self.directory}, and the daemon's log {self.daemon.log_path}")
            shutil.copy(self.daemon.log_path, self.directory / "log")
        self.daemon.close()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    # ---- the daemon --------------------------------------------------------------------------------------------------

    def _start(self, failpoints: str = "") -> Self:
        self._armed = failpoints
        self.daemon.env = clean_environment(**self._env, **({"TASKMETER_FAILPOINTS": failpoints} if failpoints else {}))
        self.daemon.start()
        return self

    def restart(self, failpoints: str = "") -> None:
        """Kill the daemon if it still runs, and start the next."""
        if self.alive:
            self.daemon.kill9()
        elif self.daemon.process is not None and self.daemon.process.stdout:
            code = self.daemon.process.wait()
            self.daemon.process.stdout.close()
            if code != -signal.SIGKILL or "=crash" not in self._armed:
                self.deaths.append(f"a daemon armed with {self._armed!r} ended with {code}")
        self.kill_count += 1
        while True:
            try:
                self._start(failpoints)
                return
            except AssertionError:
                if not failpoints or self.alive:
                    raise
                failpoints = ""  # it died of its failpoint before it was ready: that, too, is a crash to recover from

    @property
    def alive(self) -> bool:
        return self.daemon.process is not None and self.daemon.process.poll() is None

    def pause(self) -> None:
        """SIGSTOP the daemon."""
        os.kill(self.daemon.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.daemon.pid, signal.SIGCONT)

    def hits(self, point: str) -> int:
        """How often a failpoint has acted so far, or was handed to a supervisor."""
        with self.daemon.log_path.open("rb") as log:
            log.seek(self._log_offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._log_offset += len(line)
                if found := _HIT.search(line):
                    self._hits[found[1].decode()] += 1
        return self._hits[point]

    # ---- the load ----------------------------------------------------------------------------------------------------

    def load(self, *, clients: int = 3, watchers: int = 2, count: int = 0, mix: str = "short") -> None:
        """Start client processes that submit until `settle`, or `count` jobs each, and subscribers."""
        for number in range(watchers):
            self._spawn("watcher", f"watcher{number}")
        for number in range(clients):
            self._spawn("client", f"client{number}", str(self.seed), str(count), mix)

    def _spawn(self, module: str, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.faults.{module}", str(self.daemon.state_dir), str(self.directory), name]
        child = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env=clean_environment()
        )
        child.name = name  # type: ignore[attr-defined]
        self._children.append(child)

    def _of(self, kind: str) -> Sequence[subprocess.Popen[bytes]]:
        return [child for child in self._children if child.name.startswith(kind)]  # type: ignore[attr-defined]

    def settle(self) -> None:
        """Have the clients finish, wait until no task lives, and let the subscribers see the last event."""
        if not self.alive:
            self.restart()
        for child in self._of("client"):
            assert child.stdin is not None
            child.stdin.close()
        for child in self._of("client"):
            assert child.wait(PATIENCE_SECONDS + SETTLE_SECONDS) == 0, "a client failed"
        calls = self.daemon.calls
        wait_until(
            lambda: (info := calls.GetServerInfo()).running_count == info.waiting_count == 0,
            "every task has ended",
            SETTLE_SECONDS,
        )
        self.settled_seq = int(calls.GetServerInfo().head_seq)
        for path in self.directory.glob("watcher*.history"):
            wait_until(lambda path=path: _reached(path) >= self.settled_seq, f"{path.name} has seen everything", 60)  # type: ignore[misc]
        for child in self._of("watcher"):
            assert child.stdin is not None
            child.stdin.close()
            child.wait(20)

    def task_pids(self) -> list[int]:
        """Processes of tasks and shims that are alive now."""
        return list(processes.of_state_dir(self.daemon.state_dir))


def _reached(path: Path) -> int:
    """Read up to which seq a subscriber says that it has seen everything."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        found = _REACHED.findall(file.read())
    return int(found[-1]) if found else 0
