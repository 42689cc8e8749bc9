"""Runs every benchmark, one after the other, and keeps what each prints in bench/results/NAME.md. Takes about five minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NOT_PROGRAMS = {"run", "harness", "load", "baseline"}


def main(names: list[str]) -> int:
    programs = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(HERE.rglob("*.py"))
        if path.stem not in NOT_PROGRAMS and not path.stem.startswith("_")
    }
    chosen = {module: path for module, path in programs.items() if not names or path.stem in names}
    if not chosen:
        print(f"there are {', '.join(path.stem for path in programs.values())}", file=sys.stderr)
        return 2
    (HERE / "results").mkdir(exist_ok=True)
    failed = []
    for module, path in chosen.items():
        print(f"━━ {module}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        if done.returncode:
            failed.append(module)
            continue
        (HERE / "results" / f"{path.stem}.md").write_text(done.stdout.rstrip() + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
