"""How much is measured, with what, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import harness


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured; `met` is None where it could not be."""

    target: str
    measured: str
    met: bool | None


@dataclass(slots=True)
class Plan:
    """One run of the questions."""

    work: Path
    """Of this run; gone after it."""
    plots: Path | None
    """Where plots are left; None = nowhere."""
    herd: str
    """The compiled programs."""
    floor: str
    counts: Sequence[int]
    """How many processes, ascending; the targets are about the last."""
    rounds: int
    ticks: int
    """Looks at an idle herd that make one measurement."""
    woken_ticks: int
    """Looks at a herd that was woken before each."""
    young_seconds: float
    """New slots are sampled, swept for and persisted more often at first: so long is waited before a loop is measured."""
    loop_windows: int
    loop_window_seconds: float
    judged: bool
    """Whether it is large enough for the targets to mean anything."""
    verdicts: list[Verdict] = field(default_factory=list)

    def judge(self, target: str, measured: str, *, met: bool | None) -> None:
        """Note a target and what came of it."""
        self.verdicts.append(Verdict(target, measured, met if self.judged else None))

    def show_verdicts(self) -> None:
        """Print all targets."""
        words = {True: "met", False: "**missed**", None: "not measured" if self.judged else "not judged at this size"}
        print("## Targets\n")
        harness.table(["target", "measured", ""], [(v.target, v.measured, words[v.met]) for v in self.verdicts])


def full(work: Path, plots: Path | None, herd: str, floor: str) -> Plan:
    """What the targets are about: about ten minutes."""
    return Plan(work, plots, herd, floor, (100, 300, 1000, 3000, 9000), 5, 100, 10, 12.0, 10, 2.0, judged=True)


def quick(work: Path, plots: Path | None, herd: str, floor: str) -> Plan:
    """Whether everything runs: seconds."""
    return Plan(work, plots, herd, floor, (100,), 2, 5, 2, 0.25, 2, 0.25, judged=False)
