"""Runs the fault harness and prints the table of figures; exits 1 when a guarantee was violated.

`python -m tests.faults [SCENARIO…] [--seed N] [--count N]`. Without any scenario, all of them at the size that the figures are
promised for. `failpoints` means each of them; `--list` shows all names. A scenario that was violated does not end the run. Each
result is left in build/faults, the table in build/faults/figures.md; `--resume` leaves out what is there without a violation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from tests.faults.catalog import CATALOG, expand
from tests.faults.result import DIRECTORY, ROOT, TABLE, Result, load_all, table
from tests.faults.size import new_seed

LOGS = DIRECTORY / "logs"


def run_one(name: str, seed: int, count: int, options: tuple[str, ...]) -> Result:
    """Run one scenario in this process and save its result; one that cannot be brought to its end is violated."""
    begin = monotonic()
    try:
        result = CATALOG[name].run(seed, count, *options)
    except Exception as error:  # noqa: BLE001  # whatever it was: the others go on
        traceback.print_exc()
        result = Result(name, seed, count, options, violations={"harness": [f"{type(error).__name__}: {error}"]})
    result.seconds = monotonic() - begin
    result.save()
    print(result, flush=True)
    return result


def _in_child(name: str, seed: int, count: int, options: argparse.Namespace) -> None:
    """Run one scenario in a process of its own; what it says is shown at its end, and kept."""
    command = [sys.executable, "-m", "tests.faults", name, "--seed", str(seed), "--count", str(count), "--no-table"]
    command += ["--cgroup", options.cgroup] if options.cgroup else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    (LOGS / f"{name.replace(':', '-')}.log").write_text(done.stdout)
    print(done.stdout.strip(), flush=True)
    if done.returncode not in (0, 1):
        Result(name, seed, count, violations={"harness": [f"ended with {done.returncode}"]}).save()


def _run_all(names: list[str], seed: int, options: argparse.Namespace) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for name in names:
            pool.submit(_in_child, name, seed, options.count or CATALOG[name].count, options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--list", action="store_true", help="show the scenarios and their sizes")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=0, help="faults of each scenario; for `stopped` the seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="scenarios at the same time")
    parser.add_argument("--cgroup", default="", help="the daemon's setting: auto, off")
    parser.add_argument("--resume", action="store_true", help="leave out what has a result of this size without a violation")
    parser.add_argument("--no-table", action="store_true", help="leave the table to who started this")
    options = parser.parse_args()
    try:
        options.scenarios = expand(options.scenarios)
    except KeyError as error:
        parser.error(f"no such scenario: {error.args[0]}; --list shows them")
    return options


def main() -> int:
    options = _parse()
    if options.list:
        print("\n".join(f"{name:<34}{each.count:>7,}  {each.what}" for name, each in CATALOG.items()))
        return 0
    seed = new_seed() if options.seed is None else options.seed
    names = options.scenarios
    if options.resume:
        whole = {
            each.name for each in load_all() if not each.violations and each.count >= (options.count or CATALOG[each.name].count)
        }
        names = [name for name in names if name not in whole]
    if len(names) == 1:
        serve = ("--cgroup", options.cgroup) if options.cgroup else ()
        run_one(names[0], seed, options.count or CATALOG[names[0]].count, serve)
    else:
        print(f"seed {seed}, {len(names)} scenarios, {options.jobs} at a time", flush=True)
        _run_all(names, seed, options)
    results = [each for each in load_all() if each.name in CATALOG]
    if not options.no_table:
        text = table(sorted(results, key=lambda each: list(CATALOG).index(each.name)))
        TABLE.write_text(text)
        print(f"\n{text}\nin {TABLE.relative_to(ROOT)}")
    return 1 if any(each.violations for each in results if each.name in options.scenarios) else 0


if __name__ == "__main__":
    sys.exit(main())
