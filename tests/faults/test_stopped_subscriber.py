"""G8 and G10 for a client process that is stopped: it costs next to nothing, hinders nobody, and goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, clean_environment
from tests.faults.followers import Follower
from tests.faults.history import read_history
from tests.faults.result import ROOT
from tests.faults.test_stalled_subscribers import anonymous_bytes
from tests.integration.helpers import start
from tests.waiting import wait_until

KEY_COUNT, VALUE_BYTES = 7, 4000
EVENT_BYTES = KEY_COUNT * VALUE_BYTES
RING_COUNT = 320
"""Such events fill what the daemon keeps in memory of the newest ones."""
MISSED_COUNT = 320
"""So many more fill every buffer between it and a client."""
MOST_BYTES = 8 << 20
"""128 kB, and what a busy daemon's memory varies by."""
THREADS = 8


class Subscriber:
    """The process, and what it wrote down."""

    def __init__(self, daemon: Daemon) -> None:
        self._directory = daemon.home
        path = daemon.home / "subscriber.history"
        command = [sys.executable, "-m", "tests.faults.subscriber", daemon.target, daemon.key, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, env=clean_environment())

    def send(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def _facts(self, kind: str) -> list[dict[str, Any]]:
        return [fact for fact in read_history(self._directory) if fact["fact"] == kind]

    @property
    def seqs(self) -> list[int]:
        return [seq for fact in self._facts("given") for seq in fact["seqs"]]

    @property
    def reached(self) -> int:
        return max((int(fact["reached"]) for fact in self._facts("given")), default=0)

    @property
    def lost_reasons(self) -> list[str]:
        return [str(fact["reason"]) for fact in self._facts("lost")]

    def close(self) -> None:
        self.send(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


@contextmanager
def subscriber_of(daemon: Daemon) -> Iterator[Subscriber]:
    made = Subscriber(daemon)
    try:
        yield made
    finally:
        made.close()


def change(daemon: Daemon, token: str, count: int) -> int:
    """Make events of `EVENT_BYTES` each; return the newest seq."""

    def one(number: int) -> None:
        values = {str(key): f"{number:0{VALUE_BYTES}}" for key in range(KEY_COUNT)}
        daemon.calls.UpdateTask(token=token, set_metadata=values)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(count)))
    return int(daemon.calls.GetServerInfo().head_seq)


@pytest.mark.guarantee("G8", "G10")
@pytest.mark.parametrize("slow_seconds", [60, 1])
async def test_g8_g10_a_stopped_process_goes_on_where_it_was(
    make_daemon: Callable[..., Daemon], tmp_path: Path, slow_seconds: int
) -> None:
    (tmp_path / "c.toml").write_text(f"slow_consumer_seconds = {slow_seconds}\n")
    daemon = make_daemon("--config", str(tmp_path / "c.toml")).start()
    token = start(daemon.calls, "sleep", "600")
    follower = Follower(state_dir=daemon.state_dir)
    with subscriber_of(daemon) as subscriber:
        head_seq = change(daemon, token, RING_COUNT)
        wait_until(lambda: subscriber.reached >= head_seq, "it follows", 30)
        subscriber.send(signal.SIGSTOP)
        before = anonymous_bytes(daemon.pid)
        head_seq = change(daemon, token, MISSED_COUNT)
        grown = anonymous_bytes(daemon.pid) - before
        follower.until = head_seq
        await follower.done()
        assert [seq for seq, _ in follower.events] == list(range(1, head_seq + 1)), "others are not hindered"
        if slow_seconds == 1:
            wait_until(lambda: "SLOW_CONSUMER" in audit(daemon), "the daemon gives it up", 20)
        subscriber.send(signal.SIGCONT)
        wait_until(lambda: subscriber.reached >= head_seq, "it goes on", 30)
        missed = f"{MISSED_COUNT * EVENT_BYTES / 2**20:.0f} MB"
        print(f"{grown / 2**20:.1f} MB for {missed} that were not read; lost connections: {subscriber.lost_reasons}")
        assert subscriber.seqs == list(range(1, head_seq + 1))
        assert grown <= MOST_BYTES
        assert subscriber.lost_reasons == (["SLOW_CONSUMER"] if slow_seconds == 1 else [])


def audit(daemon: Daemon) -> str:
    return (daemon.state_dir / "audit.jsonl").read_text()
