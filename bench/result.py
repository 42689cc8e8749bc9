"""What a benchmark found, as data: `report.py` makes tables, plots and verdicts of it.

A result is a list of cells; a cell says what was measured (`side`, and the keys named in `by`) and has a list of figures, one per
round, for each of the columns. It is kept as bench/results/FAMILY.json, or FAMILY-PART.json if it was measured in parts.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent / "results"
_ROOT = DIRECTORY.parents[1]
_PROGRAM_SECONDS = 10.0

Cell = dict[str, Any]


@dataclass(slots=True)
class Column:
    """A figure that cells have."""

    key: str
    title: str
    form: str = ".0f"
    better: str = ""
    """"more" or "less": a column beside it says by how many times the base is better."""


@dataclass(slots=True)
class Plot:
    """A line per side over `x`; a panel per value of `panel`."""

    key: str
    title: str
    x: str
    panel: str = ""
    y_log: bool = True


@dataclass(slots=True)
class Verdict:
    """A target beside what was measured; `met` is None where it could not be judged."""

    target: str
    measured: str
    met: bool | None
    why: str = ""
    """What stands in the way, by profile, where it was missed."""


@dataclass(slots=True)
class Result:
    """One question, or a part of it, with everything that its figures depend on."""

    name: str
    question: str
    about: list[str]
    by: list[str]
    """A table for each combination of these keys; sides are its rows."""
    columns: list[Column]
    base: str = ""
    """The side that the others are compared with: ours."""
    plots: list[Plot] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Sides that were not measured, or not everywhere, and why."""
    notes: dict[str, str] = field(default_factory=dict)
    """What a side is."""
    verdicts: list[Verdict] = field(default_factory=list)
    profiles: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """By title: functions with their share of the samples, largest first."""
    environment: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    quick: bool = False

    def save(self) -> Path:
        """Keep it, and return where."""
        self.environment = {**environment(), **self.environment}
        directory = directory_of(quick=self.quick)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path

    def figures(self, key: str, **where: Any) -> list[float]:
        """Return the rounds of one figure of the one cell with these values; empty if it was not measured."""
        for cell in self.cells:
            if all(cell.get(name) == value for name, value in where.items()):
                return list(cell.get(key, []))
        return []

    def judge(
        self, target: str, values: Iterable[float], *, least: float = -inf, most: float = inf, form: str = ".2f"
    ) -> Verdict:
        """Hold the median of some figures against a target; small runs are not judged."""
        found = list(values)
        if not found:
            verdict = Verdict(target, "not measured", None)
        else:
            median = statistics.median(found)
            shown = f"{median:{form}} ({min(found):{form}} to {max(found):{form}}, n={len(found)})"
            verdict = Verdict(target, shown, None if self.quick else least <= median <= most)
        self.verdicts.append(verdict)
        return verdict


def directory_of(*, quick: bool) -> Path:
    """Return where results are kept: quick ones by themselves, because they mean nothing."""
    return DIRECTORY / "quick" if quick else DIRECTORY


def load(path: Path) -> Result:
    """Read a result back."""
    data = json.loads(path.read_text())
    data["columns"] = [Column(**each) for each in data["columns"]]
    data["plots"] = [Plot(**each) for each in data["plots"]]
    data["verdicts"] = [Verdict(**each) for each in data["verdicts"]]
    return Result(**data)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide round by round: what both met in the same round, the ratio does not see."""
    return [one / other for one, other in zip(above, below, strict=True)]


def environment() -> dict[str, str]:
    """Return machine, system, interpreter, our commit and the versions of what is imported."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "machine": f"{len(os.sched_getaffinity(0))} × {model}, {memory:.0f} GiB",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "load average": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        **{name: found for name in ("taskmeter", "grpcio", "protobuf", "uvloop") if (found := package(name))},
    }


def package(name: str) -> str:
    """Return the version of an installed distribution, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def program(*command: str) -> str:
    """Return the first line in which a program says its version, or nothing if there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    line = next(iter((done.stdout or done.stderr).splitlines()), "").strip()
    return line.removeprefix(command[0]).strip(" :")


def _commit() -> str:
    head = _git("rev-parse", "HEAD")
    return f"{head} with changes" if head and _git("status", "--porcelain", "--untracked-files=no") else head or "not a checkout"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _distribution() -> str:
    lines = Path("/etc/os-release").read_text().splitlines() if Path("/etc/os-release").exists() else []
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux")
