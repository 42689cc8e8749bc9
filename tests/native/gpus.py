"""A fake libnvidia-ml.so.1, compiled from C, and the scenario that it plays."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

from metercore.gpu import GpuMonitor

SOURCE = Path(__file__).with_name("fake_nvml") / "fake_nvml.c"
FAST_HZ = 10.0
"""A driver then counts as hung after half a second."""


def build(directory: Path, *lacks: str) -> Path:
    """Compile the library into `directory`, without what `lacks` names (see the source)."""
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    made = directory / "-".join(["nvml", *lacks]) / "libnvidia-ml.so.1"
    if not made.exists():
        made.parent.mkdir()
        options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", *(f"-D{each}" for each in lacks)]
        subprocess.run([*compiler, *options, "-o", str(made), str(SOURCE)], check=True)
    return made


def now_us() -> int:
    """Return what the driver stamps its utilisation samples with."""
    return time.time_ns() // 1000


class FakeNvml:
    """A copy of the library of one's own, so that no other test's state is in it, and its scenario."""

    def __init__(self, directory: Path, library: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.library = directory / "libnvidia-ml.so.1"
        self.scenario = directory / "scenario"
        self._built = library
        self.install()

    def install(self) -> None:
        """Put the library where it belongs: a new file, as when a driver is upgraded."""
        fresh = self.library.with_name("fresh.so")
        shutil.copy(self._built, fresh)
        fresh.replace(self.library)

    def play(self, *lines: str) -> None:
        """Go over to another scenario in one step."""
        fresh = self.scenario.with_name("fresh")
        fresh.write_text("".join(line + "\n" for line in lines))
        fresh.replace(self.scenario)

    @property
    def environment(self) -> dict[str, str]:
        """What a daemon needs to use it."""
        return {"TASKMETER_NVML_LIBRARY": str(self.library)}

    def watch(self, hz: float = FAST_HZ, *, proc: Path | None = None) -> GpuMonitor:
        """Watch its GPUs."""
        return GpuMonitor(self.library, hz, proc=proc)
