"""A client process of the harness: submits jobs, stops some, and writes down everything that was acknowledged.

`python -m tests.faults.client STATE_DIR HISTORY_DIR NAME SEED COUNT MIX`: COUNT 0 = until its stdin ends. It never gives up on a
daemon that is away, and asks again only where that is safe: a job whose outcome frees its key is asked for once.
"""

from __future__ import annotations

import os
import random
import select
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import grpc

from taskmeter.rpc.socket_path import socket_path
from tests.calls import Calls
from tests.faults.history import History
from tests.faults.jobs import CANARY_PREFIX, GRACE_SECONDS, Job, choose

THREADS = 4
CALL_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
MOST_RUNNING_STOPS = 8
RETRY_PAUSE_SECONDS = 0.05
MAYBE_DONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


def connect(state_dir: Path) -> Calls:
    """Return calls to whatever daemon serves, or will serve, this state directory."""
    channel = grpc.insecure_channel(f"unix:{socket_path(state_dir)}", options=CHANNEL_OPTIONS)
    return Calls(channel, (state_dir / "admin.key").read_text().strip())


class Client:
    """Submits from a few threads at once."""

    def __init__(self, state_dir: Path, history_dir: Path, name: str, seed: int) -> None:
        self.calls = connect(state_dir)
        self.history = History(history_dir / f"{name}.history")
        self.starts = str(history_dir / "starts")
        self.name = name
        self.seed = seed
        self.pause = threading.Event()
        self.stopping = threading.Semaphore(MOST_RUNNING_STOPS)

    def submit(self, job: Job) -> None:
        """Ask for one job until it is acknowledged, or as often as that is safe; then stop it if that is its fate."""
        self.history.note("asked", job=job.to_json())
        token = self._start(job)
        if token and job.is_stopped:
            with self.stopping:
                self._stop(job, token)

    def _start(self, job: Job) -> str:
        request = job.request(self.starts, f"{CANARY_PREFIX}{self.seed}")
        deadline = monotonic() + PATIENCE_SECONDS
        while monotonic() < deadline:
            try:
                answer = self.calls.StartTask(**request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                self.history.note("refused", name=job.name, code=error.code().name, text=str(error.details()))
                if error.code() in MAYBE_DONE and not job.holds_key:
                    return ""
                self.pause.wait(RETRY_PAUSE_SECONDS)
                continue
            self.history.note("accepted", name=job.name, token=answer.token)
            return str(answer.token)
        return ""

    def _stop(self, job: Job, token: str) -> None:
        deadline = monotonic() + PATIENCE_SECONDS
        while monotonic() < deadline:
            try:
                self.calls.Terminate(token=token, grace_period_seconds=GRACE_SECONDS, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                self.history.note("stop refused", name=job.name, token=token, code=error.code().name)
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return
                self.pause.wait(RETRY_PAUSE_SECONDS)
                continue
            self.history.note("stop accepted", name=job.name, token=token, grace_seconds=GRACE_SECONDS)
            return

    def run(self, count: int, mix: str) -> None:
        chance = random.Random(f"{self.seed}/{self.name}")
        poll = select.poll()
        poll.register(0, select.POLLIN)
        room = threading.Semaphore(2 * THREADS)

        def work(job: Job) -> None:
            try:
                self.submit(job)
            finally:
                room.release()

        with ThreadPoolExecutor(THREADS) as pool:
            number = 0
            while (not count or number < count) and (count or not poll.poll(0)):
                room.acquire()
                pool.submit(work, choose(chance, f"{self.name}-{number}", mix))
                number += 1


def main() -> None:
    state_dir, history_dir, name, seed, count, mix = sys.argv[1:]
    Client(Path(state_dir), Path(history_dir), name, int(seed)).run(int(count), mix)
    sys.stdout.flush()
    os._exit(0)  # no waiting for grpc's threads


if __name__ == "__main__":
    main()
