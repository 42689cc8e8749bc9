"""What came of a scenario, as a file in build/faults and as a row of the table of figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "build" / "faults"
TABLE = DIRECTORY / "figures.md"
SHOWN_COUNT = 5
"""Violations of each guarantee that are printed; the file has all."""
HEAD = "| scenario | faults | tasks | events | violations | seed | seconds | again |"


@dataclass(slots=True)
class Result:
    """Figures of a scenario: how many faults, how many tasks, and the violations by guarantee or by test."""

    name: str
    seed: int
    count: int
    """What was asked for; `fault_count` is what happened."""
    options: tuple[str, ...] = ()
    """Of the daemon."""
    fault_count: int = 0
    task_count: int = 0
    event_count: int = 0
    outcomes: Counter[int] = field(default_factory=Counter)
    violations: dict[str, list[str]] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    """Parts that this machine or user cannot do, and why."""
    seconds: float = 0.0

    @property
    def violation_count(self) -> int:
        return sum(map(len, self.violations.values()))

    def add(self, other: Self) -> None:
        self.fault_count += other.fault_count
        self.task_count += other.task_count
        self.event_count += other.event_count
        self.seconds += other.seconds
        self.outcomes.update(other.outcomes)
        self.not_run += other.not_run
        for name, found in other.violations.items():
            self.violations.setdefault(name, []).extend(found)

    @property
    def arguments(self) -> str:
        return " ".join([self.name, f"--seed {self.seed} --count {self.count}", *self.options])

    @property
    def command(self) -> str:
        return f"make faults ARGS='{self.arguments}'"

    @property
    def row(self) -> str:
        figures = f"{self.fault_count:,} | {self.task_count or '':} | {self.event_count or '':} | {self.violation_count}"
        return f"| {self.name} | {figures} | {self.seed} | {self.seconds:.0f} | `{self.command}` |"

    def __str__(self) -> str:
        wrong = [f"  {name}: {text}" for name, found in self.violations.items() for text in found[:SHOWN_COUNT]]
        head = f"{self.name}: seed {self.seed}, {self.fault_count} faults, {self.task_count} tasks, {self.event_count} events"
        tail = [f"  again: {self.command}"] if wrong else []
        return "\n".join(
            [f"{head}, {self.violation_count} violations, {self.seconds:.0f} s", *wrong, *tail]
            + [f"  not run: {each}" for each in self.not_run]
        )

    def save(self) -> None:
        """Write it where `load_all` finds it, in the place of an older one."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        (DIRECTORY / f"{self.name.replace(':', '-')}.json").write_text(
            json.dumps({each.name: getattr(self, each.name) for each in fields(self)}) + "\n"
        )


def load_all() -> list[Result]:
    """Read what was saved, the newest of each scenario."""
    found = []
    for path in sorted(DIRECTORY.glob("*.json")):
        data = json.loads(path.read_text())
        outcomes = Counter({int(outcome): number for outcome, number in data["outcomes"].items()})
        found.append(Result(**{**data, "options": tuple(data["options"]), "outcomes": outcomes}))
    return found


def table(results: Iterable[Result]) -> str:
    """The table of figures in Markdown: a row per scenario, the failpoints together in one, and below it what was wrong."""
    results = list(results)
    points = [each for each in results if each.name.startswith("failpoint:")]
    rows = [each for each in results if each not in points]
    if points:
        seeds = {each.seed for each in points}
        together = Result("failpoints", min(seeds), min(each.count for each in points), points[0].options)
        for each in points:
            together.add(each)
        rows.append(together)
    lines = [HEAD, "| --- " * 8 + "|", *(each.row for each in rows)]
    if points:
        lines += ["", f"{len(points)} failpoints, each reached at least {min(each.fault_count for each in points)} times."]
    bad = [str(each) for each in results if each.violations or each.not_run]
    return "\n".join([*lines, *(["", "```", *bad, "```"] if bad else [])]) + "\n"
