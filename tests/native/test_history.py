"""The history's rings: against a plain model, over restarts, clocks that jump, gaps, and files that are not what they were."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metercore.history import History
from metercore.historyfile import TIERS, HistoryPoint, read_history

SECOND = 10**9
MIB = 2**20
START = 1_700_000_000
HEAD_BYTES, POINT_BYTES = 64, 48
POINT = struct.Struct("<IBBxx9f")
"""struct tm_history_point of native/metercore/_c/history.h up to its CRC."""
FIRST = {seconds: sum(count for _, count in TIERS[:n]) for n, (seconds, _) in enumerate(TIERS)}


class Recorder:
    """A history on clocks of its own; one core busy and 100 MiB held unless told otherwise."""

    def __init__(self, directory: str | Path, *, real_ns: int = START * SECOND) -> None:
        self.directory = directory
        self.history = History(directory)
        self.real_ns, self.mono_ns, self.cpu_ns = real_ns, 7 * SECOND, 0
        self.add()

    def add(self, seconds: float = 0.0, *, cores: float = 1.0, memory: int = 100 * MIB, **more: Any) -> None:
        span = round(seconds * SECOND)
        self.real_ns += span
        self.mono_ns += span
        self.cpu_ns += round(cores * span)
        self.history.add(self.real_ns, self.mono_ns, self.cpu_ns, memory, **more)

    def run(self, seconds: int, **more: Any) -> None:
        for _ in range(seconds):
            self.add(1.0, **more)

    def restart(self, down: float = 0.0, *, flush: bool = True) -> None:
        """The daemon goes, and comes back after `down` seconds; without `flush` it was killed."""
        if flush:
            self.history.flush()
        self.history = History(self.directory)
        self.add(down)

    def read(self, **more: float) -> tuple[float, list[HistoryPoint]]:
        return self.history.read(**more)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def path_of(recorder: Recorder) -> Path:
    return Path(recorder.directory) / "history"


def offset_of(seconds: int, index: int) -> int:
    return HEAD_BYTES + POINT_BYTES * (FIRST[seconds] + index % dict(TIERS)[seconds])


def starts(points: list[HistoryPoint]) -> list[float]:
    return [point.time - START for point in points]


# ------------------------------------------------------------------------------------------------------------- values


def test_each_second_has_its_mean_and_its_highest(recorder: Recorder) -> None:
    recorder.history.note(3.5, 300 * MIB)
    recorder.add(1.0, cores=1.25)
    recorder.add(1.0, cores=0.0, memory=50 * MIB, rate_count_per_second=12.5, rate_size_per_second=1e6)
    seconds, (first, second) = recorder.read()
    assert seconds == 1.0
    assert first == HistoryPoint(START, 1.0, 1.25, 3.5, 100 * MIB, 300 * MIB, None, None, 0.0, 0.0, False)
    assert second == HistoryPoint(START + 1, 1.0, 0.0, 0.0, 75 * MIB, 100 * MIB, None, None, 12.5, 1e6, False)


def test_a_sample_that_spans_seconds_is_spread_over_them(recorder: Recorder) -> None:
    recorder.add(0.75, cores=2.0)
    recorder.add(1.0, cores=1.0)
    _, points = recorder.read()
    assert [(point.time - START, point.covered_seconds) for point in points] == [(0.0, 1.0), (1.0, 0.75)]
    assert points[0].cpu_cores == pytest.approx(0.75 * 2.0 + 0.25 * 1.0)
    assert points[1].cpu_cores == pytest.approx(1.0)


def test_gpu_values_are_absent_where_they_were_not_measured_and_never_zero_for_that(recorder: Recorder) -> None:
    recorder.run(10, gpu_memory_bytes=4 * 2**30)
    recorder.run(5, gpu_memory_bytes=4 * 2**30, gpu_utilization_percent=80.0)
    recorder.run(5, gpu_utilization_percent=40.0)
    seconds, (first, second) = recorder.read(resolution_seconds=10)
    assert seconds == 10.0
    assert (first.gpu_memory_bytes, first.gpu_utilization_percent) == (4 * 2**30, None)
    assert second.gpu_memory_bytes == 4 * 2**30
    assert second.gpu_utilization_percent == pytest.approx(60.0)


def test_more_cores_than_the_machine_has_are_noise(recorder: Recorder) -> None:
    recorder.add(1.0, cores=50.0, most_cores=8.0)
    assert recorder.read()[1][0].cpu_cores == 8.0


def test_a_total_that_falls_is_no_use(recorder: Recorder) -> None:
    recorder.run(2, cores=1.0)
    recorder.cpu_ns = 0
    recorder.add(1.0, cores=0.0)
    recorder.add(1.0, cores=0.5)
    assert [point.cpu_cores for point in recorder.read()[1]] == [1.0, 1.0, 0.0, 0.5]


@pytest.mark.parametrize(("seconds", "count"), TIERS[:4])
def test_a_ring_keeps_the_newest_and_the_next_one_the_rest(recorder: Recorder, seconds: int, count: int) -> None:
    length = seconds * count + 7 * seconds
    for second in range(length):
        recorder.add(1.0, cores=float(second // seconds % 7))
    step, points = recorder.read(resolution_seconds=seconds)
    assert step == seconds
    assert starts(points) == [index * seconds for index in range(7, count + 7)]
    assert [point.cpu_cores for point in points] == pytest.approx([index % 7 for index in range(7, count + 7)], abs=1e-4)
    coarser = dict(zip([s for s, _ in TIERS], [s for s, _ in TIERS][1:], strict=False))[seconds]
    step, points = recorder.read()
    assert step == coarser, "the finest ring that reaches back to the beginning"
    assert starts(points) == [index * coarser for index in range(-(-length // coarser))]
    assert sum(point.covered_seconds for point in points) == pytest.approx(length, rel=1e-4)


Step = tuple[str, float, float, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add"] * 12 + ["gap", "restart", "idle"]),
        st.floats(0.001, 20.0).map(lambda value: round(value, 3)),
        st.floats(0.0, 64.0),
        st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=120,
)


class Model:
    """What a history is, said slowly: every second's samples in full, grouped when asked."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, float, float, float]] = []
        """(from, to, cores, mean memory) of each interval."""
        self.holes: list[tuple[float, float]] = []

    def steps(self, seconds: int) -> dict[int, tuple[float, float, float, bool]]:
        """Return index → (covered, cores, memory, gap)."""
        sums: dict[int, list[float]] = {}
        for begin, end, cores, memory in self.parts:
            for index in range(int(begin // seconds), int(end // seconds) + 1):
                span = min(end, (index + 1) * seconds) - max(begin, index * seconds)
                if span > 1e-9:
                    entry = sums.setdefault(index, [0.0, 0.0, 0.0])
                    entry[0] += span
                    entry[1] += span * cores
                    entry[2] += span * memory
        touched = {int(edge // seconds) for hole in self.holes for edge in hole}
        return {i: (s[0], s[1] / s[0], s[2] / s[0], i in touched) for i, s in sums.items()}


@settings(deadline=None)
@given(script=steps)
def test_any_samples_give_what_the_model_gives(script: list[Step]) -> None:
    directory = tempfile.mkdtemp()
    recorder, model = Recorder(directory), Model()
    now, before = 0.0, 100 * MIB
    try:
        for verb, seconds, cores, memory in script:
            span = seconds * 100 if verb in {"gap", "restart"} else seconds
            if verb == "restart":
                recorder.history.flush()
                if not path_of(recorder).exists():
                    continue  # there is nothing to go on from yet
            if verb in {"gap", "restart"}:
                model.holes.append((now, now + span))
            else:
                used, held = (0.0, before) if verb == "idle" else (cores, memory)
                model.parts.append((now, now + span, used, (before + held) / 2))
            if verb == "gap":
                recorder.add(span, cores=cores, memory=memory, gap=True)
            elif verb == "restart":
                recorder.history = History(directory)
                recorder.add(span, cores=cores, memory=memory)
            elif verb == "idle":
                recorder.add(span, cores=0.0, memory=before)
            else:
                recorder.add(span, cores=cores, memory=memory)
            if verb != "idle":
                before = memory
            now += span
        recorder.history.flush()
        for seconds, count in TIERS:
            wanted = model.steps(seconds)
            step, points = recorder.read(resolution_seconds=seconds)
            assert wanted == {} or step == seconds
            if path_of(recorder).exists():
                assert read_history(directory, resolution_seconds=seconds) == (step, points)
            got = {round((point.time - START) / seconds): point for point in points}
            # A millisecond may be lost to the precision of a step that was going on when the daemon restarted.
            sure = {index for index, values in wanted.items() if values[0] > 1e-5}
            newest = max(got, default=0)
            assert got.keys() <= wanted.keys()
            assert got.keys() >= {index for index in sure if index > newest - count}
            for index, point in got.items():
                covered, mean_cores, mean_memory, gap = wanted[index]
                assert point.covered_seconds == pytest.approx(covered, rel=1e-4, abs=1e-5)
                if covered > 1e-3:
                    assert point.cpu_cores == pytest.approx(mean_cores, rel=2e-3, abs=1e-3)
                    assert point.memory_bytes == pytest.approx(mean_memory, rel=2e-3, abs=2)
                    assert point.gap == gap
                assert point.cpu_cores_max >= point.cpu_cores * (1 - 1e-6)
                assert point.memory_bytes_max >= point.memory_bytes * (1 - 1e-6)
    finally:
        shutil.rmtree(directory)


# -------------------------------------------------------------------------------------------------------------- clocks


def test_a_gap_has_no_points_and_its_edges_say_so(recorder: Recorder) -> None:
    recorder.run(20)
    recorder.add(0.5)
    recorder.add(100.0, gap=True)
    recorder.run(20)
    _, points = recorder.read()
    assert starts(points) == [*range(21), *range(120, 141)]
    assert [point.time - START for point in points if point.gap] == [20.0, 120.0]
    assert all(point.cpu_cores == pytest.approx(1.0) for point in points), "what ran unseen is in no point"


def test_a_machine_that_slept_leaves_a_gap(recorder: Recorder) -> None:
    recorder.run(30)
    recorder.real_ns += 200 * SECOND  # CLOCK_MONOTONIC stands still meanwhile
    recorder.run(30)
    _, points = recorder.read()
    assert starts(points) == [*range(30), *range(231, 260)]
    assert all(point.cpu_cores == 1.0 for point in points)
    assert any(point.gap for point in recorder.read(resolution_seconds=10)[1])


def test_times_ascend_when_the_wall_clock_is_set_back(recorder: Recorder) -> None:
    recorder.run(15)
    recorder.real_ns -= 7200 * SECOND
    recorder.run(15)
    _, points = recorder.read()
    assert starts(points) == list(range(30))
    assert not any(point.gap for point in points)
    recorder.restart(5.0)
    recorder.run(3)
    again = recorder.read()[1]
    assert starts(again) == sorted(starts(again)) and again[:29] == points[:29]
    assert starts(again)[-1] >= 32


def test_no_sample_for_five_minutes_is_a_gap_whatever_the_caller_says(recorder: Recorder) -> None:
    recorder.run(5)
    recorder.add(301.0)
    recorder.run(5)
    assert starts(recorder.read()[1]) == [0.0, 300.0, 310.0]


def test_clocks_at_their_ends_do_no_harm(tmp_path: Path) -> None:
    history = History(tmp_path)
    for real, mono in ((0, 0), (2**63 - 1, 2**63), (-(2**63), 1), (START * SECOND, 2**64 - 1), (1, 1)):
        history.add(real, mono, 2**64 - 1, 2**64 - 1, gpu_memory_bytes=2**63, rate_size_per_second=1e308)
        history.flush()
    assert isinstance(history.read()[1], list)


# ------------------------------------------------------------------------------------------------------------- restart


@pytest.mark.parametrize("age", [1, 9, 10, 25, 299, 905, 4000, 7205])
def test_it_goes_on_after_a_restart_as_if_there_had_been_none_but_for_the_gap(tmp_path: Path, age: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    through, restarted = Recorder(tmp_path / "a"), Recorder(tmp_path / "b")
    for recorder in (through, restarted):
        recorder.run(age, cores=0.5)
    restarted.restart()
    for recorder in (through, restarted):
        recorder.run(8000, cores=2.0)
    for seconds, _ in TIERS:
        expected, got = (r.read(resolution_seconds=seconds) for r in (through, restarted))
        assert starts(got[1]) == starts(expected[1])
        for one, other in zip(got[1], expected[1], strict=True):
            assert (one.covered_seconds, one.cpu_cores) == pytest.approx((other.covered_seconds, other.cpu_cores), rel=1e-4)


def test_a_killed_daemon_loses_the_last_seconds_and_nothing_else(recorder: Recorder) -> None:
    recorder.run(37, cores=2.0)
    recorder.restart(10.0, flush=False)
    recorder.run(100, cores=0.5)
    for directory in (recorder.read(resolution_seconds=1), recorder.read(resolution_seconds=10)):
        step, points = directory
        assert [p.time - START for p in points if p.cpu_cores == 2.0] == list(range(0, 30, int(step)))
        assert next(p.time - START for p in points if p.cpu_cores == 0.5) in (47.0, 40.0)
        assert next(p for p in points if p.time - START >= 40).gap


def test_a_lost_file_begins_anew_and_a_lost_directory_harms_no_one(recorder: Recorder) -> None:
    recorder.run(15)
    path_of(recorder).unlink()
    recorder.run(15)
    assert starts(read_history(recorder.directory)[1]) == list(range(10, 30)), "what was not written yet"
    shutil.rmtree(recorder.directory)
    recorder.run(15)
    recorder.history.flush()
    assert read_history(recorder.directory) == (0.0, [])


# ---------------------------------------------------------------------------------------------------------------- file


def test_an_attempt_of_under_a_second_has_no_file(recorder: Recorder) -> None:
    recorder.add(0.9)
    recorder.history.flush()
    assert not path_of(recorder).exists()
    assert read_history(recorder.directory) == (0.0, [])
    recorder.add(0.1)
    recorder.history.flush()
    assert starts(read_history(recorder.directory)[1]) == [0.0]


def test_the_file_grows_with_age_and_stays_below_128_kb(recorder: Recorder) -> None:
    def used() -> tuple[int, int]:
        recorder.history.flush()
        facts = path_of(recorder).stat()
        return facts.st_size, facts.st_blocks * 512

    recorder.run(60)
    assert used()[1] <= 16384
    recorder.run(3540)
    assert used()[1] <= 65536
    recorder.run(3 * 86400)
    size, blocks = used()
    assert size <= 128_000 and blocks <= 131_072
    for _ in range(265):  # the coarsest ring wraps
        recorder.add(7200.0, gap=True)
        recorder.add(1.0)
    assert used()[0] <= 128_000


def test_it_is_written_once_in_ten_seconds(recorder: Recorder, tmp_path: Path) -> None:
    written = []
    for _ in range(100):
        recorder.add(1.0)
        facts = path_of(recorder).stat() if path_of(recorder).exists() else None
        written.append(facts and facts.st_mtime_ns)
    assert len(set(written)) == 11


def test_a_torn_point_is_missing_and_its_neighbours_are_not(recorder: Recorder) -> None:
    recorder.run(40)
    recorder.history.flush()
    with path_of(recorder).open("r+b") as file:
        file.seek(offset_of(1, 20) + 12)
        file.write(b"\xff\xff\xff\x7f\x00")
    assert starts(read_history(recorder.directory)[1]) == [*range(20), *range(21, 40)]
    assert starts(read_history(recorder.directory, resolution_seconds=10)[1]) == [0, 10, 20, 30], "these have their own"


@pytest.mark.parametrize(
    "field",
    [
        {"index": 2**32 - 1},
        {"tier": 1},
        {"covered": float("nan")},
        {"covered": -1.0},
        {"covered": 900.0},
        {"cores": float("inf")},
        {"cores": -0.5},
        {"memory": 1e30},
        {"gpu": -1.0},
        {"rate": float("nan")},
    ],
)
def test_a_point_with_a_good_checksum_and_impossible_values_is_missing(recorder: Recorder, field: dict[str, float]) -> None:
    recorder.run(20)
    recorder.history.flush()
    values = {"index": 5, "tier": 0, "covered": 1.0, "cores": 1.0, "memory": 1.0, "gpu": float("nan"), "rate": 0.0, **field}
    body = POINT.pack(
        int(values["index"]), int(values["tier"]), 0, values["covered"], values["cores"], values["cores"],
        values["memory"], values["memory"], values["gpu"], values["gpu"], values["rate"], values["rate"],
    )  # fmt: skip
    with path_of(recorder).open("r+b") as file:
        file.seek(offset_of(1, 5))
        file.write(body + struct.pack("<I", zlib.crc32(body)))
    assert starts(read_history(recorder.directory)[1]) == [*range(5), *range(6, 20)]


@pytest.mark.parametrize("damage", ["cut", "noise", "zeros", "head", "empty"])
@pytest.mark.parametrize("seed", range(5))
def test_no_damage_to_the_file_gives_a_wrong_point_or_worse(tmp_path: Path, damage: str, seed: int) -> None:
    chance = random.Random(seed)
    recorder = Recorder(tmp_path)
    recorder.run(chance.randint(1, 4000), cores=0.75)
    recorder.history.flush()
    data = bytearray(path_of(recorder).read_bytes())
    if damage == "cut":
        del data[chance.randrange(len(data)) :]
    elif damage == "noise":
        for _ in range(50):
            at = chance.randrange(64, len(data))
            data[at : at + 40] = chance.randbytes(min(40, len(data) - at))
    elif damage == "zeros":
        at = chance.randrange(64, len(data))
        data[at:] = bytes(len(data) - at)
    elif damage == "head":
        data[chance.choice([0, 8, 12, 16, 40])] ^= 0x55
    else:
        data.clear()
    path_of(recorder).write_bytes(data)
    for seconds, _ in TIERS:
        for point in read_history(tmp_path, resolution_seconds=seconds)[1]:
            assert point.cpu_cores == 0.75
    recorder.restart(1.0)
    recorder.run(30, cores=0.75)
    assert all(point.cpu_cores == pytest.approx(0.75) for point in recorder.read(resolution_seconds=1)[1])


def test_what_is_no_regular_file_is_no_history(tmp_path: Path) -> None:
    for name, make in {
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "link": lambda path: os.symlink("/dev/zero", path),
    }.items():
        directory = tmp_path / name
        directory.mkdir()
        make(directory / "history")
        recorder = Recorder(directory)
        recorder.run(12)
        recorder.history.flush()
        assert read_history(directory) == (0.0, []), name
    assert read_history(tmp_path / "missing") == (0.0, [])
    assert read_history("/dev/null/x") == (0.0, [])


# --------------------------------------------------------------------------------------------------------------- range


def test_a_range_is_cut_to_the_steps_that_touch_it(recorder: Recorder) -> None:
    recorder.run(60)
    assert starts(recorder.read(from_time=START + 10.5, to_time=START + 13.0)[1]) == [10.0, 11.0, 12.0]
    assert recorder.read(from_time=START + 1000)[1] == []
    assert recorder.read(to_time=START - 1)[1] == []
    seconds, points = recorder.read(from_time=START + 25, resolution_seconds=10)
    assert (seconds, starts(points)) == (10.0, [20.0, 30.0, 40.0, 50.0])


@pytest.mark.parametrize(
    ("wanted", "given"), [(0.5, 1), (1, 1), (2, 10), (10, 10), (59, 60), (61, 900), (901, 7200), (1e9, 7200)]
)
def test_the_resolution_is_the_wanted_one_or_the_next_coarser_that_is_kept(recorder: Recorder, wanted: float, given: int) -> None:
    recorder.run(20)
    assert recorder.read(resolution_seconds=wanted)[0] == given


def test_without_a_wish_it_is_the_finest_that_reaches_back_to_the_time_asked_for(recorder: Recorder) -> None:
    recorder.run(2 * 3600)
    assert recorder.read()[0] == 60.0
    assert recorder.read(from_time=START + 7200 - 3000)[0] == 10.0
    assert recorder.read(from_time=START + 7200 - 200)[0] == 1.0


@pytest.mark.parametrize(
    "bad",
    [{"from_time": -1.0}, {"to_time": float("nan")}, {"resolution_seconds": float("inf")}, {"from_time": 2.0, "to_time": 1.0}],
)
def test_a_range_that_is_none_is_refused(recorder: Recorder, bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="time"):
        recorder.read(**bad)
    with pytest.raises(ValueError, match="time"):
        read_history(recorder.directory, **bad)


def test_a_live_history_shows_what_is_not_written_yet(recorder: Recorder) -> None:
    recorder.run(13)
    recorder.add(0.25)
    assert starts(recorder.read()[1]) == list(range(14))
    assert starts(read_history(recorder.directory)[1]) == list(range(10))
