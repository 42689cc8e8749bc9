"""Fuzz the native readers: `python -m tests.fuzz [TARGET…]` for FUZZ_SECONDS (60) together, or `TARGET FILE` for one input.

`make fuzz` builds the extensions for it, with the sanitizers and gcc's coverage, and runs this in them. What fails is left in
build/fuzz/TARGET-*, with the command that repeats it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import traceback
from pathlib import Path

from tests.fuzz.engine import Coverage, fuzz
from tests.fuzz.targets import TARGETS

RESULTS = Path("build/fuzz")
ROOM = 1 << 16


class Current:
    """The input at hand in a shared file mapping: it is there also after this process was killed by it. No cost per run."""

    def __init__(self, path: Path) -> None:
        with path.open("wb+") as file:
            file.truncate(ROOM)
            self._map = mmap.mmap(file.fileno(), ROOM)

    def put(self, data: bytes) -> None:
        self._map[:4] = len(data).to_bytes(4, "little")
        self._map[4 : 4 + len(data)] = data


def repeat(name: str, path: str) -> int:
    """Run one input, of a file that was left or of the corpus."""
    data = Path(path).read_bytes()
    if path.endswith(".current"):
        data = data[4 : 4 + int.from_bytes(data[:4], "little")]
    TARGETS[name].run(data)
    print(f"{name}: {len(data)} bytes are read without complaint")
    return 0


def main(arguments: list[str]) -> int:
    """Fuzz all or some; 0 if nothing failed."""
    if len(arguments) == 2 and arguments[1] not in TARGETS:
        return repeat(*arguments)
    chosen = [TARGETS[name] for name in arguments or TARGETS]
    seconds = float(os.environ.get("FUZZ_SECONDS", "60")) / len(chosen)
    seed = int(os.environ.get("FUZZ_SEED") or int.from_bytes(os.urandom(4), "little"))
    coverage = Coverage()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        f"FUZZ_SEED={seed}, {seconds:.1f} s each, {'guided by coverage' if coverage.sees else 'blind: use make fuzz'}", flush=True
    )
    failed = False
    for target in chosen:
        current = RESULTS / f"{target.name}.current"
        outcome = fuzz(target, seconds, seed, coverage, Current(current).put)
        print(f"{target.name:<16}{outcome.run_count:>9} runs {outcome.kept_count:>5} kept", flush=True)
        current.unlink()
        if outcome.failure is not None and outcome.error is not None:
            failed = True
            path = RESULTS / f"{target.name}-{hashlib.sha256(outcome.failure).hexdigest()[:12]}"
            path.write_bytes(outcome.failure)
            traceback.print_exception(outcome.error)
            print(f"repeat: make fuzz ARGS='{target.name} {path}'", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
