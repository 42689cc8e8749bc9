"""What the benchmarks found becomes a report: parts are put together, targets judged, nothing measured is hidden."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from bench import plot, profile, report, result
from bench.result import Column, Plot, Result


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(result, "DIRECTORY", tmp_path)
    return tmp_path


def made(part: str, ours: list[float], theirs: list[float]) -> Result:
    return Result(
        f"calls-{part}",
        "How many calls?",
        ["In turns."],
        ["transport", "in_flight"],
        [Column("per_second", "calls/s", better="more"), Column("cpu_us", "CPU, µs", ".1f", better="less")],
        "ours",
        [Plot("per_second", "Calls per second", "in_flight", "transport")],
        cells=[
            {"transport": part, "in_flight": 50, "side": "ours", "per_second": ours, "cpu_us": [2.0]},
            {"transport": part, "in_flight": 50, "side": "theirs", "per_second": theirs},
        ],
        missing={"floor": f"{part}: not installed"},
        seed=7,
    )


def test_parts_of_one_question_are_one_section(directory: Path) -> None:
    last = made("1000", [30.0], [10.0])
    last.about.append("Once more.")
    last.save()
    made("10", [20.0], [10.0]).save()
    [whole] = report.families(directory)
    assert [cell["transport"] for cell in whole.cells] == ["10", "10", "1000", "1000"]
    assert whole.missing == {"floor": "10: not installed, 1000: not installed"}
    assert whole.about == ["In turns.", "Once more."]
    assert whole.environment["commit"]


def test_a_table_shows_median_range_and_how_many_times_ours_is_better(directory: Path) -> None:
    text = report.markdown_of(made("unix", [20.0, 30.0, 40.0], [10.0, 15.0, 20.0]))
    assert "### unix, 50 in flight" in text
    assert "| ours | 30 (20–40) | – | 2.0 | – |" in text
    assert "| theirs | 15 (10–20) | 2.00 | – | – |" in text
    assert "floor (unix: not installed)" in text
    assert "seed 7" in text


def test_a_target_is_held_against_the_median_and_a_quick_run_is_not_judged() -> None:
    found = made("unix", [20.0], [10.0])
    values = [1.0, 1.4, 1.5]
    assert found.judge("at least 1.35", values, least=1.35).met is True
    assert found.judge("at most 1.35", values, most=1.35).met is False
    assert f"{statistics.median(values):.2f} (1.00 to 1.50, n=3)" == found.verdicts[0].measured
    assert found.judge("at least 1", [], least=1).met is None
    found.quick = True
    assert found.judge("at most 1.35", values, most=1.35).met is None


def test_ratios_are_those_of_the_same_round() -> None:
    assert result.ratios([2.0, 8.0], [1.0, 2.0]) == [2.0, 4.0]


def test_the_page_has_its_plots_inside_and_what_other_benchmarks_printed(directory: Path) -> None:
    made("unix", [20.0, 21.0], [10.0, 11.0]).save()
    (directory / "help.md").write_text("# How long does help take?\n\n| | ms |\n| --- | --- |\n| help | 46 |\n")
    _, html = report.write(directory)
    text = html.read_text()
    assert text.count("<svg") == plot.available()
    assert "<img" not in text
    assert "<h2>How long does help take?</h2>" in text
    assert "<td>46</td>" in text


def test_quick_results_lie_apart(directory: Path) -> None:
    found = made("unix", [1.0], [1.0])
    found.quick = True
    assert found.save().parent == directory / "quick"
    assert report.families(directory) == []


def test_a_profile_divides_the_time_of_each_thread_over_where_it_was_at_work() -> None:
    stacks = (
        "thread (7): MainThread;run (app.py:3);write (libc.so.6) 3\n"
        "thread (7): MainThread;run (app.py:9);0x7f12 (pkg/cygrpc.cpython-311.so) 1\n"
        "thread (7): MainThread;run (app.py:9);epoll_wait (libc.so.6) 50\n"
        "thread (8): writer;run (app.py:3);Store.put (store.py:1) 5\n"
    )
    assert profile.attributed(stacks, {7: 800, 8: 100, 9: 100}, {7: "python", 8: "python", 9: "poller"}) == [
        ("MainThread → run (app.py) → write", 0.6),
        ("MainThread → run (app.py) → cygrpc", 0.2),
        ("writer → Store.put (store.py)", 0.1),
        ("poller → native code", 0.1),
    ]
