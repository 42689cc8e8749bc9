"""An ordinary script with a tqdm bar: one line more, and its bar is the task's progress and its warnings are the task's.

taskmeter run -- python examples/bars.py
python examples/bars.py --files 100
"""

from __future__ import annotations

import argparse
import hashlib
import logging

from tqdm import tqdm

import taskmeter

taskmeter.instrument()  # the line

log = logging.getLogger("bars")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200, help="how many made-up files to check (default: 200)")
    options = parser.parse_args()

    bad = 0
    for number in tqdm(range(options.files), desc="checking"):
        data = hashlib.sha256(str(number).encode()).digest()
        for _ in tqdm(range(500), leave=False, disable=None):  # inside another bar: it does not count
            data = hashlib.sha256(data).digest()
        if data[0] < 16:
            bad += 1
            log.warning("file %d looks wrong", number)
    print(f"{options.files} files checked, {bad} look wrong")


if __name__ == "__main__":
    main()
