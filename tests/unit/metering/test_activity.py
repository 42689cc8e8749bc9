"""Signs of work: what counts as one, and that a restart neither forgives nor forgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from taskmeter.metering.activity import Activity, Signs

SIGNS = Signs(cpu_ns=1000, io_bytes=0, output_bytes=0, report=0)
S = 1_000_000_000


class Clock:
    """CLOCK_BOOTTIME, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 1000 * S
        monkeypatch.setattr("time.clock_gettime_ns", lambda _: self.ns)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def idle(watch: Activity, directory: Path, clock: Clock, after_seconds: float, signs: Signs, age: float = 0.0) -> float:
    clock.ns += int(after_seconds * S)
    return watch.idle_seconds(str(directory), signs, age)


def test_idle_time_grows_until_a_sign_of_any_kind(tmp_path: Path, clock: Clock) -> None:
    watch = Activity()
    assert idle(watch, tmp_path, clock, 0, SIGNS) == 0
    assert idle(watch, tmp_path, clock, 5, SIGNS) == 5
    signs = SIGNS
    for name, growth in (("cpu_ns", 5_100_000), ("io_bytes", 1), ("output_bytes", 1), ("report", 7)):
        signs = replace(signs, **{name: getattr(signs, name) + growth})
        assert idle(watch, tmp_path, clock, 5, signs) == 0, name
        assert idle(watch, tmp_path, clock, 5, signs) == 5, name


def test_less_than_a_thousandth_of_a_core_is_no_sign(tmp_path: Path, clock: Clock) -> None:
    watch = Activity()
    idle(watch, tmp_path, clock, 0, SIGNS)
    assert idle(watch, tmp_path, clock, 10, replace(SIGNS, cpu_ns=1000 + 9_000_000)) == 10


def test_what_was_not_seen_yet_does_not_count_as_idle(tmp_path: Path, clock: Clock) -> None:
    watch = Activity()
    idle(watch, tmp_path, clock, 0, SIGNS)
    assert idle(watch, tmp_path, clock, 30, SIGNS, age=29) == 1, "a daemon that was stopped for 30 s looks before it expires"


def test_a_restart_neither_forgives_nor_forgets(tmp_path: Path, clock: Clock) -> None:
    idle(Activity(), tmp_path, clock, 0, SIGNS)
    assert idle(Activity(), tmp_path, clock, 7, SIGNS) == 7
    assert idle(Activity(), tmp_path, clock, 1, replace(SIGNS, output_bytes=1)) == 0, "it worked while nobody looked"


def test_a_meter_that_finds_its_way_back_after_a_restart_is_no_sign(tmp_path: Path, clock: Clock) -> None:
    known = replace(SIGNS, cpu_ns=9_000_000, io_bytes=50)
    idle(Activity(), tmp_path, clock, 0, known)
    watch = Activity()
    assert idle(watch, tmp_path, clock, 2, replace(SIGNS, cpu_ns=0, io_bytes=0)) == 2
    assert idle(watch, tmp_path, clock, 1, known) == 3


def test_a_torn_record_begins_anew(tmp_path: Path, clock: Clock) -> None:
    idle(Activity(), tmp_path, clock, 0, SIGNS)
    path = tmp_path / "idle"
    data = bytearray(path.read_bytes())
    data[12] ^= 1
    path.write_bytes(data)
    assert idle(Activity(), tmp_path, clock, 7, SIGNS) == 0
