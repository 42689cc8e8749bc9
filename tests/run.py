"""Runs the groups of tests (the directories of tests/), each by itself and with a budget, and sums up.

`python tests/run.py [--as-nobody] [GROUP…]`; exits 0 if nothing failed and no budget was overrun twofold. REQUIRE_ALL=1 in the
environment makes skipped tests failures. `--as-nobody`, for root, runs them as an ordinary user who owns nothing and may use no
cgroup; tests marked `root` are then left out. Results are left in build/test-results/GROUP.xml in JUnit's form.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "test-results"

BUDGET_SECONDS = {
    "unit": 90,
    "native": 480,
    "compat": 30,
    "integration": 540,
    "cli": 300,
    "interop": 180,
    "faults": 900,
    "parity": 120,
}
"""In the order in which they run: what fails fast comes first."""

SAME_FOR_EVERY_USER = (
    "unit",
    "compat",
    "interop/test_go.py",
    "native/test_accuracy_duty.py",
    "native/test_bench_meter.py",
    "native/test_bench_reporting.py",
    "native/test_gpu.py",
    "native/test_gpu_tasks.py",
    "native/test_history.py",
    "native/test_itemlog_kill.py",
    "native/test_leaks.py",
    "native/test_out_of_memory.py",
    "native/test_sampler_history.py",
    "native/test_tokens.py",
    "integration/test_gpu.py",
    "integration/test_metrics_history.py",
    "integration/test_attached_tracker.py",
    "integration/test_audit.py",
    "integration/test_broken_connections.py",
    "integration/test_clients.py",
    "integration/test_keys.py",
    "integration/test_log_bounds.py",
    "integration/test_queue_clients.py",
    "integration/test_rates.py",
    "integration/test_delete_queue.py",
    "integration/test_encryption.py",
    "integration/test_external.py",
    "integration/test_interruption.py",
    "integration/test_item_clients.py",
    "integration/test_open_methods.py",
    "integration/test_relaunch.py",
    "integration/test_report_progress.py",
    "integration/test_resume_bounds.py",
    "integration/test_retention.py",
    "integration/test_retries.py",
    "integration/test_retry_many.py",
    "integration/test_schedule_clients.py",
    "integration/test_schedules.py",
    "integration/test_scheduling.py",
    "integration/test_stop_many.py",
    "integration/test_stream_events.py",
    "integration/test_tariffs.py",
    "integration/test_tenants.py",
    "integration/test_tls.py",
    "faults/test_daemon_kill9.py",
    "faults/test_double_launch.py",
    "faults/test_failpoints.py",
    "faults/test_http2_abuse.py",
    "faults/test_items_kill9.py",
    "faults/test_items_lost.py",
    "faults/test_malformed.py",
    "faults/test_malformed_calls.py",
    "faults/test_power_cut.py",
    "faults/test_random_faults.py",
    "faults/test_reconnect_storm.py",
    "faults/test_reconnects.py",
    "faults/test_reports_kill9.py",
    "faults/test_retries_kill9.py",
    "faults/test_retry_refused.py",
    "faults/test_sqlite_faults.py",
    "faults/test_store_foreign.py",
    "faults/test_store_lost.py",
    "faults/test_store_rebuilt.py",
    "faults/test_store_unreadable.py",
    "faults/test_stalled_subscribers.py",
    "faults/test_stopped_subscriber.py",
    "faults/test_unseen.py",
    "cli/test_bench.py",
    "cli/test_exit_codes.py",
    "cli/test_json.py",
    "cli/test_key.py",
    "cli/test_queue.py",
    "cli/test_retries.py",
    "cli/test_retry_many.py",
    "cli/test_schedule.py",
    "cli/test_history.py",
    "cli/test_terminal.py",
    "cli/test_examples.py",
)
"""What comes out the same whoever runs it: not run once more as nobody. Kernel, signals, files and cgroups are not among it."""

PYTEST = [sys.executable, "-m", "pytest", "-q"]
NOBODY = 65534

NO_TESTS_COLLECTED = 5
"""pytest's exit code for an empty group."""


@dataclass(slots=True)
class Result:
    """What one group came to."""

    group: str
    seconds: float
    exit_code: int
    passed_count: int = 0
    failed_count: int = 0
    skipped: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.exit_code in (0, NO_TESTS_COLLECTED) and self.seconds <= 2 * self.budget_seconds

    @property
    def budget_seconds(self) -> int:
        return BUDGET_SECONDS.get(self.group, 120)


def run_pytest(group: str, report: Path) -> int:
    """Run one group as the present user; its output goes through."""
    return subprocess.run([*PYTEST, f"tests/{group}", f"--junitxml={report}"], cwd=ROOT, check=False).returncode


def nobody_may_run_this_python() -> bool:
    """Tell whether another user can execute it and read its library; one below a private home cannot."""
    try:
        command = [sys.executable, "-c", "import encodings, sqlite3"]
        return subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], check=False, cwd="/").returncode == 0
    except PermissionError:
        return False


def run_pytest_as_nobody(group: str, report: Path) -> int:
    """Run one group as the user `nobody`, with a home of its own; nothing is written into the checkout."""
    home = Path(tempfile.mkdtemp(prefix="nobody-", dir="/tmp"))
    try:
        os.chown(home, NOBODY, NOBODY)
        env = {
            **os.environ,
            "HOME": str(home),
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{home}/hypothesis",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        ignored = [f"--ignore=tests/{path}" for path in SAME_FOR_EVERY_USER]
        chosen = ["-m", "not root", f"tests/{group}", *ignored]
        command = [*PYTEST, "-p", "no:cacheprovider", *chosen, f"--junitxml={home}/report.xml"]
        done = subprocess.run(command, cwd=ROOT, env=env, user=NOBODY, group=NOBODY, extra_groups=[], check=False)
        if (home / "report.xml").exists():
            shutil.copy(home / "report.xml", report)
        return done.returncode
    finally:
        shutil.rmtree(home, ignore_errors=True)


def run(group: str, *, as_nobody: bool) -> Result:
    """Run one group in a process of its own and read its report."""
    report = RESULTS / f"{group}{'-as-nobody' if as_nobody else ''}.xml"
    report.unlink(missing_ok=True)
    print(f"\n━━ {group}{' as nobody' if as_nobody else ''}", flush=True)
    begin = monotonic()
    exit_code = (run_pytest_as_nobody if as_nobody else run_pytest)(group, report)
    result = Result(group, monotonic() - begin, exit_code)
    if report.exists():
        for case in ET.parse(report).iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                result.failed_count += 1
            elif skip is not None:
                result.skipped.append(f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}")
            else:
                result.passed_count += 1
    return result


def main(arguments: list[str]) -> int:
    """Run the groups and print the table; returns the exit code."""
    as_nobody = "--as-nobody" in arguments
    groups = [argument for argument in arguments if argument != "--as-nobody"]
    there = [path.name for path in sorted((ROOT / "tests").iterdir()) if path.is_dir() and any(path.rglob("test_*.py"))]
    order = [*BUDGET_SECONDS, *there]
    unknown = [group for group in groups if not (ROOT / "tests" / group).is_dir()]
    if unknown:
        print(f"no such group: {', '.join(unknown)}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    if as_nobody and not nobody_may_run_this_python():
        print(
            f"nobody may not execute {os.path.realpath(sys.executable)}: use an environment made by /usr/bin/python3",
            file=sys.stderr,
        )
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    if as_nobody and not groups:
        there = [group for group in there if group not in SAME_FOR_EVERY_USER]
    results = [run(group, as_nobody=as_nobody) for group in sorted(groups or there, key=order.index)]
    print(f"\n{'group':<14}{'time':>8}{'budget':>8}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for each in results:
        late = "" if each.seconds <= each.budget_seconds else "  over budget"
        wrong = "" if each.exit_code in (0, NO_TESTS_COLLECTED) else f"  FAILED (exit {each.exit_code})"
        print(
            f"{each.group:<14}{each.seconds:>7.0f}s{each.budget_seconds:>7}s{each.passed_count:>8}{each.failed_count:>8}"
            f"{len(each.skipped):>8}{late}{wrong}"
        )
    for each in results:
        for line in each.skipped:
            print(f"skipped: {line}")
    passed, failed, skipped = (
        sum(counts)
        for counts in zip(*((each.passed_count, each.failed_count, len(each.skipped)) for each in results), strict=True)
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if all(each.ok for each in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
