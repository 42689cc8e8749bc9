"""How long does `taskmeter --help` take, compared with an empty Python? Target: ≤ 150 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import harness
from tests.daemon import clean_environment

ROUNDS = harness.full(20, quick=2)


def main() -> None:
    script = Path(sys.executable).with_name("taskmeter")
    sides = {
        "taskmeter --help": [str(script), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import taskmeter'": [sys.executable, "-c", "import taskmeter"],
        "taskmeter ls --help": [str(script), "ls", "--help"],
    }
    spans: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, command in sides.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=clean_environment())
            if number:  # the first round warms the page cache
                spans[name].append((time.perf_counter() - begin) * 1e3)
    harness.heading("How long does `taskmeter --help` take?")
    harness.table(["", "ms, median (range)"], [(name, harness.spread(found, ".0f")) for name, found in spans.items()])
    ratio = statistics.median(spans["taskmeter --help"]) / statistics.median(spans["python -c pass"])
    print(f"Target: ≤ 150 ms. It is {ratio:.1f} times an empty Python.")


if __name__ == "__main__":
    main()
