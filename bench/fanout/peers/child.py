"""The server of a peer: a process of its own on the server's core, with the producer on the readers'."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import harness


@contextmanager
def server(directory: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it pinned from its first instruction: a Go runtime counts the cores that it sees. What it says goes to a file.

    It ends with this process, however that ends.
    """
    cpus = sorted(os.sched_getaffinity(0))
    core = str(cpus[harness.SERVER_CPU % len(cpus)])
    with (Path(directory) / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", core, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    harness.pin(os.getpid(), harness.CLIENT_CPU)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
