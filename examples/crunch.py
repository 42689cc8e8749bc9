"""Find primes with several processes for a while: a job with children, output and progress.

    taskmeter run -- python examples/crunch.py
    python examples/crunch.py --seconds 5 --workers 4

Runs without Taskmeter too; with it, it reports how far it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress
from multiprocessing import get_context

CHUNK = 20_000
"""Numbers per piece of work: some tens of milliseconds."""


def primes_in(start: int) -> tuple[int, int]:
    """Count the primes among CHUNK numbers from `start` by trial division, the slow way on purpose."""
    found = 0
    for number in range(max(start, 2), start + CHUNK):
        for divisor in range(2, int(number**0.5) + 1):
            if number % divisor == 0:
                break
        else:
            found += 1
    return start, found


def progress_reporter(total: int) -> object | None:
    """Return Taskmeter's report of this task; None outside of a task, or where Taskmeter is not installed."""
    if "TASKMETER_TASK_DIR" not in os.environ:
        return None
    with suppress(ImportError):
        from taskmeter import work  # noqa: PLC0415  # only inside a task, and only if it is there

        return work.progress(total=total)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long to work (default: 15)")
    parser.add_argument("--workers", type=int, default=min(4, len(os.sched_getaffinity(0))), help="how many processes")
    options = parser.parse_args()

    started = time.monotonic()
    primes_in(0)  # warm up
    before = time.monotonic()
    primes_in(CHUNK)
    chunk_seconds = time.monotonic() - before
    pieces = max(int(options.seconds * options.workers / chunk_seconds / 2), 1)
    report = progress_reporter(pieces)
    print(f"{pieces} pieces of {CHUNK:,} numbers for {options.workers} workers", flush=True)

    total = 0
    done = 0
    with get_context("spawn").Pool(options.workers) as pool:
        for start, found in pool.imap_unordered(primes_in, (index * CHUNK for index in range(pieces))):
            done += 1
            total += found
            if report is not None:
                report.add(1, size=CHUNK * 8)
            if done % max(pieces // 12, 1) == 0:
                print(f"{done:>5} of {pieces}: {found} primes from {start:,} on, {total:,} in all", flush=True)
    print(f"{total:,} primes below {pieces * CHUNK:,} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
