"""What running tasks have asked for, against what the host has.

Only requests count, not use: a task that asked for nothing is admitted whatever the others do. GPUs are given as whole, distinct
devices, and a task keeps those it was given until it ends, also over a restart of the daemon.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag

from msgspec import Struct

from taskmeter.errors import PreconditionError
from taskmeter.model.resources import Capacity, Gpu, Resources

GIB = 2**30


class Kind(IntFlag):
    """The kinds of resources that can be short."""

    CPU = 1
    MEMORY = 2
    GPU = 4


class _Claim(Struct, frozen=True):
    cpu_millicores: int
    memory_bytes: int
    gpus: tuple[str, ...]


def kinds_of(wanted: Resources) -> Kind:
    """Return the kinds of which something is asked for."""
    kinds = Kind.CPU if wanted.cpu_cores else Kind(0)
    if wanted.memory_bytes:
        kinds |= Kind.MEMORY
    return kinds | Kind.GPU if wanted.gpus else kinds


class Admission:
    """Sums of the running tasks' requests; `capacity` is asked each time, because GPUs come and go."""

    def __init__(self, capacity: Callable[[], Capacity]) -> None:
        self._capacity = capacity
        self._claims: dict[str, _Claim] = {}
        self._cpu_millicores = 0  # integers: a sum of fractions would drift
        self._memory_bytes = 0
        self._gpu_holders: dict[str, str] = {}

    def lacking(self, wanted: Resources) -> Kind:
        """Return the kinds of which less is free than is wanted."""
        lacking = Kind(0)
        if not (wanted.cpu_cores or wanted.memory_bytes or wanted.gpus):
            return lacking
        host = self._capacity()
        if wanted.cpu_cores and self._cpu_millicores + _millicores(wanted) > round(host.cpu_cores * 1000):
            lacking |= Kind.CPU
        if wanted.memory_bytes and self._memory_bytes + wanted.memory_bytes > host.memory_bytes:
            lacking |= Kind.MEMORY
        if wanted.gpus > len(self._free_gpus(host, wanted)):
            lacking |= Kind.GPU
        return lacking

    def take(self, token: str, wanted: Resources) -> None:
        """Set aside what nothing is lacking for, and choose the GPUs."""
        if kinds_of(wanted):
            free = self._free_gpus(self._capacity(), wanted) if wanted.gpus else []
            self.restore(token, wanted, tuple(gpu.name for gpu in free[: wanted.gpus]))

    def restore(self, token: str, wanted: Resources, gpus: tuple[str, ...]) -> None:
        """Set aside what a task that runs already was given."""
        if not kinds_of(wanted):
            return
        claim = self._claims[token] = _Claim(_millicores(wanted), wanted.memory_bytes, gpus)
        self._cpu_millicores += claim.cpu_millicores
        self._memory_bytes += claim.memory_bytes
        self._gpu_holders.update(dict.fromkeys(gpus, token))

    def free(self, token: str) -> None:
        """Give back what a task had; harmless if it had nothing."""
        claim = self._claims.pop(token, None)
        if claim is None:
            return
        self._cpu_millicores -= claim.cpu_millicores
        self._memory_bytes -= claim.memory_bytes
        for gpu in claim.gpus:
            if self._gpu_holders.get(gpu) == token:
                del self._gpu_holders[gpu]

    def gpus_of(self, token: str) -> tuple[str, ...]:
        """Return the names of the GPUs a running task was given."""
        claim = self._claims.get(token)
        return claim.gpus if claim else ()

    def check(self, wanted: Resources) -> None:
        """Raise `PreconditionError` UNSUPPORTED_HERE for a request that this host could never meet."""
        if not kinds_of(wanted):
            return
        host = self._capacity()
        if wanted.cpu_cores > host.cpu_cores:
            raise _never("cpu_cores", f"asks for {wanted.cpu_cores:g} cores; this host has {host.cpu_cores:g}")
        if wanted.memory_bytes > host.memory_bytes:
            has = _gib(host.memory_bytes)
            raise _never("memory_bytes", f"asks for {_gib(wanted.memory_bytes)} of memory; this host has {has}")
        if wanted.gpus > len(host.gpus):
            raise _never("gpus", f"asks for {_gpus(wanted.gpus)}; this host has {_gpus(len(host.gpus))}")
        if wanted.gpus > sum(_suits(gpu, wanted) for gpu in host.gpus):
            raise _never("gpu_memory_bytes", f"no {_gpus(wanted.gpus)} here with {_gib(wanted.gpu_memory_bytes)} of memory each")

    def explain(self, wanted: Resources, lacking: Kind) -> str:
        """Say in one sentence what is short."""
        host = self._capacity()
        if lacking & Kind.MEMORY:
            free = max(0, host.memory_bytes - self._memory_bytes)
            return f"not enough memory: it needs {_gib(wanted.memory_bytes)}, {_gib(free)} of {_gib(host.memory_bytes)} are free"
        if lacking & Kind.GPU:
            free = len(self._free_gpus(host, wanted))
            return f"not enough GPUs: it needs {wanted.gpus}, {free} of {len(host.gpus)} are free"
        spare = max(0, round(host.cpu_cores * 1000) - self._cpu_millicores) / 1000
        return f"not enough cores: it needs {wanted.cpu_cores:g}, {spare:g} of {host.cpu_cores:g} are free"

    def _free_gpus(self, host: Capacity, wanted: Resources) -> list[Gpu]:
        return [gpu for gpu in host.gpus if gpu.name not in self._gpu_holders and _suits(gpu, wanted)]


def _millicores(wanted: Resources) -> int:
    return round(wanted.cpu_cores * 1000)


def _suits(gpu: Gpu, wanted: Resources) -> bool:
    return not wanted.gpu_memory_bytes or (gpu.memory_bytes is not None and gpu.memory_bytes >= wanted.gpu_memory_bytes)


def _gib(count_bytes: int) -> str:
    return f"{count_bytes / GIB:.2f} GiB"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _never(field: str, problem: str) -> PreconditionError:
    return PreconditionError(
        f"spec.resources.{field}: {problem}", reason="UNSUPPORTED_HERE", metadata={"field": f"spec.resources.{field}"}
    )
