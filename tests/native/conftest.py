"""Fixtures of the tests of native code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.trees import Tree, plant

Plant = Callable[..., Tree]


@pytest.fixture(params=["auto", "off"], ids=["cgroup", "processes"])
def cgroup(request: pytest.FixtureRequest) -> str:
    """Meter by cgroups where this machine has them, and without."""
    return str(request.param)


@pytest.fixture
def planted(tmp_path: Path, cgroup: str) -> Iterator[Plant]:
    """Plant trees of one's own: `planted(*argv)`; all are ended at the end."""
    trees: list[Tree] = []

    def make(*argv: str, **more: object) -> Tree:
        trees.append(plant(tmp_path / str(len(trees)), *argv, cgroup=cgroup, **more))  # type: ignore[arg-type]
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()
