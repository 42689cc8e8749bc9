"""The file of an attempt's history (layout: _c/history.h): where a point lies, whether it is whole, and reading a range.

A file is read into memory in one call and every point of it is checked there; what is torn, garbled or in a wrong place is
missing from the answer. The steps of a coarser ring that are not over yet are made from the finer ring.
"""

import os
from typing import NamedTuple

TIERS: tuple[tuple[int, int], ...]
"""(seconds per step, steps kept) of each ring, finest first."""

class HistoryPoint(NamedTuple):
    """Use over one step: means, and the highest where it matters; None = not measured."""

    time: float
    """When the step begins, in Unix seconds."""
    covered_seconds: float
    """How much of the step was sampled; the means are over this."""
    cpu_cores: float
    cpu_cores_max: float
    memory_bytes: int
    memory_bytes_max: int
    gpu_memory_bytes: int | None
    gpu_utilization_percent: float | None
    rate_count_per_second: float
    rate_size_per_second: float
    gap: bool
    """Nothing was sampled in a part of the step."""

def check_range(from_time: float, to_time: float, resolution_seconds: float) -> None:
    """Raise ValueError unless times and resolution are finite, not negative and in order."""

def read_history(
    directory: str | os.PathLike[str], from_time: float = 0.0, to_time: float = 0.0, resolution_seconds: float = 0.0
) -> tuple[float, list[HistoryPoint]]:
    """Read what an attempt directory's `history` says of a range of time; return (seconds per step, points in order).

    Times are Unix seconds; `to_time` 0 = up to the end. The steps are those of the ring with the wanted resolution or of the
    next coarser one, else of the coarsest; 0 = of the finest ring that reaches back to `from_time`, or to the beginning. No
    file, or one that is none of ours, is (0.0, []). Raises ValueError, and OSError when the file cannot be read.
    """
