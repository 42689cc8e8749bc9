"""The benchmark of reporting runs; what it measures is not judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_question_about_reporting_is_answered() -> None:
    command = [sys.executable, "-m", "bench.reporting"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "BENCH_QUICK": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    titles = ("does counting cost?", "does an item event cost?", "report blocks cost?", "cost the daemon", "## Targets")
    for title in titles:
        assert title in done.stdout
    assert "Dropped: 0." in done.stdout
    assert "**missed**" not in done.stdout, "a quick run is not judged"
