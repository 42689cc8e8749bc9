"""Scenarios that are tests: the same files that CI runs, at a size of one's choice; figures and failures become a result."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.faults.result import ROOT, Result
from tests.faults.size import COUNT_VARIABLE, SEED_VARIABLE

FIGURE = "faults"
"""What a test tells with `record_property(FIGURE, N)`; one that tells nothing counts as one fault."""
LONGEST_SECONDS = 3600


def run_tests(name: str, seed: int, count: int, *paths: str) -> Result:
    """Run the tests of these files of this directory; each that fails is a violation."""
    result = Result(name, seed, count)
    with tempfile.TemporaryDirectory(prefix="tm-tests-", dir="/tmp") as directory:
        report = Path(directory) / "report.xml"
        env = {**os.environ, SEED_VARIABLE: str(seed), COUNT_VARIABLE: str(count)}
        files = [f"tests/faults/{path}" for path in paths]
        command = [sys.executable, "-m", "pytest", "-q", *files, f"--junitxml={report}", f"--timeout={LONGEST_SECONDS}"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if report.exists():
            _read(report, result)
        if done.returncode not in (0, 1) or (done.returncode and not result.violations):
            result.violations["pytest"] = [f"exit {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"]
    return result


def _read(report: Path, result: Result) -> None:
    for case in ET.parse(report).iter("testcase"):
        test = f"{str(case.get('classname')).rpartition('.')[2]}::{case.get('name')}"
        skip = case.find("skipped")
        wrong = [*case.iter("failure"), *case.iter("error")]
        if skip is not None:
            result.not_run.append(f"{test}: {skip.get('message')}")
            continue
        figures = [int(str(each.get("value"))) for each in case.iter("property") if each.get("name") == FIGURE]
        result.fault_count += sum(figures) if figures else 1
        if wrong:
            result.violations[test] = [str(each.get("message"))[:1000] for each in wrong]
