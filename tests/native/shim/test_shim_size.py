"""A shim is small: there is one for every running task."""

from __future__ import annotations

import os
import re

from tests.attempts import Attempts, proc

LIMIT_KB = 200


async def test_a_shim_needs_at_most_0_2_mb(attempts: Attempts) -> None:
    environment = {f"VARIABLE_{number}": "x" * 1000 for number in range(200)}  # the block must not stay in memory
    attempt = await attempts.run("sleep", "1000", env=environment)
    await attempt.started()
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    found = re.findall(r"^(RssAnon|RssShmem|VmPTE):\s+(\d+) kB$", proc(source.shim_pid, "status"), re.MULTILINE)
    sizes = {name: int(kilobytes) for name, kilobytes in found}
    assert len(sizes) == 3
    assert sum(sizes.values()) <= LIMIT_KB, sizes


async def test_a_shim_keeps_few_descriptors(attempts: Attempts) -> None:
    attempt = await attempts.run("sleep", "1000", timeout_seconds=1000.0)
    await attempt.started()
    source = attempts.executor.meter_source(attempt.token, 1)
    assert source is not None
    assert len(os.listdir(f"/proc/{source.shim_pid}/fd")) <= 14
