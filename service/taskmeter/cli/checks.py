"""What `doctor` looks at on this machine. Each check says what it found, and what to do where more is possible."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metercore.gpu import Gpu


class Grade(StrEnum):
    """How good a finding is."""

    FINE = "fine"
    LESS = "less"
    """Works, with less than is possible."""
    BROKEN = "broken"
    """Taskmeter cannot do its work here."""
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    grade: Grade
    text: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


REINSTALL = "reinstall: pip install --force-reinstall ."
MIN_KERNEL = (5, 3)
"""pidfd_open came with 5.3; clone3 into a cgroup with 5.7, cgroup.kill with 5.14."""
GOOD_KERNEL = (5, 14)
LOW_FILES = 4096
LOW_DISK_BYTES = 1 << 30
GPU_SECONDS = 5.0
"""How long a driver may take to answer; one that wakes its GPUs up takes one or two."""
_GPU_HINTS = {
    "absent": "install the driver's libnvidia-ml.so.1 or name it in TASKMETER_NVML_LIBRARY; a container needs"
    " NVIDIA_DRIVER_CAPABILITIES=utility",
    "starting": "the driver hangs: everything else is measured all the same; see dmesg for Xid errors",
    "hung": "the driver hangs: everything else is measured all the same; see dmesg for Xid errors",
    "failed": "see nvidia-smi and dmesg; the daemon tries again by itself",
}
SYS_OPENAT2 = 437
"""The number is the same on every architecture (kernel: include/uapi/asm-generic/unistd.h)."""


def machine() -> Iterator[Finding]:
    """Kernel, processors and memory, as psutil sees them."""
    import psutil

    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if platform.system() != "Linux":
        yield Finding("kernel", Grade.BROKEN, f"{platform.system()} {release}", "Taskmeter runs on Linux")
    elif numbers < MIN_KERNEL:
        yield Finding("kernel", Grade.BROKEN, f"Linux {release} has no pidfd_open", "Linux 5.3 or newer is needed")
    elif numbers < GOOD_KERNEL:
        yield Finding("kernel", Grade.LESS, f"Linux {release}", "from 5.14 on, whole trees are killed in one step (cgroup.kill)")
    else:
        yield Finding("kernel", Grade.FINE, f"Linux {release}")
    memory = psutil.virtual_memory()
    usable = len(os.sched_getaffinity(0))
    yield Finding(
        "machine",
        Grade.FACT,
        f"{usable} of {psutil.cpu_count()} processors, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory"
        f" free, load {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}, user {_user()}",
    )


def processes() -> Iterator[Finding]:
    """What is needed to watch and end processes."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        yield Finding("pidfd", Grade.FINE, "processes are watched and ended without races")
    except OSError as error:
        yield Finding("pidfd", Grade.BROKEN, f"pidfd_open fails: {error.strerror}", "a seccomp filter of a container? allow it")
    others = _readable("/proc/1/stat")
    hidden = "" if others else "; other users' processes are hidden (hidepid), which does not matter for one's own tasks"
    if _readable("/proc/self/stat") and _readable("/proc/self/smaps_rollup"):
        yield Finding("procfs", Grade.FINE, "processes and shared memory (PSS) can be measured" + hidden)
    elif _readable("/proc/self/stat"):
        yield Finding("procfs", Grade.LESS, "no smaps_rollup: memory is RSS, shared pages count several times")
    else:
        yield Finding("procfs", Grade.BROKEN, "/proc cannot be read", "mount proc on /proc")
    if _readable("/proc/self/io"):
        yield Finding("disk use", Grade.FINE, "bytes read and written are measured")
    else:
        yield Finding("disk use", Grade.LESS, "/proc/PID/io cannot be read: not measured", "it needs privileges here")
    yield _openat2()


def cgroups() -> Iterator[Finding]:
    """Whether trees can be put into cgroups of their own: exact CPU and memory, and stops that nothing escapes."""
    places = _own_cgroups()
    version2 = places.get("")
    if version2 is None:
        yield Finding("cgroup v2", Grade.LESS, "not mounted", "without it CPU is summed up from processes and ended children")
    elif os.access(version2, os.W_OK):
        controllers = (version2 / "cgroup.controllers").read_text().split()
        yield Finding("cgroup v2", Grade.FINE, f"{version2} is writable; controllers: {' '.join(controllers) or 'none'}")
        if "memory" in controllers:
            yield Finding("memory of trees", Grade.FINE, "memory controller of cgroup v2")
            return
    else:
        yield Finding(
            "cgroup v2",
            Grade.LESS,
            f"{version2} belongs to another user",
            "run the daemon in a delegated scope: systemd-run --user --scope -p Delegate=yes taskmeter serve",
        )
    version1 = places.get("memory")
    if version1 is not None and os.access(version1, os.W_OK):
        yield Finding("memory of trees", Grade.FINE, f"memory controller of cgroup v1: {version1}")
    else:
        yield Finding(
            "memory of trees",
            Grade.LESS,
            "no writable memory cgroup: the sum of PSS over the tree",
            "run as root, or in a scope with Delegate=yes, for exact figures and the kernel's own peak",
        )


def meters() -> Iterator[Finding]:
    """Where CPU time comes from: of trees in cgroups, and of the processes of others, best source first."""
    from metercore.backend import examine

    places = _own_cgroups()
    groups = {"v2": places.get(""), "v1 (cpuacct)": places.get("cpuacct")}
    usable = [name for name, path in groups.items() if path is not None and os.access(path, os.W_OK)]
    if usable:
        yield Finding("CPU of trees", Grade.FINE, f"cgroup {usable[0]}: exact, ended children included")
    else:
        yield Finding(
            "CPU of trees",
            Grade.LESS,
            "no writable cgroup: summed over living processes and what the shim reaped",
            "run as root, or in a scope with Delegate=yes, for the kernel's own total",
        )
    chosen = False
    for found in examine():
        name = f"meter {found.name}"
        if not found.works:
            text, _, hint = found.reason.partition("; ")
            yield Finding(name, Grade.LESS if found.name == "bpf" else Grade.BROKEN, text, hint)
        elif found.name == "bpf":
            yield Finding(name, Grade.FINE, f"{found.reason}; used while 64 processes or more, a tenth of all threads, are ours")
        else:
            note = "" if chosen else "; the one used for trees without a cgroup"
            yield Finding(name, Grade.FINE, found.reason + note)
            chosen = True
    if _readable("/proc/pressure/cpu"):
        yield Finding("pressure", Grade.FINE, "the kernel keeps pressure (PSI); shown for tasks in cgroups of version 2")
    else:
        yield Finding("pressure", Grade.FACT, "the kernel keeps no pressure: absent, not 0", "boot with psi=1")


def limits() -> Iterator[Finding]:
    """Descriptors and processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)} open files (up to {_limit(hard)})"
    if 0 <= hard < LOW_FILES:
        yield Finding("files", Grade.LESS, text, f"a daemon with many tasks wants {LOW_FILES}: ulimit -Hn, LimitNOFILE=")
    else:
        yield Finding("files", Grade.FINE, text)
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    yield Finding("processes", Grade.FINE, f"{_limit(soft)} processes of this user")


def state(directory: Path) -> Iterator[Finding]:
    """The state directory and its disk."""
    existing = directory
    while not os.path.exists(existing):
        existing = existing.parent
    writable = os.access(existing, os.W_OK | os.X_OK)
    free = shutil.disk_usage(existing).free
    text = f"{directory}{'' if os.path.exists(directory) else ' (made at first use)'}, {free / 2**30:.1f} GiB free"
    if not writable:
        yield Finding("state", Grade.BROKEN, f"{existing} is not writable", "choose another one with --state-dir")
    elif free < LOW_DISK_BYTES:
        yield Finding("state", Grade.LESS, text, "little room for output and history")
    else:
        yield Finding("state", Grade.FINE, text)
    yield from _rebuilt(directory)
    if not os.path.exists(directory / "daemon.sock") and len(str(directory / "daemon.sock").encode()) > 107:
        yield Finding("socket", Grade.LESS, "its path is too long for a socket", "the socket lies in XDG_RUNTIME_DIR")


def _rebuilt(directory: Path) -> Iterator[Finding]:
    """Whether the database was ever built anew from the task directories."""
    try:
        report = json.loads((directory / "rebuilt.json").read_text(encoding="utf-8"))
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report["time"]))
        text = f"{when}: {report['why']}; built anew with {report['launched_count'] + report['waiting_count']} tasks"
        if report["unreadable_count"]:
            text += f", {report['unreadable_count']} directories could not be read"
        kept = f"the damaged one is kept as {report['aside']}; " if report["aside"] else ""
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding("rebuilt", Grade.LESS, f"rebuilt.json cannot be read: {error}")
        return
    yield Finding("rebuilt", Grade.LESS, text, f"{kept}look at the disk, then delete {directory / 'rebuilt.json'}")


def native() -> Iterator[Finding]:
    """The compiled parts of this installation."""
    try:
        import metercore.sample  # noqa: F401  # only whether it loads
    except ImportError as error:
        yield Finding("metercore", Grade.BROKEN, f"the native meter does not load: {error}", REINSTALL)
    else:
        yield Finding("metercore", Grade.FINE, "the native meter loads")
    shim = Path(__file__).parents[1] / "executors" / "taskmeter-shim"
    if os.access(shim, os.X_OK):
        yield Finding("shim", Grade.FINE, f"{shim.stat().st_size // 1024} KiB")
    else:
        yield Finding("shim", Grade.BROKEN, f"{shim} is missing", REINSTALL)


def gpus() -> Iterator[Finding]:
    """Whether GPUs are measured, and how they could be."""
    from metercore.gpu import GpuMonitor

    if os.environ.get("TASKMETER_GPU") == "off":
        yield Finding("GPU", Grade.FACT, "switched off by TASKMETER_GPU=off")
        return
    with GpuMonitor() as monitor:
        if monitor.state == "absent" and not os.path.exists("/dev/nvidiactl"):
            yield Finding("GPU", Grade.FACT, "no NVIDIA driver here: GPU figures are absent, not 0")
            return
        if monitor.state == "starting":
            monitor.wait(GPU_SECONDS)
        reason = monitor.reason
        found = monitor.gpus
        strangers = len({(each.gpu_index, each.memory_bytes) for each in monitor.processes() if each.pid == 0})
        state = monitor.state
    if reason is not None:
        yield Finding("GPU", Grade.LESS, f"not measured: {reason}", _GPU_HINTS.get(state, "nvidia-smi says more"))
        return
    names = sorted({gpu.name for gpu in found})
    text = f"{len(found)}: {', '.join(names)}; {_driver()}NVML by dlopen"
    lacking = [gpu for gpu in found if not gpu.memory_measured]
    if lacking:
        yield Finding(
            "GPU", Grade.LESS, f"{text}; memory cannot be read on {_indexes(lacking)}", "it may need the right to see them"
        )
    elif strangers:
        hint = "if they are yours: run the daemon in the host's pid namespace (docker run --pid=host)"
        yield Finding("GPU", Grade.LESS, f"{text}; {strangers} processes are of another pid namespace", hint)
    else:
        yield Finding("GPU", Grade.FINE, text)
    if mig := [gpu for gpu in found if gpu.mig]:
        yield Finding("MIG", Grade.LESS, f"{_indexes(mig)}: memory is measured, NVML tells no utilisation of parts{_layout()}")
    elif dumb := [gpu for gpu in found if not gpu.utilization_measured]:
        yield Finding("GPU use", Grade.LESS, f"the driver tells no utilisation by process on {_indexes(dumb)}")


def network() -> Iterator[Finding]:
    """Sockets, without which there is no daemon."""
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError as error:
        yield Finding("sockets", Grade.BROKEN, f"no unix sockets: {error.strerror}")


def _own_cgroups() -> dict[str, Path]:
    """Map controller name ("" = v2) to the directory of our own cgroup (cgroups(7), /proc/self/cgroup and mountinfo)."""
    mounts: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind == "cgroup2":
            mounts[""] = Path(before.split()[4])
        elif kind == "cgroup":
            for controller in {"memory", "cpuacct"} & set(options.rpartition(" ")[2].split(",")):
                mounts[controller] = Path(before.split()[4])
    found: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in mounts:
                found[name] = mounts[name] / path.lstrip("/")
    return {name: path for name, path in found.items() if os.path.isdir(path)}


def _openat2() -> Finding:
    """Call it with a path that cannot exist: ENOSYS and EPERM mean that it is not there for us."""
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(SYS_OPENAT2, -100, b"/", how, ctypes.sizeof(how))
    if descriptor >= 0:
        os.close(descriptor)
        return Finding("openat2", Grade.FINE, "paths of tasks are opened without leaving their directory")
    name = os.strerror(ctypes.get_errno())
    return Finding("openat2", Grade.LESS, f"not available ({name}): paths are checked step by step", "Linux 5.6 or newer")


def _indexes(some: list[Gpu]) -> str:
    return "GPU " + ", ".join(str(gpu.index) for gpu in some)


def _driver() -> str:
    """Ask NVIDIA's own bindings for the version of the driver; nothing without them."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return f"driver {pynvml.nvmlSystemGetDriverVersion()}, "
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001  # bindings of any version, and none: it is one word more or less
        return ""


def _layout() -> str:
    """Name the MIG devices as the bindings do, for CUDA_VISIBLE_DEVICES; nothing without them."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            return "".join(f"; {pynvml.nvmlDeviceGetName(each)} ({pynvml.nvmlDeviceGetUUID(each)})" for each in _parts(devices))
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001  # as above
        return ""


def _parts(devices: list[Any]) -> Iterator[Any]:
    """Yield the MIG devices of all GPUs; their numbers may have gaps."""
    import pynvml

    for device in devices:
        try:
            count = pynvml.nvmlDeviceGetMaxMigDeviceCount(device)
        except pynvml.NVMLError:
            continue
        for index in range(count):
            try:
                yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
            except pynvml.NVMLError:
                continue


def _readable(path: str) -> bool:
    try:
        Path(path).read_bytes()
    except OSError:
        return False
    return True


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
