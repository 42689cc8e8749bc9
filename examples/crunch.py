"""Find primes with several processes for a while: a job with children, output and progress.

    taskmeter run -- python examples/crunch.py
    python examples/crunch.py --seconds 5 --workers 4

Runs without Taskmeter too; with it, it reports how far it is.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from multiprocessing import get_context
from typing import Any

BASE = 100_000_000
"""So far up, the next pieces cost as much as the first."""
CHUNK = 500
"""Numbers per piece of work: some tens of milliseconds."""
CALIBRATION_PIECES = 10


def primes_in(start: int) -> tuple[int, int]:
    """Count the primes among CHUNK numbers from `start` by trial division, the slow way on purpose."""
    found = 0
    for number in range(start, start + CHUNK):
        for divisor in range(2, int(number**0.5) + 1):
            if number % divisor == 0:
                break
        else:
            found += 1
    return start, found


class Silent:
    """Stands in where Taskmeter is not installed."""

    def progress(self, **_: int) -> None: ...

    def add(self, *_: int, **__: int) -> None: ...

    def object(self, _: str) -> None: ...


def reporter() -> Any:
    """Return where progress is reported to; outside of a task, Taskmeter's current() leads nowhere too."""
    try:
        from taskmeter.work import current  # noqa: PLC0415  # it need not be installed
    except ImportError:
        return Silent()
    return current()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long to work (default: 15)")
    parser.add_argument("--workers", type=int, default=min(4, len(os.sched_getaffinity(0))), help="how many processes")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the pool takes its workers along
    started = time.monotonic()
    for piece in range(CALIBRATION_PIECES):
        primes_in(BASE + piece * CHUNK)
    piece_seconds = (time.monotonic() - started) / CALIBRATION_PIECES
    pieces = max(int(options.seconds * options.workers / piece_seconds), 1)
    report = reporter()
    report.progress(total=pieces)
    print(f"{pieces:,} pieces of {CHUNK} numbers for {options.workers} workers", flush=True)

    total = 0
    done = 0
    starts = (BASE + index * CHUNK for index in range(pieces))
    with get_context("spawn").Pool(options.workers) as pool:
        for start, found in pool.imap_unordered(primes_in, starts):
            done += 1
            total += found
            report.add(1)
            report.object(f"numbers from {start:,}")
            if done % max(pieces // 10, 1) == 0:
                print(f"{done:>6,} of {pieces:,}: {total:,} primes up to {start + CHUNK:,}", flush=True)
    print(f"{total:,} primes in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
