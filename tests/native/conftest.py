"""Fixtures of the tests of native code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.gpus import FakeNvml, build
from tests.native.trees import Tree, plant

Plant = Callable[..., Tree]
Fake = Callable[..., FakeNvml]


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


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nvml")


@pytest.fixture
def fake(built: Path, tmp_path: Path) -> Fake:
    """Make a library of one's own, optionally one that lacks functions: `fake("NO_V3")`."""
    return lambda *lacks: FakeNvml(tmp_path / "nvml", build(built, *lacks))


@pytest.fixture
def nvml(fake: Fake) -> FakeNvml:
    made = fake()
    made.play("count 1")
    return made
