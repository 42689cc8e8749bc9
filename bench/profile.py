"""Where a process spends its time: by thread from the kernel's clocks, and within a thread by py-spy (the extra `bench`)."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

SECONDS = 3
_RATE_HZ = 200
_MOST = 15
_NAMED = 3
_WAITING = re.compile(r"PyThread_acquire_lock_timed|pthread_cond_\w*wait|take_gil|epoll_p?wait|sem_\w*wait")
"""py-spy takes some of these for work; what they cost is in the time of their thread."""
_LINE = re.compile(r"thread \((\d+)\): ?(.*) (\d+)")
Functions = list[tuple[str, float]]


def of(pid: int, load: Callable[[], object]) -> Functions:
    """Return where a process was while it was under load, with the share of its processor time, largest first.

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
            before = _threads(pid)
            subprocess.run([*command, "--format", "raw", "--output", str(stacks)], capture_output=True, check=False)
            spent = {thread: ns - before.get(thread, (0, ""))[0] for thread, (ns, _) in _threads(pid).items()}
            names = {thread: comm for thread, (_, comm) in _threads(pid).items()}
        finally:
            loading.join()
        return attributed(stacks.read_text(), spent, names) if stacks.exists() else []


def _threads(pid: int) -> dict[int, tuple[int, str]]:
    """Return the processor time in ns and the name of each thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]), (task / "comm").read_text().strip()
        except OSError:  # it has ended
            continue
    return found


def attributed(stacks: str, spent_ns: Mapping[int, int], names: Mapping[int, str]) -> Functions:
    """Divide each thread's processor time over the places in which it was seen at work; a line is `outer;…;inner COUNT`.

    A place is the thread, its innermost Python function, and the native function that this was in.
    """
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    called = dict(names)
    for line in stacks.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        thread, frames = int(found[1]), found[2].split(";")
        called[thread] = frames[0]
        if not _WAITING.search(found[2]):
            seen[thread][_where(frames)] += int(found[3])
    shares: Counter[str] = Counter()
    for thread, ns in spent_ns.items():
        places = seen.get(thread) or Counter({f"{called.get(thread, thread)} → native code": 1})
        for place, count in places.items():
            shares[place] += round(ns * count / places.total())
    total = shares.total() or 1
    return [(place, share / total) for place, share in shares.most_common(_MOST)]


def _where(frames: list[str]) -> str:
    python = [frame for frame in frames if ".py:" in frame]
    last = frames[-1]
    where = [frames[0], re.sub(r":\d+\)$", ")", python[-1])] if python else [frames[0]]
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
