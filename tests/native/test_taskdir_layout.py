"""native/shim/taskdir.h is the source of the on-disk layout; Python's structs must agree with it, byte for byte."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import fields

from taskmeter.executors import taskdir
from taskmeter.executors.taskdir import Claim, Control, Exit, ExitKind, Gone, HintKind, LaunchBlock, Main, ShimStatus, Stage
from taskmeter.model.task import Cause

HEADER = Path(__file__).resolve().parents[2] / "native" / "shim" / "taskdir.h"

STRUCTS = {
    "tm_claim": taskdir.CLAIM,
    "tm_ctl": taskdir.CTL,
    "tm_pid": taskdir.PID,
    "tm_exit": taskdir.EXIT,
    "tm_gone": taskdir.GONE,
}


@pytest.fixture(scope="module")
def header() -> str:
    return HEADER.read_text()


@pytest.fixture(scope="module")
def layout(header: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[int, int]]]:
    """Offset and size of each member of each struct, as the compiler sees them."""
    lines = []
    for name, body in re.findall(r"^struct (tm_\w+) \{(.*?)^\};", header, re.MULTILINE | re.DOTALL):
        plain = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        for declaration in filter(None, (part.strip() for part in plain.split(";"))):
            for member in re.sub(r"^(struct )?\w+ ", "", declaration).split(","):
                field = member.strip().split("[")[0]
                place = f"offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field})"
                lines.append(f'printf("{name} {field} %zu %zu\\n", {place});')
        lines.append(f'printf("{name} . 0 %zu\\n", sizeof(struct {name}));')
    directory = tmp_path_factory.mktemp("layout")
    (directory / "layout.c").write_text(
        f'#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{\n' + "\n".join(lines) + "\nreturn 0; }\n"
    )
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-o", str(directory / "layout"), str(directory / "layout.c")], check=True
    )
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for line in subprocess.run([str(directory / "layout")], capture_output=True, text=True, check=True).stdout.splitlines():
        struct_name, field, offset, size = line.split()
        found.setdefault(struct_name, {})[field] = (int(offset), int(size))
    return found


@pytest.mark.parametrize("name", STRUCTS)
def test_a_record_has_the_size_of_its_struct_with_the_crc_last(layout: dict[str, dict[str, tuple[int, int]]], name: str) -> None:
    assert STRUCTS[name].size + 4 == layout[name]["."][1]
    assert layout[name]["crc"] == (STRUCTS[name].size, 4)
    assert layout[name]["magic"] == (0, 8)
    assert layout[name]["version"] == (8, 4)


def test_launch_block_and_hint_have_the_sizes_of_their_structs(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    assert taskdir.LAUNCH.size == layout["tm_launch"]["."][1]
    assert taskdir.HINT.size == layout["tm_hint"]["."][1]
    assert taskdir.RLIMIT.size == layout["tm_rlimit"]["."][1]
    assert layout["tm_launch"]["rlimits"][0] == taskdir.RLIMITS_OFFSET


def number(data: bytes, place: tuple[int, int]) -> int:
    return int.from_bytes(data[place[0] : place[0] + place[1]], "little")


def values_of(cls: type, start: int = 100) -> dict[str, int]:
    """A different number for each integer field."""
    return {field.name: start + index for index, field in enumerate(fields(cls)) if field.type in {int, int | None}}


def test_every_number_of_an_exit_lies_where_c_reads_it(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    numbers = values_of(Exit)
    record = Exit(ExitKind.SIGNALED, stage=Stage.CWD, core=True, forced=True, subject="straße", **numbers)
    data = taskdir.pack_exit(record)
    for name, value in numbers.items():
        assert number(data, layout["tm_exit"][name]) == value, name
    assert number(data, layout["tm_exit"]["kind"]) == ExitKind.SIGNALED
    assert number(data, layout["tm_exit"]["stage"]) == Stage.CWD
    assert number(data, layout["tm_exit"]["core"]) == number(data, layout["tm_exit"]["forced"]) == 1
    assert data[layout["tm_exit"]["subject"][0] :].startswith("straße".encode() + b"\0")
    assert taskdir.unpack_exit(data) == record
    assert taskdir.unpack_exit(data + b"\0" * 100) == record


def test_every_number_of_gone_lies_where_c_reads_it(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    numbers = {**values_of(Gone), "unkillable_count": 2}
    record = Gone(final=True, unkillable_pids=(41, 42), **numbers)
    data = taskdir.pack_gone(record)
    for name, value in numbers.items():
        assert number(data, layout["tm_gone"][name]) == value, name
    assert number(data, layout["tm_gone"]["final"]) == 1
    assert number(data, (layout["tm_gone"]["unkillable_pids"][0] + 4, 4)) == 42
    assert taskdir.unpack_gone(data) == record


def test_of_two_gone_slots_the_sound_one_with_the_higher_serial_counts() -> None:
    old, new = Gone(4, 1, final=False), Gone(5, 1, final=True, read_bytes=0)
    pages = taskdir.pack_gone(new).ljust(taskdir.GONE_SLOT_BYTES, b"\0") + taskdir.pack_gone(old)
    assert taskdir.unpack_gone(pages) == new
    torn = bytearray(pages)
    torn[20] ^= 1
    assert taskdir.unpack_gone(bytes(torn)) == old
    assert taskdir.unpack_gone(b"\0" * 4096) is None
    assert taskdir.unpack_gone(None) is None


@pytest.mark.parametrize(
    ("struct_name", "cls", "pack"),
    [("tm_pid", Main, taskdir.pack_pid), ("tm_ctl", Control, taskdir.pack_ctl)],
)
def test_every_number_of_the_small_records_lies_where_c_reads_it(
    layout: dict[str, dict[str, tuple[int, int]]], struct_name: str, cls: type, pack: object
) -> None:
    numbers = values_of(cls)
    data = pack(cls(**numbers))  # type: ignore[operator]  # one of two functions
    for name, value in numbers.items():
        assert number(data, layout[struct_name][name]) == value, name


def test_a_claim_lies_where_c_reads_it(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    record = Claim(7, 8, 9, "2a" * 18)
    data = taskdir.pack_claim(record)
    assert number(data, layout["tm_claim"]["shim_pid"]) == 7
    assert number(data, layout["tm_claim"]["incarnation"]) == 8
    assert number(data, layout["tm_claim"]["shim_start_ticks"]) == 9
    assert data[layout["tm_claim"]["boot_id"][0] :].startswith(b"2a" * 18 + b"\0")
    assert taskdir.unpack_claim(data) == record


def test_every_number_of_a_launch_block_lies_where_c_reads_it(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    place = layout["tm_launch"]
    block = LaunchBlock(
        11, b"boot", [b"cmd", b""], [b"A=1", b"B=2", b"C=3"], b"/attempt", b"tk", 12, b"/cwd", b"/in", b"/hints", b"/v2",
        (b"/v1",), 13, 0o27, 14, 15, -5, 16, 17, ((1, 2, 3), (4, 5, 6)), 18, 19, (20, 21),
    )  # fmt: skip
    data = taskdir.pack_launch(block)
    expected = {
        "version": 1, "total_bytes": len(data), "incarnation": 11, "argc": 2, "envc": 3, "attempt": 12, "cgroup_v1_count": 1,
        "flags": 13, "umask": 0o27, "uid": 14, "gid": 15, "nice": 2**32 - 5, "rlimit_count": 2, "grace_ns": 16,
        "deadline_boottime_ns": 17, "attach_pid": 18, "attach_start_ticks": 19, "group_count": 2, "groups": 20 | 21 << 32,
    }  # fmt: skip
    for name, value in expected.items():
        assert number(data, place[name]) == value, name
    texts = {
        "argv_offset": b"cmd\0\0", "env_offset": b"A=1\0B=2\0C=3\0", "attempt_dir_offset": b"/attempt\0", "token_offset": b"tk\0",
        "cwd_offset": b"/cwd\0", "stdin_offset": b"/in\0", "hints_offset": b"/hints\0", "cgroup_v2_offset": b"/v2\0",
        "cgroup_v1_offset": b"/v1\0",
    }  # fmt: skip
    for name, text in texts.items():
        assert data[number(data, place[name]) :].startswith(text), name
    limits = place["rlimits"][0]
    assert taskdir.RLIMIT.unpack_from(data, limits + taskdir.RLIMIT.size) == (4, 5, 6)


def test_absent_strings_have_offset_zero(layout: dict[str, dict[str, tuple[int, int]]]) -> None:
    data = taskdir.pack_launch(LaunchBlock(1, b"", [b"x"], [], b"/a", b"t", 1))
    for name in ("env_offset", "cwd_offset", "stdin_offset", "hints_offset", "cgroup_v2_offset", "cgroup_v1_offset"):
        assert number(data, layout["tm_launch"][name]) == 0, name


def constants(header: str, prefix: str) -> dict[str, int]:
    """Values of the enum members and macros that begin with `prefix`."""
    found = re.findall(rf"\b{prefix}(\w+) = (1u << \d+|\d+)", header)
    return {name: 1 << int(value[6:]) if "<<" in value else int(value) for name, value in found}


@pytest.mark.parametrize(
    ("prefix", "enum"),
    [("TM_EXIT_", ExitKind), ("TM_STAGE_", Stage), ("TM_HINT_", HintKind), ("TM_CAUSE_", Cause), ("TM_SHIM_", ShimStatus)],
)
def test_numbered_names_are_the_same_in_c_and_python(header: str, prefix: str, enum: type) -> None:
    assert constants(header, prefix) == {member.name: member.value for member in enum}  # type: ignore[attr-defined]  # an IntEnum


def test_flags_and_limits_are_the_same_in_c_and_python(header: str) -> None:
    assert constants(header, "TM_LAUNCH_") == {
        "SET_IDS": taskdir.SET_IDS,
        "NO_NEW_PRIVS": taskdir.NO_NEW_PRIVS,
        "MERGE_STDERR": taskdir.MERGE_STDERR,
        "HAS_NICE": taskdir.HAS_NICE,
        "ATTACH": taskdir.ATTACH,
        "DESCENDANTS": taskdir.DESCENDANTS,
    }
    assert constants(header, "TM_PID_") == {"ATTACHED": taskdir.PID_ATTACHED, "DESCENDANTS": taskdir.PID_DESCENDANTS}
    defines = {name: int(value.rstrip("u")) for name, value in re.findall(r"#define (TM_\w+) (\d+u?)\b", header)}
    assert defines["TM_VERSION"] == taskdir.VERSION
    assert defines["TM_PAGE"] == taskdir.PAGE_BYTES
    assert defines["TM_MAX_RLIMITS"] == taskdir.MAX_RLIMITS
    assert defines["TM_GONE_SLOT_BYTES"] == taskdir.GONE_SLOT_BYTES
    assert defines["TM_GONE_MAX_UNKILLABLE"] == taskdir.MAX_UNKILLABLE
    assert defines["TM_SUBJECT_BYTES"] == taskdir.SUBJECT_BYTES


def test_magics_are_the_bytes_they_spell(header: str) -> None:
    for value, text in re.findall(r"#define TM_MAGIC_\w+ (0x[0-9a-f]+)ull /\* \"(.{8})\" \*/", header):
        assert bytes(ctypes.c_uint64(int(value, 16))) == text.encode()
    assert "0x48434e55414c4d54" in header
    assert bytes(ctypes.c_uint64(0x48434E55414C4D54)) == b"TMLAUNCH"
