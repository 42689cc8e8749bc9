"""An executor per test, without a daemon: with cgroups where this machine has them, and without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attempts import Attempts

MakeAttempts = Callable[..., Awaitable[Attempts]]


@pytest.fixture
async def make_attempts(tmp_path: Path) -> AsyncIterator[MakeAttempts]:
    """Make executors on one state directory, one after the other or at once; all are closed at the end."""
    made: list[Attempts] = []

    async def make(**options: Any) -> Attempts:
        attempts = Attempts(tmp_path / "state", **options)
        await attempts.start()
        made.append(attempts)
        return attempts

    yield make
    for attempts in made:
        await attempts.close()


@pytest.fixture
async def attempts(make_attempts: MakeAttempts) -> Attempts:
    return await make_attempts()


@pytest.fixture(params=["auto", "off"])
async def both_attempts(make_attempts: MakeAttempts, request: pytest.FixtureRequest) -> Attempts:
    """Once with cgroups, if this machine has any, and once by the process tree alone."""
    return await make_attempts(cgroup=request.param)
