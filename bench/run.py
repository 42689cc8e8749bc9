"""Runs every benchmark, one after the other, and keeps what each prints in bench/results/NAME.md. Takes a quarter of an hour.

A benchmark is a module of this directory, or a package in it that can be run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NOT_PROGRAMS = {"run", "harness", "load", "baseline"}


def main(names: list[str]) -> int:
    programs = sorted(
        {path.stem for path in HERE.glob("*.py")} - NOT_PROGRAMS | {path.parent.name for path in HERE.glob("*/__main__.py")}
    )
    chosen = [name for name in programs if not names or name in names]
    if not chosen:
        print(f"there are {', '.join(programs)}", file=sys.stderr)
        return 2
    (HERE / "results").mkdir(exist_ok=True)
    failed = []
    for name in chosen:
        print(f"━━ {name}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        if done.returncode:
            failed.append(name)
            continue
        (HERE / "results" / f"{name}.md").write_text(done.stdout.rstrip() + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
