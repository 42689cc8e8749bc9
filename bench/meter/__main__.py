"""What does metering cost, compared with what others do and with the kernel itself? `python -m bench.meter [QUESTION…]`.

Every side runs in turns in the same run on the same processes. Prints Markdown, and leaves plots in bench/results/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import harness
from bench.meter import active, cgroups, loop, numerics, per_task, plan, sweep, threads
from bench.meter.compile import c_program

QUESTIONS = {
    "sweep": sweep.ask,
    "active": active.ask,
    "threads": threads.ask,
    "per_task": per_task.ask,
    "loop": loop.ask,
    "cgroups": cgroups.ask,
    "numerics": numerics.ask,
}
RESULTS = Path(__file__).resolve().parents[1] / "results"
TOOLS = {
    "procps": ["ps", "--version"],
    "sysstat": ["pidstat", "-V"],
    "prometheus-process-exporter": ["prometheus-process-exporter", "-version"],
    "gcc": ["gcc", "--version"],
}


def show_versions() -> None:
    """Say what is compared, and how busy the machine is."""
    found = []
    for tool, command in TOOLS.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found.append((done.stdout or done.stderr).splitlines()[0])
        else:
            found.append(f"{tool} not installed (`make bench-tools`)")
    for package in ("psutil", "cython", "matplotlib"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    print(" · ".join(found) + "\n")
    print(f"Load average before: {os.getloadavg()[0]:.2f}; what else runs on the machine is in the ranges.\n")


def run(questions: list[str], plots: Path | None, *, quick: bool) -> None:
    """Ask, in a directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="taskmeter-bench-") as name:
        work = Path(name)
        make = plan.quick if quick else plan.full
        today = make(work, plots, c_program("herd", work), c_program("floor", work))
        harness.heading("What does metering cost?")
        show_versions()
        for question in questions:
            print(f"━━ {question}", file=sys.stderr, flush=True)
            QUESTIONS[question](today)
            sys.stdout.flush()
        today.show_verdicts()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.meter", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument(
        "--quick",
        action="store_true",
        default=harness.QUICK,
        help="small and short, to see that it runs; leaves no plots by itself",
    )
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="where plots are left, bench/results/ by itself")
    options = parser.parse_args(argv)
    unknown = set(options.questions) - set(QUESTIONS)
    if unknown:
        parser.error(f"there are {', '.join(QUESTIONS)}")
    plots = options.plots or (None if options.quick else RESULTS)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
    try:
        run(options.questions or list(QUESTIONS), plots, quick=options.quick)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main(sys.argv[1:])
