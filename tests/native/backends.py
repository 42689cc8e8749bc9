"""The back ends that accuracy is tested on: one line each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from metercore import bpf
from metercore.sampler import Sampler
from tests.native.trees import Tree


@dataclass(frozen=True, slots=True)
class Backend:
    """How to meter a tree by one back end: arguments for the sampler; `cgroup` as for `plant`."""

    name: str
    cgroup: str
    sampler: dict[str, Any] = field(default_factory=dict)
    windows_are_sweeps: bool = False
    """Whether the CPU use that is shown is of the time between two looks at who belongs to the tree, not of 100 ms."""

    def make(self, hz: float = 10.0, **more: Any) -> Sampler:
        return Sampler(hz, **self.sampler, **more)

    def open(self, sampler: Sampler, tree: Tree) -> int:
        return tree.open(sampler)


BACKENDS = [
    Backend("cgroup", "auto"),
    Backend("cgroup-v1", "v1"),
    Backend("clock", "off", sampler={"backend": "clock"}, windows_are_sweeps=True),
    Backend("procfs", "off", sampler={"backend": "procfs"}, windows_are_sweeps=True),
]
if bpf.probe() is None:
    BACKENDS.append(Backend("bpf", "off", sampler={"backend": "bpf"}, windows_are_sweeps=True))

each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
"""For tests that take a `backend`; where there are no cgroups, `auto` comes to the same as `off`."""
