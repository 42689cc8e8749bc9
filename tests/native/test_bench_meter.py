"""The benchmarks of the metering core run, and leave nothing behind; what they measure is not judged here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "bench.meter"]


def members_in(session: int) -> list[int]:
    """Pids of the herd's processes in a session."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = text.rpartition(")")[2].split()
        if "(herd-member)" in text and int(fields[3]) == session and fields[0] != "Z":
            found.append(pid)
    return found


@pytest.mark.slow
def test_every_question_prints_its_table(tmp_path: Path):
    done = subprocess.run([*COMMAND, "--quick", "--plots", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for title in (
        "What does one look at many processes cost",
        "How does it grow with the share of active processes",
        "How does it grow with threads per process",
        "What does one task of 5 processes cost",
        "What does a loop at 20 Hz",
        "idle tasks in cgroups cost",
        "What do numerics and encoding cost",
        "Targets",
    ):
        assert re.search(rf"^## .*{re.escape(title)}", done.stdout, re.MULTILINE), title
    for side in ("psutil oneshot", "psutil process_iter", "floor of CLOCK, C", "PROCFS, one tree", "PROCFS, a slot each"):
        assert re.search(rf"^\| {re.escape(side)} \| \d", done.stdout, re.MULTILINE), side
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a session of its own that has its processes by now. Not a quick one: that could be over before it is disturbed."""
    bench = subprocess.Popen(
        [*COMMAND, "threads"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        wait_until(lambda: len(members_in(bench.pid)) >= 100, "the herd is there")
        yield bench
    finally:
        bench.kill()
        bench.wait()


def test_an_interrupted_run_leaves_no_process_and_no_file(running: subprocess.Popen[bytes], tmp_path: Path):
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 128 + signal.SIGINT
    wait_until(lambda: not members_in(running.pid), "the herd is gone")
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_process(running: subprocess.Popen[bytes]):
    running.kill()
    running.wait(60)
    wait_until(lambda: not members_in(running.pid), "the herd is gone")
