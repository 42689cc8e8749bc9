"""BTF on types assembled here, on the kernel's own, and on what is left of both after damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metercore.btf import KINDS, Btf, load, parse

KERNEL = Path("/sys/kernel/btf/vmlinux")
INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC, FUNC_PROTO, ENUM64 = 1, 2, 3, 4, 5, 6, 8, 10, 12, 13, 19
BIT_FIELDS = 1 << 31


class Assembler:
    """Writes BTF by include/uapi/linux/btf.h; types have the ids 1, 2, … in the order of their making."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types: list[bytes] = []

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def type(self, name: str, kind: int, size_or_type: int, *words: int, count: int = 0, flags: int = 0) -> int:
        head = struct.pack("=III", self.name(name), kind << 24 | count | flags, size_or_type)
        self.types.append(head + struct.pack(f"={len(words)}I", *words))
        return len(self.types)

    def structure(self, name: str, kind: int, size: int, *members: tuple[str, int, int], flags: int = 0) -> int:
        """Members are (name, type, offset in bits)."""
        words = [word for name, type_, bits in members for word in (self.name(name), type_, bits)]
        return self.type(name, kind, size, *words, count=len(members), flags=flags)

    def bytes(self, *, version: int = 1, magic: int = 0xEB9F, longer_header: int = 0) -> bytes:
        types = b"".join(self.types)
        sizes = (24 + longer_header, 0, len(types), len(types), len(self.strings))
        return struct.pack("=HBBIIIII", magic, version, 0, *sizes) + b"\0" * longer_header + types + self.strings


def assemble() -> Assembler:
    made = Assembler()
    u32 = made.type("unsigned int", INT, 4, 32)
    u64 = made.type("u64", INT, 8, 64)
    inner = made.structure("inner", STRUCT, 16, ("a", u64, 0), ("b", u64, 64))
    array = made.type("", ARRAY, 0, inner, u32, 3, count=0)
    alias = made.type("inner_t", TYPEDEF, inner)
    constant = made.type("", CONST, alias)
    choice = made.structure("", UNION, 8, ("small", u32, 0), ("big", u64, 0))
    nest = made.structure("", STRUCT, 16, ("", choice, 64))
    pointer = made.type("", PTR, len(made.types) + 2)
    made.structure(
        "outer",
        STRUCT,
        96,
        ("first", u32, 0),
        ("", nest, 64),
        ("nested", constant, 24 * 8),
        ("list", array, 40 * 8),
        ("self", pointer, 88 * 8),
    )
    made.structure("bits", STRUCT, 8, ("flag", u32, 1 << 24), ("whole", u32, 32), flags=BIT_FIELDS)
    made.type("function", FUNC, made.type("", FUNC_PROTO, 0))
    made.type("", ENUM, 4, made.name("ZERO"), 0, made.name("MINUS"), 0xFFFFFFFF, count=2)
    made.type("wide", ENUM64, 8, made.name("BIG"), 5, 1 << 8, count=1)
    last = len(made.types)
    made.type("around", TYPEDEF, last + 2)
    made.type("about", TYPEDEF, last + 1)
    made.structure("circle", STRUCT, 8, ("member", last + 1, 0))
    made.structure("itself", STRUCT, 8, *[("", last + 4, 0)] * 40)
    made.structure("dangling", STRUCT, 8, ("member", 10_000, 0), ("nothing", 0, 0))
    return made


SMALL = assemble().bytes()
PATHS = [
    "first",
    "big",
    "nested.b",
    "list[2].b",
    "list",
    "self",
    "flag",
    "whole",
    "member",
    "nothing",
    "a.b[1]",
    "list[1][1]",
    "x",
]
STRUCTURES = ["outer", "bits", "circle", "itself", "dangling", "inner", "task_struct"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("first", (0, 4)),
        ("small", (16, 4)),
        ("big", (16, 8)),
        ("nested", (24, 16)),
        ("nested.b", (32, 8)),
        ("list", (40, 48)),
        ("list[0].a", (40, 8)),
        ("list[2].b", (80, 8)),
        ("self", (88, struct.calcsize("P"))),
    ],
)
def test_members_are_found_through_nesting_arrays_typedefs_and_anonymous_members(path: str, field: tuple[int, int]) -> None:
    btf = parse(SMALL)
    assert btf.field("outer", path) == field
    assert btf.offset("outer", path) == field[0]


@pytest.mark.parametrize(
    "path", ["second", "first.a", "list[3].a", "list.a", "first[0]", "self.first", "nested.c", "list[99999999999].a", "a\0"]
)
def test_members_that_are_not_there_are_key_errors(path: str) -> None:
    with pytest.raises(KeyError):
        parse(SMALL).offset("outer", path)


@pytest.mark.parametrize("path", ["", ".", "first.", ".first", "list[", "list[]", "list[1", "list[x]", "list[1]a", "nested..a"])
def test_paths_that_are_none_are_value_errors(path: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse(SMALL).offset("outer", path)


def test_bit_fields_have_no_offset_in_bytes_but_their_neighbours_do() -> None:
    btf = parse(SMALL)
    assert btf.offset("bits", "whole") == 4
    with pytest.raises(ValueError, match="not understood"):
        btf.offset("bits", "flag")


@pytest.mark.parametrize(
    ("structure", "path"), [("circle", "member"), ("itself", "member"), ("dangling", "member"), ("dangling", "nothing")]
)
def test_types_that_lead_nowhere_or_in_circles_are_refused(structure: str, path: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse(SMALL).offset(structure, path)


def test_types_are_found_by_name_and_kind() -> None:
    btf = parse(SMALL)
    assert btf.type_count == len(assemble().types) + 1
    assert btf.id("unsigned int", "int") == 1
    assert btf.id("inner", "struct") == 3
    assert btf.id("function", "func") == 13
    for name, kind in [("inner", "union"), ("inne", "struct"), ("innerx", "struct"), ("function", "struct"), ("a\0b", "func")]:
        with pytest.raises(KeyError):
            btf.id(name, kind)
    with pytest.raises(ValueError, match="no kind"):
        btf.id("inner", "class")


def test_enumerators_are_signed_and_may_be_wide() -> None:
    btf = parse(SMALL)
    assert [btf.enumerator(name) for name in ("ZERO", "MINUS", "BIG")] == [0, -1, 5 + (1 << 40)]
    with pytest.raises(KeyError):
        btf.enumerator("SMALL")


def test_a_header_that_has_grown_is_read_past() -> None:
    assert parse(assemble().bytes(longer_header=8)).offset("outer", "big") == 16


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "malformed"),
        (SMALL[:23], "malformed"),
        (b"\x7fELF" + SMALL, "malformed"),
        (assemble().bytes(version=2), "not understood"),
        (assemble().bytes(magic=0x9FEB), "not understood"),
    ],
)
def test_what_is_no_btf_or_another_version_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(data)


def test_a_kind_or_a_bit_that_is_newer_than_the_parser_is_refused() -> None:
    for kind, flags in [(20, 0), (31, 0), (STRUCT, 1 << 16), (STRUCT, 1 << 29)]:
        made = assemble()
        made.type("new", kind, 4, flags=flags)
        with pytest.raises(ValueError, match="not understood"):
            parse(made.bytes())


def test_one_made_without_bytes_is_empty() -> None:
    assert Btf().type_count == 0
    with pytest.raises(KeyError):
        Btf().id("task_struct", "struct")


def look_up_everything(btf: Btf) -> None:
    for structure in STRUCTURES:
        for path in PATHS:
            try:
                offset, size = btf.field(structure, path)
                assert 0 <= offset < 2**32 and 0 <= size < 2**32
            except (KeyError, ValueError):
                continue
    for kind in KINDS:
        for name in ("inner", "function", "outer"):
            try:
                assert 0 < btf.id(name, kind) < btf.type_count
            except KeyError:
                continue
    try:
        btf.enumerator("BIG")
    except KeyError:
        pass


def try_out(data: bytes) -> None:
    try:
        btf = parse(data)
    except ValueError:
        return
    look_up_everything(btf)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SMALL)), st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=8))
@example(len(SMALL), [])
def test_no_damage_to_a_small_one_is_more_than_an_error(size: int, damage: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, byte in damage:
        data[at] = byte
    try_out(bytes(data[:size]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) // 4 - 1), st.integers(0, 2**32 - 1) | st.integers(0, 40)), max_size=6))
def test_no_number_in_a_small_one_is_more_than_an_error(damage: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, number in damage:
        data[at * 4 : at * 4 + 4] = struct.pack("=I", number)
    try_out(bytes(data))


@given(st.binary(max_size=200))
def test_no_bytes_after_a_good_magic_are_more_than_an_error(tail: bytes) -> None:
    try_out(struct.pack("=HBBI", 0xEB9F, 1, 0, 24) + tail)


REAL = KERNEL.read_bytes() if KERNEL.exists() else SMALL


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 23), st.integers(0, 255))
def test_no_damage_to_the_header_of_the_kernels_is_more_than_an_error(at: int, byte: int) -> None:
    data = bytearray(REAL)
    data[at] = byte
    try_out(bytes(data))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(REAL) - 1))
def test_the_kernels_cut_off_anywhere_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse(REAL[:size])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(24, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=200))
def test_no_damage_to_the_types_of_the_kernels_is_more_than_an_error(damage: list[tuple[int, int]]) -> None:
    data = bytearray(REAL)
    for at, byte in damage:
        data[at] = byte
    try_out(bytes(data))


def test_the_kernels_own_is_read_where_there_is_one() -> None:
    if not KERNEL.exists():
        with pytest.raises(FileNotFoundError):
            load()
        return
    btf = load()
    assert btf.field("task_struct", "se.sum_exec_runtime")[1] == 8
    assert btf.field("task_struct", "pid") == (btf.offset("task_struct", "tgid") - 4, 4)
    assert btf.enumerator("MM_ANONPAGES") == 1


def test_files_that_cannot_be_read_or_are_no_btf_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        load(str(tmp_path))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="malformed"):
        load(str(tmp_path / "text"))
    (tmp_path / "small").write_bytes(SMALL)
    assert load(str(tmp_path / "small")).offset("outer", "big") == 16
