"""How much a test of this directory does: as much as CI has time for, unless the environment says otherwise."""

from __future__ import annotations

import os
import random

SEED_VARIABLE = "TASKMETER_TEST_SEED"
COUNT_VARIABLE = "TASKMETER_TEST_COUNT"


def new_seed() -> int:
    """Return the seed of this run: the environment's, or a new one."""
    return int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1, 2**32))


def wanted_count(default: int) -> int:
    """Return how many faults, requests or subscribers are wanted: the environment's number, or `default`, which is CI's."""
    return int(os.environ.get(COUNT_VARIABLE) or default)
