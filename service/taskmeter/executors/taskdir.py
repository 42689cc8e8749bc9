"""The on-disk protocol of one attempt: its paths and the codecs of its records.

native/shim/taskdir.h is the source of the layout and says what each field means. A record with a wrong magic, version or CRC does
not exist: every `unpack_*` returns None for it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct

from taskmeter.model.ids import TOKEN_PREFIX

VERSION = 1
PAGE_BYTES = 4096
MAX_RLIMITS = 16
MAX_GROUPS = 64
GONE_SLOT_BYTES = 2048
MAX_UNKILLABLE = 64
SUBJECT_BYTES = 256
HINTS_PATH_BYTES = 107
"""sun_path without its NUL."""

_CRC = struct.Struct("<I")
_HEAD = struct.Struct("<8sI")
CLAIM = struct.Struct("<8sIiQQ40s4x")
CTL = struct.Struct("<8sIII4xQ4x")
PID = struct.Struct("<8sIiQQQQI")
EXIT = struct.Struct(f"<8sIIQiiiiIIIiQQQQQQQ{SUBJECT_BYTES}sI")
GONE = struct.Struct(f"<8sIIQIIQQQQQQQQQQQQQQQII{MAX_UNKILLABLE}i4x")
HINT = struct.Struct("<II32s")
LAUNCH = struct.Struct(f"<8sIIQ40s17IiIiQQQ{MAX_RLIMITS * 24}x{4 * (MAX_GROUPS + 2)}x")
RLIMIT = struct.Struct("<I4xQQ")
GROUPS_OFFSET = LAUNCH.size - 4 * (MAX_GROUPS + 2)
"""A count, then the groups."""
RLIMITS_OFFSET = GROUPS_OFFSET - MAX_RLIMITS * RLIMIT.size

_UNKNOWN = 2**64 - 1
"""What the shim writes for "not readable" where 0 is a possible value."""

SET_IDS, NO_NEW_PRIVS, MERGE_STDERR, HAS_NICE, ATTACH, DESCENDANTS = 1, 2, 4, 8, 16, 32
FAULT_SHIFT = 20
"""What tests want the supervisor to suffer: failpoint << 4 | fault; see failpoints.py."""
PID_ATTACHED, PID_DESCENDANTS = 1, 2


class ExitKind(IntEnum):
    """How the main process ended, or why there never was one."""

    EXITED = 1
    SIGNALED = 2
    EXEC_FAILED = 3
    NEVER_STARTED = 4
    UNKNOWN = 5
    DETACHED = 6


class Stage(IntEnum):
    """Which step before exec failed."""

    NONE = 0
    CGROUP = 1
    STDIN = 2
    OUTPUT = 3
    RLIMIT = 4
    IDS = 5
    CWD = 6
    EXEC = 7
    FORK = 8
    LAUNCH_BLOCK = 9
    ATTACH = 10


class HintKind(IntEnum):
    """What a datagram says is there to read."""

    STARTED = 1
    EXIT = 2
    GONE = 3


class ShimStatus(IntEnum):
    """Exit status of a shim."""

    DONE = 0
    USAGE = 64
    BAD_BLOCK = 65
    IO = 74
    CLAIMED = 75


class Claim(Struct, frozen=True, gc=False):
    """Who has won the attempt."""

    shim_pid: int
    """0: the daemon won it, so the attempt never starts."""
    incarnation: int
    shim_start_ticks: int
    boot_id: str


class Control(Struct, frozen=True, gc=False):
    """One order to the shim."""

    serial: int
    cause: int
    grace_ns: int


class Main(Struct, frozen=True, gc=False):
    """The main process, once its exec succeeded; or the process that is watched, as it was found."""

    pid: int
    incarnation: int
    start_ticks: int
    start_realtime_ns: int
    start_boottime_ns: int
    flags: int = 0


class Exit(Struct, frozen=True, gc=False):
    """How the main process ended."""

    kind: ExitKind
    incarnation: int
    code: int = 0
    signal: int = 0
    core: bool = False
    error: int = 0
    stage: Stage = Stage.NONE
    cause: int = 0
    forced: bool = False
    pid: int = 0
    start_realtime_ns: int = 0
    end_realtime_ns: int = 0
    start_boottime_ns: int = 0
    end_boottime_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    max_rss_bytes: int = 0
    subject: str = ""
    oom_kill_count: int = 0


class Gone(Struct, frozen=True, gc=False):
    """What the whole tree used, as far as its processes have been reaped."""

    serial: int
    incarnation: int
    final: bool
    reaped_count: int = 0
    reaped_user_ns: int = 0
    reaped_system_ns: int = 0
    reaped_max_rss_bytes: int = 0
    reaped_minor_faults: int = 0
    reaped_major_faults: int = 0
    reaped_voluntary_switches: int = 0
    reaped_involuntary_switches: int = 0
    end_realtime_ns: int = 0
    end_boottime_ns: int = 0
    cgroup_cpu_ns: int = 0
    cgroup_user_ns: int = 0
    cgroup_system_ns: int = 0
    cgroup_peak_memory_bytes: int = 0
    read_bytes: int | None = None
    write_bytes: int | None = None
    killed_count: int = 0
    unkillable_count: int = 0
    unkillable_pids: tuple[int, ...] = ()


class LaunchBlock(Struct, frozen=True, gc=False):
    """What the shim is told; empty strings are absent."""

    incarnation: int
    boot_id: bytes
    argv: Sequence[bytes]
    env: Sequence[bytes]
    attempt_dir: bytes
    token: bytes
    attempt: int
    cwd: bytes = b""
    stdin: bytes = b""
    hints: bytes = b""
    cgroup_v2: bytes = b""
    cgroup_v1: Sequence[bytes] = ()
    flags: int = 0
    umask: int = 0o022
    uid: int = 0
    gid: int = 0
    nice: int = 0
    grace_ns: int = 0
    deadline_boottime_ns: int = 0
    rlimits: Sequence[tuple[int, int, int]] = ()
    """(RLIMIT_*, soft, hard)."""
    attach_pid: int = 0
    attach_start_ticks: int = 0
    groups: Sequence[int] = ()
    """Supplementary ones, at most `MAX_GROUPS`; none = `gid` alone."""


_KINDS, _STAGES = frozenset(ExitKind), frozenset(Stage)
_EXIT_NUMBERS = Exit.__struct_fields__[10:17]
_GONE_NUMBERS = Gone.__struct_fields__[3:17]


def task_path(state_dir: bytes, token: str) -> bytes:
    """Return the directory of a task: `tasks/<first random character of the token>/<token>`."""
    return b"%s/tasks/%s/%s" % (state_dir, token[len(TOKEN_PREFIX) : len(TOKEN_PREFIX) + 1].encode(), token.encode())


def attempt_path(state_dir: bytes, token: str, attempt: int) -> bytes:
    """Return the attempt directory, which belongs to the daemon."""
    return b"%s/%d" % (task_path(state_dir, token), attempt)


def pack_launch(block: LaunchBlock) -> bytes:
    """Encode a launch block. Strings must be free of NUL: the environment and the argv have been checked before."""
    parts: list[bytes] = []
    end = LAUNCH.size

    def put(strings: Sequence[bytes]) -> int:
        nonlocal end
        start = end
        for text in strings:
            parts.append(text)
            end += len(text) + 1
        return start if strings else 0

    argv, env = put(block.argv), put(block.env)
    attempt_dir, token = put((block.attempt_dir,)), put((block.token,))
    cwd, stdin, hints, v2 = (put((text,)) if text else 0 for text in (block.cwd, block.stdin, block.hints, block.cgroup_v2))
    v1 = put(block.cgroup_v1)
    lists = (len(block.argv), argv, len(block.env), env)
    texts = (attempt_dir, token, block.attempt, cwd, stdin, hints, v2, len(block.cgroup_v1), v1)
    numbers = (block.flags, block.umask, block.uid, block.gid, block.nice, len(block.rlimits), block.attach_pid)
    times = (block.grace_ns, block.deadline_boottime_ns, block.attach_start_ticks)
    head = LAUNCH.pack(b"TMLAUNCH", VERSION, end, block.incarnation, block.boot_id, *lists, *texts, *numbers, *times)
    if block.rlimits:
        limits = b"".join(RLIMIT.pack(*limit) for limit in block.rlimits)
        head = head[:RLIMITS_OFFSET] + limits + head[RLIMITS_OFFSET + len(limits) :]
    if block.groups:
        groups = struct.pack(f"<{1 + len(block.groups)}I", len(block.groups), *block.groups)
        head = head[:GROUPS_OFFSET] + groups + head[GROUPS_OFFSET + len(groups) :]
    parts.append(b"")  # the last string ends with NUL, too
    return head + b"\0".join(parts)


def _seal(body: bytes) -> bytes:
    return body + _CRC.pack(zlib.crc32(body))


def _sound(data: bytes | None, magic: bytes, record: struct.Struct, at: int = 0) -> bool:
    if data is None or len(data) < at + record.size + 4 or _HEAD.unpack_from(data, at) != (magic, VERSION):
        return False
    end = at + record.size
    return bool(_CRC.unpack_from(data, end)[0] == zlib.crc32(memoryview(data)[at:end]))


def pack_claim(claim: Claim) -> bytes:
    """Encode `claim`."""
    boot_id = claim.boot_id.encode()
    return _seal(CLAIM.pack(b"TMCLAIM ", VERSION, claim.shim_pid, claim.incarnation, claim.shim_start_ticks, boot_id))


def unpack_claim(data: bytes | None) -> Claim | None:
    """Decode `claim`."""
    if data is None or not _sound(data, b"TMCLAIM ", CLAIM):
        return None
    _, _, shim_pid, incarnation, start_ticks, boot_id = CLAIM.unpack_from(data)
    return Claim(shim_pid, incarnation, start_ticks, boot_id.rstrip(b"\0").decode("ascii", "replace"))


def pack_ctl(control: Control) -> bytes:
    """Encode `ctl`."""
    return _seal(CTL.pack(b"TM CTL  ", VERSION, control.serial, control.cause, control.grace_ns))


def unpack_ctl(data: bytes | None) -> Control | None:
    """Decode `ctl`."""
    if data is None or not _sound(data, b"TM CTL  ", CTL):
        return None
    _, _, serial, cause, grace_ns = CTL.unpack_from(data)
    return Control(serial, cause, grace_ns)


def pack_pid(main: Main) -> bytes:
    """Encode `pid`."""
    times = (main.start_ticks, main.start_realtime_ns, main.start_boottime_ns)
    return _seal(PID.pack(b"TM PID  ", VERSION, main.pid, main.incarnation, *times, main.flags))


def unpack_pid(data: bytes | None) -> Main | None:
    """Decode `pid`."""
    if data is None or not _sound(data, b"TM PID  ", PID):
        return None
    return Main(*PID.unpack_from(data)[2:])


def pack_exit(end: Exit) -> bytes:
    """Encode `exit`."""
    how = (end.code, end.signal, end.core, end.error, end.stage, end.cause, end.forced, end.pid)
    times = (end.start_realtime_ns, end.end_realtime_ns, end.start_boottime_ns, end.end_boottime_ns)
    usage = (end.user_ns, end.system_ns, end.max_rss_bytes)
    subject = end.subject.encode()[: SUBJECT_BYTES - 1]
    return _seal(EXIT.pack(b"TM EXIT ", VERSION, end.kind, end.incarnation, *how, *times, *usage, subject, end.oom_kill_count))


def unpack_exit(data: bytes | None) -> Exit | None:
    """Decode `exit`."""
    if data is None or not _sound(data, b"TM EXIT ", EXIT):
        return None
    values = EXIT.unpack_from(data)
    kind, incarnation, code, number, core, error, stage, cause, forced, pid = values[2:12]
    if kind not in _KINDS or stage not in _STAGES:
        return None
    subject = values[19].rstrip(b"\0").decode("utf-8", "replace")
    flags = (code, number, bool(core), error, Stage(stage), cause, bool(forced), pid)
    numbers = dict(zip(_EXIT_NUMBERS, values[12:19], strict=True))
    return Exit(ExitKind(kind), incarnation, *flags, **numbers, subject=subject, oom_kill_count=values[20])


def pack_gone(gone: Gone) -> bytes:
    """Encode one slot."""
    numbers = (getattr(gone, name) for name in _GONE_NUMBERS)
    io = (_UNKNOWN if number is None else number for number in (gone.read_bytes, gone.write_bytes))
    kills = (gone.killed_count, gone.unkillable_count)
    pids = (*gone.unkillable_pids, *(0,) * MAX_UNKILLABLE)[:MAX_UNKILLABLE]
    head = (b"TM GONE ", VERSION, gone.serial, gone.incarnation, gone.final)
    return _seal(GONE.pack(*head, *numbers, *io, *kills, *pids))


def unpack_gone(data: bytes | None) -> Gone | None:
    """Decode the page: of its two slots the sound one with the higher serial."""
    if data is None:
        return None
    newest: Gone | None = None
    for at in (0, GONE_SLOT_BYTES):
        if _sound(data, b"TM GONE ", GONE, at):
            slot = _gone_slot(data, at)
            if newest is None or slot.serial > newest.serial:
                newest = slot
    return newest


def _gone_slot(data: bytes, at: int) -> Gone:
    values = GONE.unpack_from(data, at)
    serial, incarnation, final = values[2:5]
    killed, unkillable = values[21:23]
    read_bytes, write_bytes = (None if number == _UNKNOWN else number for number in values[19:21])
    numbers = dict(zip(_GONE_NUMBERS, values[5:19], strict=True))
    pids = values[23 : 23 + min(unkillable, MAX_UNKILLABLE)]
    return Gone(
        serial,
        incarnation,
        bool(final),
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        killed_count=killed,
        unkillable_count=unkillable,
        unkillable_pids=pids,
        **numbers,
    )


def unpack_hint(data: bytes) -> tuple[int, str, int] | None:
    """Return (kind, token, attempt) of a datagram, or None if it is none of ours."""
    if len(data) != HINT.size:
        return None
    kind, attempt, token = HINT.unpack(data)
    return kind, token.rstrip(b"\0").decode("ascii", "replace"), attempt
