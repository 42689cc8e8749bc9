"""Runs native tests, or the fuzzer, on extensions that were built with the address and undefined-behaviour sanitizers.

`python tests/sanitize.py asan [pytest arguments]` or `fuzz [arguments of tests.fuzz]`. What is stale is built into build/asan,
beside the ordinary build. A report of a sanitizer fails the run, also one of a forked child: reports are files. gcc only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "asan"
LIBRARY = BUILD / "lib"
COVERAGE = BUILD / "coverage.so"
REPORTS = BUILD / "reports"

TESTS = ["tests/native"]
LEFT_OUT = [
    # They measure time, sizes or counts that a sanitizer changes, or compile and check sanitized code of their own.
    "--ignore=tests/native/shim",
    "--ignore=tests/native/test_leaks.py",
    "--ignore=tests/native/test_out_of_memory.py",  # the sanitizer has a calloc of its own
    "--ignore=tests/native/test_accuracy_cpu.py",
    "--ignore=tests/native/test_accuracy_duty.py",
    "--ignore=tests/native/test_accuracy_memory.py",
    "--ignore=tests/native/test_accuracy_time.py",
    "--ignore=tests/native/test_bench_meter.py",
    "--deselect=tests/native/test_sampler_user.py::test_an_ordinary_user_meters_a_tree_of_their_own",
    "--deselect=tests/native/test_bpf.py::test_opening_sweeping_and_closing_leaks_nothing",  # freed memory stays
    "--deselect=tests/native/test_gpu.py::test_monitors_leak_neither_threads_nor_descriptors_nor_memory",
    "--deselect=tests/native/test_numeric_examples.py::test_stubs_have_the_documentation_of_the_modules",  # no stubs there
    "--deselect=tests/native/test_itemlog.py::test_an_event_makes_no_system_call",  # but the sanitizer does
    "--deselect=tests/native/test_itemlog_hostile.py::test_a_segment_of_nothing_but_promises_costs_no_memory_and_little_time",
    "--deselect=tests/native/test_process_meter.py::test_its_own_thread_sees_peaks_between_samples",  # freed memory stays
    "--deselect=tests/native/test_threads_and_leaks.py::test_opening_and_finishing_leaks_nothing",
    "--deselect=tests/native/test_threads_and_leaks.py::test_samplers_and_their_threads_leak_nothing",
]


def build() -> None:
    """Bring the sanitized extensions up to date."""
    command = [sys.executable, "setup.py", "--quiet", "build_ext"]
    command += ["--build-lib", str(LIBRARY), "--build-temp", str(BUILD / "temp")]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "TASKMETER_SANITIZE": "1"})
    for source in (ROOT / "native" / "metercore").glob("*.py"):
        shutil.copy(source, LIBRARY / "metercore")
    source = ROOT / "tests" / "fuzz" / "coverage.c"
    if not COVERAGE.exists() or COVERAGE.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(COVERAGE), str(source)], check=True)


def environment() -> dict[str, str]:
    """Have Python find the sanitized extensions first, and the sanitizers' runtime before everything."""
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    # The coverage callbacks come before the runtime, which has empty ones of its own.
    options = ["detect_leaks=0", "verify_asan_link_order=0", "detect_stack_use_after_return=1", "strict_string_checks=1"]
    options += [f"log_path={REPORTS}/asan", "handle_segv=1", "allocator_may_return_null=1"]
    return {
        **os.environ,
        "LD_PRELOAD": f"{COVERAGE}:{os.path.realpath(runtime)}",
        "ASAN_OPTIONS": ":".join(options),
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={REPORTS}/ubsan",
        "PYTHONPATH": str(LIBRARY),
        "PYTHONMALLOC": "malloc",  # each object is an allocation of its own that the sanitizer watches over
    }


def main(arguments: list[str]) -> int:
    """Build, run, show reports; 0 if the run passed and there are none."""
    if not arguments or arguments[0] not in {"asan", "fuzz"}:
        print(__doc__, file=sys.stderr)
        return 2
    build()
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    env = environment()
    check = "import metercore.procfs as m; print('testing', m.__file__); assert '/build/asan/' in m.__file__"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, env=env)
    if arguments[0] == "fuzz":
        command = [sys.executable, "-m", "tests.fuzz", *arguments[1:]]
    else:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += arguments[1:] or [*TESTS, *LEFT_OUT]
    code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    reports = sorted(REPORTS.iterdir())
    for report in reports:
        print(f"── {report.relative_to(ROOT)}", report.read_text(errors="replace"), sep="\n", flush=True)
    if reports:
        print(f"{len(reports)} reports of sanitizers", flush=True)
    return code or (1 if reports else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
