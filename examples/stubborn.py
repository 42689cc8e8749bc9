"""Ignore SIGTERM, as does its child: a job that only ends by force.

    taskmeter run --grace 2s -- python examples/stubborn.py      # then press Ctrl-C and s
    taskmeter stop @last --grace 1s

Within a second after the grace period nothing of it is left.
"""

from __future__ import annotations

import argparse
import os
import signal
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="when to end by itself (default: 600)")
    options = parser.parse_args()
    child = os.fork()
    who = "parent" if child else "child"
    signal.signal(signal.SIGTERM, lambda *_: print(f"{who}: SIGTERM? no", flush=True))
    print(f"{who} {os.getpid()} is here to stay", flush=True)
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        time.sleep(min(1.0, max(end - time.monotonic(), 0.0)))
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
