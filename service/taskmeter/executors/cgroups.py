"""One cgroup per attempt, `<the daemon's own cgroup>/taskmeter-<store id>/<token>.<attempt>`, in v2 and in v1 memory; where
no v2 can be had, in v1 cpuacct.

A cgroup counts CPU and memory of everything that was ever in it, and `cgroup.kill` ends it without a race. It is used where it
is writable; without one, tasks run and are metered process by process. The shim stays outside: its own end must not be awaited
inside, and `cgroup.kill` must not hit it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field

log = logging.getLogger(__name__)

LEAF = "daemon"
"""On pure v2 a cgroup with controllers for its children may hold no process itself (kernel: cgroup-v2.rst, "No Internal
Process Constraint"): the daemon and its shims move into this leaf."""

_CONTROLLERS = ("memory", "cpu", "pids")
_V1_FILES = (
    ("v1_memory", "memory.stat"),
    ("v1_cpuacct", "cpuacct.usage"),
    ("v1_pids", "pids.max"),
    ("v1_cpu", "cpu.cfs_quota_us"),
)
"""A file that tells the controller of a v1 cgroup."""
_RECORD = "cgroups"
_PROBE = "probe"


class Places(NamedTuple):
    """Cgroup directories of one attempt; "" = none."""

    v2: str = ""
    v1_memory: str = ""
    v1_cpuacct: str = ""
    v1_pids: str = ""
    v1_cpu: str = ""
    """These two only for limits: each costs a task's start some time."""

    @property
    def v1(self) -> tuple[str, ...]:
        """Those that a process has to enter by itself, each once: controllers may be mounted together."""
        return tuple(dict.fromkeys(path for path in self[1:] if path))


class Cgroups(Struct):
    """Where this daemon makes cgroups, and where earlier ones of the same state directory did. "" = none."""

    v2: str = ""
    v1_memory: str = ""
    v1_cpuacct: str = ""
    v1_pids: str = ""
    v1_cpu: str = ""
    v2_controllers: frozenset[str] = frozenset()
    """What cgroups below `v2` can be limited by."""
    earlier: list[str] = field(default_factory=list)

    @property
    def bases(self) -> tuple[str, ...]:
        """Those that this daemon uses, each once."""
        bases = (self.v2, self.v1_memory, self.v1_cpuacct, self.v1_pids, self.v1_cpu)
        return tuple(dict.fromkeys(base for base in bases if base))

    def paths(self, token: str, attempt: int) -> Places:
        """Return the directories in which a new attempt is metered."""
        return Places(*(base and f"{base}/{token}.{attempt}" for base in (self.v2, self.v1_memory, self.v1_cpuacct)))

    def find(self, token: str, attempt: int) -> Places:
        """Return those directories of an attempt that exist, made by this daemon or an earlier one."""
        found = dict.fromkeys(Places._fields, "")
        for base in dict.fromkeys((*self.bases, *self.earlier)):
            path = f"{base}/{token}.{attempt}"
            if os.path.exists(f"{path}/cgroup.procs"):
                if os.path.exists(f"{path}/cgroup.events"):  # a file of v2 only
                    found["v2"] = found["v2"] or path
                    continue
                for name, file in _V1_FILES:
                    if os.path.exists(f"{path}/{file}"):
                        found[name] = found[name] or path
        return Places(**found)

    def sweep(self, is_over: Callable[[str, int], bool]) -> int:
        """Remove cgroups of attempts that are over, and bases without any; returns how many. Populated ones stay: EBUSY."""
        removed = 0
        for base in {*self.bases, *self.earlier}:
            try:
                names = [entry.name for entry in os.scandir(base) if entry.is_dir()]
            except OSError:
                continue
            for name in names:
                token, _, attempt = name.partition(".")
                if attempt.isdigit() and is_over(token, int(attempt)):
                    removed += _try_rmdir(f"{base}/{name}")
            if base in self.earlier:
                _try_rmdir(base)
        return removed

    def close(self) -> None:
        """Remove the bases if no attempt has a cgroup there; the next daemon makes them again."""
        for base in self.bases:
            _try_rmdir(base)


def discover(state_dir: Path, store_id: str, setting: str, proc: Path = Path("/proc/self")) -> Cgroups:
    """Find, make and test the bases; remember them in `state_dir`/cgroups. `setting`: "auto", "v1" for v1 alone, "off"."""
    record = state_dir / _RECORD
    earlier = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    found = Cgroups()
    if setting != "off":
        own = own_cgroups(proc)
        name = f"taskmeter-{store_id}"
        found.v1_memory = _usable_base(own.get("memory", ""), name, "memory.stat")
        if setting != "v1":
            found.v2 = _usable_base(_with_controllers(own.get("", ""), wants_memory=not found.v1_memory), name, "cpu.stat")
        if not found.v2:
            found.v1_cpuacct = _usable_base(own.get("cpuacct", ""), name, "cpuacct.usage")
        found.v1_pids = _usable_base(own.get("pids", ""), name, "pids.max")
        found.v1_cpu = _usable_base(own.get("cpu", ""), name, "cpu.cfs_quota_us")
    if found.v2:
        _enable_controllers(os.path.dirname(found.v2))  # as far as this cgroup may: it may hold processes itself
        _enable_controllers(found.v2)
        found.v2_controllers = frozenset(name for name in _CONTROLLERS if _reads(f"{found.v2}/cgroup.subtree_control", name))
    current = list(found.bases)
    found.earlier = [base for base in earlier if base not in current and os.path.isdir(base)]
    if [*found.earlier, *current] != earlier:
        record.write_text("".join(f"{base}\n" for base in (*found.earlier, *current)), encoding="utf-8")
    return found


def own_cgroups(proc: Path = Path("/proc/self")) -> dict[str, str]:
    """Return this process's own cgroup directories: "" for v2, else by v1 controller, "memory" and so on."""
    mounts: dict[str, tuple[str, str]] = {}
    try:
        mount_lines = (proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        own_lines = (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    for line in mount_lines:  # proc(5): id parent major:minor root mountpoint options optional* - type source superoptions
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if kind[0] == "cgroup2":
            mounts.setdefault("", (fields[4], fields[3]))
        elif kind[0] == "cgroup":
            for controller in kind[2].split(","):
                mounts.setdefault(controller, (fields[4], fields[3]))
    own: dict[str, str] = {}
    for line in own_lines:  # cgroups(7): id:controllers:path, controllers empty for v2
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                point, root = mounts[controller]
                inside = path[len(root) :] if root != "/" and path.startswith(root) else path
                own[controller] = (point + "/" + inside.strip("/")).rstrip("/")
    return own


def _try_rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def _usable_base(own: str, name: str, needed: str) -> str:
    """Make `own`/`name` and try it out; "" when tasks could not be put there or could not be metered there."""
    if not own:
        return ""
    base = f"{own}/{name}"
    probe = f"{base}/{_PROBE}"
    try:
        os.makedirs(probe, exist_ok=True)
        # Entering needs write access to the target and to the common ancestor (cgroup-v2.rst, "Delegation Containment").
        usable = all(os.access(f"{path}/cgroup.procs", os.W_OK) for path in (probe, own))
        usable = usable and os.access(f"{probe}/{needed}", os.R_OK)
        if usable and os.path.exists(f"{probe}/cgroup.type"):
            with open(f"{probe}/cgroup.type", encoding="ascii") as file:
                usable = file.read().strip() == "domain"  # not "threaded" or "domain invalid"
    except OSError as error:
        log.debug("no cgroup below %s: %s", own, error)
        usable = False
    _try_rmdir(probe)
    if usable:
        return base
    _try_rmdir(base)
    return ""


def _with_controllers(own: str, *, wants_memory: bool) -> str:
    """Return the v2 cgroup to work below. On pure v2, move this process to a leaf if that gives us the memory controller."""
    if not own:
        return ""
    if os.path.basename(own) == LEAF and _reads(f"{own}/../cgroup.subtree_control", "memory"):
        return os.path.dirname(own)  # an earlier daemon made the leaf, and this one was started inside it
    if not wants_memory or not _reads(f"{own}/cgroup.controllers", "memory") or _reads(f"{own}/cgroup.subtree_control", "memory"):
        return own
    if _writes(f"{own}/cgroup.subtree_control", "+memory"):
        return own
    leaf = f"{own}/{LEAF}"
    try:
        os.makedirs(leaf, exist_ok=True)
    except OSError:
        return own
    if _writes(f"{leaf}/cgroup.procs", "0"):
        if _writes(f"{own}/cgroup.subtree_control", "+memory"):
            return own
        _writes(f"{own}/cgroup.procs", "0")  # others live there: back, and without memory
    _try_rmdir(leaf)
    return own


def _enable_controllers(base: str) -> None:
    for controller in _CONTROLLERS:
        if _reads(f"{base}/cgroup.controllers", controller):
            _writes(f"{base}/cgroup.subtree_control", f"+{controller}")


def _reads(path: str, word: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return word in file.read().split()
    except OSError:
        return False


def _writes(path: str, text: str) -> bool:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return False
    return True
