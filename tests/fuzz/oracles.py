"""The parsers once more, in plain Python, for comparison: None where a text is to be refused.

They follow the manual pages, not the native code: proc(5), the kernel's cgroup-v2.rst and cgroup-v1/memory.rst, and the
comments of native/metercore/_c/*.h.
"""

from __future__ import annotations

import math
import re
import struct
import zlib

NUMBER = re.compile(rb"[ \t]*(-?)([0-9]+)")
UINT64 = 2**64
INT32 = 2**31
KIB = 1024


def number_at(text: bytes, at: int) -> tuple[int, int] | None:
    """The number behind blanks and where it ends; a negative one is 0, as the kernel prints -1 for "none"."""
    match = NUMBER.match(text, at)
    if match is None or len(match[2].lstrip(b"0")) > 20 or int(match[2]) >= UINT64:
        return None
    return 0 if match[1] else int(match[2]), match.end()


def numbers_at(text: bytes, at: int, count: int) -> list[int] | None:
    """So many numbers in a row."""
    found = []
    for _ in range(count):
        one = number_at(text, at)
        if one is None:
            return None
        found.append(one[0])
        at = one[1]
    return found


def field(text: bytes, name: bytes, unit: int = 1) -> int | None:
    """The number behind `name` at the start of a line, times `unit`."""
    for line in text.split(b"\n"):
        if line.startswith(name):
            one = number_at(line, len(name))
            return None if one is None or one[0] * unit >= UINT64 else one[0] * unit
    return None


def stat(text: bytes) -> tuple[int, int, str, int, int, int, int, int] | None:
    at = text.rfind(b")")
    pid = number_at(text, 0)
    if at < 0 or pid is None or len(text) <= at + 3 or text[at + 1 : at + 2] != b" ":
        return None
    numbers = numbers_at(text, at + 3, 21)
    if numbers is None:
        return None
    _of = dict(zip(range(4, 25), numbers, strict=True))
    if max(pid[0], _of[4], _of[20]) >= INT32 or max(_of[14] + _of[15], _of[16] + _of[17]) >= UINT64:
        return None
    return pid[0], _of[4], chr(text[at + 2]), _of[14] + _of[15], _of[16] + _of[17], _of[20], _of[22], _of[24]


def statm(text: bytes) -> tuple[int, int] | None:
    numbers = numbers_at(text, 0, 3)
    return None if numbers is None else (numbers[1], numbers[2])


def status(text: bytes) -> tuple[int, int, int, int] | None:
    lines = text.split(b"\n")
    first = next((n for n, line in enumerate(lines) if line.startswith(b"RssAnon:")), None)
    if first is None:
        return None
    rest = b"\n".join(lines[first:])
    return memory(rest, b"RssAnon:", b"RssFile:", b"RssShmem:", b"VmSwap:")


def rollup(text: bytes) -> tuple[int, int, int, int] | None:
    return memory(text, b"Pss_Anon:", b"Pss_File:", b"Pss_Shmem:", b"SwapPss:")


def memory(text: bytes, anonymous: bytes, file: bytes, shared: bytes, swap: bytes) -> tuple[int, int, int, int] | None:
    """Three that must be there, and swap, which a kernel without it does not print."""
    one, two, three = (field(text, name, KIB) for name in (anonymous, file, shared))
    if one is None or two is None or three is None:
        return None
    return one, two, three, field(text, swap, KIB) or 0


def io(text: bytes) -> tuple[int, int] | None:
    read, written = field(text, b"read_bytes:"), field(text, b"write_bytes:")
    return None if read is None or written is None else (read, written)


def cpu_stat(text: bytes) -> int | None:
    return field(text, b"usage_usec ", 1000)


def memory_stat_v1(text: bytes) -> int | None:
    held = field(text, b"total_rss ")
    if held is None:
        return None
    held += (field(text, b"total_shmem ") or 0) + (field(text, b"total_swap ") or 0)
    return held if held < UINT64 else None


def memory_stat_v2(text: bytes) -> int | None:
    anonymous, shared = field(text, b"anon "), field(text, b"shmem ")
    return None if anonymous is None or shared is None or anonymous + shared >= UINT64 else anonymous + shared


def cpu_max(text: bytes) -> float | None:
    numbers = numbers_at(text, 0, 2)
    return None if numbers is None or 0 in numbers else numbers[0] / numbers[1]


def io_stat(text: bytes) -> tuple[int, int]:
    sums = {b"rbytes=": 0, b"wbytes=": 0}
    for word in re.finditer(rb"(?:^|(?<= ))(rbytes=|wbytes=)", text):
        one = number_at(text, word.end())
        sums[word[1]] += 0 if one is None else one[0]
    return sums[b"rbytes="], sums[b"wbytes="]


def ids(text: bytes) -> list[int]:
    words = re.findall(rb"([0-9]+)[^0-9]", text)  # the kernel ends each with a newline
    return [int(word) for word in words if len(word.lstrip(b"0")) < 20 and 0 < int(word) < INT32]


METER = struct.Struct("<QII40sQQqQQQQQdQQQQQQQQQQQdQQIII12sI")
"""struct tm_meter without its CRC."""


def meter(page: bytes) -> dict[str, object] | None:
    """The valid slot with the higher serial."""
    newest: tuple[object, ...] | None = None
    for at in (0, 2048):
        slot = page[at : at + METER.size + 4]
        if len(slot) < METER.size + 4 or zlib.crc32(slot[:-4]) != int.from_bytes(slot[-4:], "little"):
            continue
        values = METER.unpack(slot[:-4])
        if values[:2] == (0x20524554454D4D54, 2) and (newest is None or values[2] > newest[2]):
            newest = values
    if newest is None:
        return None
    names = "magic version serial boot_id first_monotonic_ns last_monotonic_ns last_realtime_ns cpu_ns low high memory_bytes"
    names += " peak_memory_bytes peak_cpu_cores io_read_bytes io_write_bytes voluntary_switch_count involuntary_switch_count"
    names += (
        " minor_fault_count major_fault_count gpu_low gpu_high gpu_memory_bytes peak_gpu_memory_bytes gpu_ns peak_gpu_percent"
    )
    names += " gpu_monotonic_ns sample_count cpu_source memory_source had_gap"
    found: dict[str, object] = dict(zip(names.split(), newest, strict=False))
    return found


HISTORY_POINT = struct.Struct("<IBBxx9f")
"""struct tm_history_point without its CRC."""


def history(file: bytes) -> list[tuple[float, float, bool]]:
    """(start, mean cores, gap) of the seconds in a history: the ring of 300 behind a head of 64 bytes."""
    head = file[:64]
    if len(head) < 64 or head[:12] != b"TMHIST \0\1\0\0\0" or zlib.crc32(head[16:]) != int.from_bytes(head[12:16], "little"):
        return []
    created = int.from_bytes(head[16:24], "little", signed=True) * 1e-9
    century = 100 * 365 * 86400.0
    found: dict[int, tuple[float, float, bool]] = {}
    for place in range(300):
        point = file[64 + place * 48 : 112 + place * 48].ljust(48, b"\0")
        index, tier, flags, covered, *values = HISTORY_POINT.unpack(point[:44])
        cores, cores_max, memory, memory_max, gpu_memory, gpu_use, *rates = values
        amounts = [*((value, 1e9) for value in (cores, cores_max)), *((value, 1e18) for value in (memory, memory_max))]
        amounts += [(value, most) for value, most in ((gpu_memory, 1e18), (gpu_use, 1e9)) if not math.isnan(value)]
        amounts += [(value, 1e30) for value in rates]
        whole = zlib.crc32(point[:44]) == int.from_bytes(point[44:], "little") and tier == 0 and index % 300 == place
        if whole and index <= century and 0.0 < covered <= 1.01 and all(0.0 <= value <= most for value, most in amounts):
            found[index] = (created + index, cores, bool(flags & 1))
    if not 0.0 <= created <= century or not found:
        return []
    return [found[index] for index in sorted(found) if index > max(found) - 300]


REPORT = 4096


def report(page: bytes) -> tuple[int, ...] | None:
    """The six counters, each clamped to what two of them may be added from without overflow."""
    if len(page) < REPORT or page[:12] != b"TMREPORT\1\0\0\0":
        return None
    counters = (int.from_bytes(page[at : at + 8], "little", signed=True) for at in range(128, 896, 128))
    return tuple(min(max(counter, 0), 2**62 - 1) for counter in counters)
