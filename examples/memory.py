"""Allocate memory step by step, share it with forked children, and write a file: what is billed as memory, and what is not.

    taskmeter run -- python examples/memory.py --mib 200

The children share the parent's pages, so four of them do not cost four times as much; the file lands in the page cache, which
is not the task's memory either.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

MIB = 1 << 20
STEPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=200, help="how much to allocate (default: 200)")
    parser.add_argument("--children", type=int, default=4, help="how many children share it (default: 4)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long it takes in all (default: 8)")
    options = parser.parse_args()
    pause = options.seconds / (STEPS + 4)

    blocks: list[bytearray] = []
    for step in range(1, STEPS + 1):
        blocks.append(bytearray(os.urandom(4096)) * (options.mib * MIB // STEPS // 4096))
        print(f"{step * options.mib // STEPS} MiB", flush=True)
        time.sleep(pause)

    children = []
    for _ in range(options.children):
        child = os.fork()
        if child == 0:
            time.sleep(2 * pause)
            os._exit(len(blocks) - STEPS)
        children.append(child)
    print(f"{options.children} children share it", flush=True)

    with tempfile.NamedTemporaryFile() as file:
        for _ in range(options.mib):
            file.write(b"x" * MIB)
        file.flush()
        print(f"a file of {options.mib} MiB is written", flush=True)
        for child in children:
            os.waitpid(child, 0)
    time.sleep(pause)
    print("done", flush=True)


if __name__ == "__main__":
    main()
