"""Runs every benchmark, one after the other, and makes a report of what they found: `run.py [NAME …] [--quick] [--seed N]`.

A benchmark is a module of this directory, or a package in it that can be run. Those that compare leave data, NAME.json or
NAME-PART.json, in bench/results/; what the others print is kept there as NAME.md. `--quick`: a few minutes, to see that all of it
runs; its results are in bench/results/quick/.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # it is run as a file

from bench import report  # noqa: E402
from bench.result import directory_of  # noqa: E402

HERE = ROOT / "bench"
COMPARE = ("unary", "fanout", "end_to_end", "growth")
NOT_PROGRAMS = {"run", "harness", "load", "baseline", "result", "report", "plot", "profile"}
_END_SECONDS = 30.0


def programs() -> list[str]:
    """Return the names of all benchmarks, those that compare first."""
    found = {path.stem for path in HERE.glob("*.py")} - NOT_PROGRAMS | {path.parent.name for path in HERE.glob("*/__main__.py")}
    return [*COMPARE, *sorted(found - set(COMPARE))]


def run(name: str, seed: int | None) -> tuple[int, str]:
    """Run one to its end; return its exit code and what it printed. Who ends us ends it, too, and it ends what it started."""
    command = [sys.executable, "-m", f"bench.{name}"]
    if seed is not None and name in COMPARE:
        command += ["--seed", str(seed)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        printed, _ = process.communicate()
    except KeyboardInterrupt:
        _end(process)  # a terminal has told it, too
        raise
    except SystemExit:
        process.terminate()
        _end(process)
        raise
    return process.returncode, printed


def _end(process: subprocess.Popen[str]) -> None:
    """Wait until it has ended what it started; then insist."""
    for insist in (process.terminate, process.kill):
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            insist()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(programs()))
    parser.add_argument("--quick", action="store_true", help="small and short, to see that everything runs")
    parser.add_argument("--seed", type=int, help="of the order of turns")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(programs()):
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(programs())}")
    if options.quick:
        os.environ["BENCH_QUICK"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    directory = directory_of(quick=options.quick)
    directory.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in programs():
        if options.names and name not in options.names:
            continue
        print(f"━━ {name}", file=sys.stderr, flush=True)
        code, printed = run(name, options.seed)
        print(printed, flush=True)
        if code:
            failed.append(name)
        elif name not in COMPARE:
            (directory / f"{name}.md").write_text(printed.rstrip() + "\n")
    for path in report.write(directory):
        print(path, file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
