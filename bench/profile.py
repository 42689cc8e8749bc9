"""Where a process spends its time, by py-spy (the extra `bench`): Python and native functions alike."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SECONDS = 3
_RATE_HZ = 200
_MOST = 15
_NAMED = 3
Functions = list[tuple[str, float]]


def of(pid: int, load: Callable[[], object]) -> Functions:
    """Return where a process was while it was under load, with the share of the samples, largest first.

    Empty where py-spy is missing or may not look. The load should last longer than `SECONDS`.
    """
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        return []
    with tempfile.TemporaryDirectory(prefix="tm-profile-") as name:
        stacks = Path(name) / "stacks"
        command = [
            str(program),
            "record",
            "--native",
            "--pid",
            str(pid),
            "--duration",
            str(SECONDS),
            "--rate",
            str(_RATE_HZ),
            "--threads",
        ]
        loading = threading.Thread(target=load)
        loading.start()
        try:
            subprocess.run([*command, "--format", "raw", "--output", str(stacks)], capture_output=True, check=False)
        finally:
            loading.join()
        return innermost(stacks.read_text()) if stacks.exists() else []


def innermost(stacks: str) -> Functions:
    """Count samples by thread, innermost Python function, and where that was in native code; a line is `outer;…;inner COUNT`."""
    counted: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        counted[_where(frames.split(";"))] += int(count)
    total = counted.total()
    return [(function, count / total) for function, count in counted.most_common(_MOST)]


def _where(frames: list[str]) -> str:
    thread = frames[0].partition(": ")[2] or frames[0]
    python = [frame for frame in frames if ".py:" in frame]
    last = frames[-1]
    where = [thread, re.sub(r":\d+\)$", ")", python[-1])] if python else [thread]
    if not python or last != python[-1]:
        where.append(_native(last))
    return " → ".join(where)


def _native(frame: str) -> str:
    """Name a native function; one without a symbol by its library alone."""
    name, _, place = frame.partition(" (")
    library = place.rstrip(")").rpartition("/")[2].partition(".")[0]
    return library if name.startswith("0x") else name


def shown(functions: Functions, title: str) -> str:
    """Say the largest in one line."""
    if not functions:
        return "no profile: `pip install taskmeter[bench]` brings py-spy, which needs the right to look"
    largest = ", ".join(f"{function} {share:.0%}" for function, share in functions[:_NAMED])
    return f"most time is in {largest}; see the profile “{title}”"
