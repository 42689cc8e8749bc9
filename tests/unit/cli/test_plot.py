from __future__ import annotations

from itertools import pairwise, product

import pytest

from taskmeter.cli import series
from taskmeter.cli.plot import FINE, LABEL_WIDTH, PLAIN, ROWS, plot_lines
from tests.unit.cli.histories import BEGIN, history

LEFT = LABEL_WIDTH + 2


def drawn(made, width=100, pen=FINE, start_time=BEGIN):
    return [line.plain for line in plot_lines(made, start_time, width, pen)]


def panel(lines, title):
    at = next(n for n, line in enumerate(lines) if line.strip().startswith(title))
    return [line[LEFT:] for line in lines[at + 1 : at + 1 + ROWS]]


def running_times(lines):
    return next(line for above, line in pairwise(lines) if "└" in above).split()


@pytest.mark.parametrize("pen", [FINE, PLAIN])
@pytest.mark.parametrize("width", [60, 80, 133, 200])
@pytest.mark.parametrize("count", [1, 2, 57, 300, 1440])
def test_no_line_is_wider_than_the_terminal(width, count, pen):
    lines = drawn(history(*([1.5] * count)), width, pen)
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) >= width - 2


def test_full_and_idle_times_look_like_it():
    rows = panel(drawn(history(*[2.0] * 50, *[0.0] * 50), 113), "CPU")
    half = len(rows[0]) // 2
    assert set(rows[0][: half - 1]) == {"⣿"}, "2 cores reach the top of a scale to 2"
    assert rows[0][half + 1 :].strip() == ""
    assert set(rows[-1][half + 1 :]) == {"⣀"}, "0 was measured, so there is a line"


def test_a_gap_is_blank_down_to_the_axis():
    lines = drawn(history(*[1.0] * 40, *[None] * 20, *[1.0] * 40), 113)
    bottom = panel(lines, "CPU")[-1]
    assert bottom[45:55].strip() == ""
    assert bottom[:35].strip() and bottom[65:].strip()
    assert "blank: nobody looked" in lines[-1]
    assert "blank" not in drawn(history(*[1.0] * 40))[-1]


def test_the_highest_within_a_step_is_marked_above_its_mean():
    made = history(*[1.0] * 100)
    for point in made["points"]:
        point["cpuCoresMax"] = 4.0
    rows = panel(drawn(made, 113), "CPU")
    assert set(rows[0]) == {"⠉"}
    assert rows[1].strip() == ""
    assert set(rows[-1]) == {"⣿"}
    assert panel(drawn(made, 113, PLAIN), "CPU")[0].count(".") == 100


def test_only_what_there_is_has_a_panel():
    titles = [one.title for one in series.series_of(history(1.0))]
    assert titles == ["CPU", "RAM"]
    everything = history(
        1.0, gpu_memory_bytes=5, gpu_utilization_percent=0.0, rate_count_per_second=0.1, rate_size_per_second=9.0
    )
    assert [one.title for one in series.series_of(everything)] == ["CPU", "RAM", "GPU", "GPU RAM", "Items", "Bytes"]


def test_what_was_not_measured_is_not_drawn_as_0():
    made = history(*[1.0] * 100, gpu_utilization_percent=50.0)
    for point in made["points"][:50]:
        point["gpuUtilizationPercent"] = None
    bottom = panel(drawn(made, 113), "GPU")[-1]
    assert bottom[:49].strip() == "" and bottom[51:].strip()


def test_in_ascii_there_is_only_ascii():
    for line in drawn(history(*[1.0, 0.3, None, 2.0] * 10), 80, PLAIN):
        assert line.replace("·", "").isascii(), line


@pytest.mark.parametrize(
    ("highest", "top"), [(0.0, 0.1), (0.04, 0.1), (0.7, 0.8), (1.0, 1.0), (3.2, 4.0), (17.0, 20.0), (250.0, 300.0)]
)
def test_scales_end_at_round_numbers(highest, top):
    assert series.series_of(history(highest))[0].top == pytest.approx(top)


def test_scales_of_bytes_end_at_round_binary_numbers():
    made = history(1.0, memory_bytes=700 << 20, memory_bytes_max=700 << 20)
    assert series.series_of(made)[1].top == 768 << 20


def test_labels_of_running_time_do_not_touch_and_begin_at_the_start():
    for width, count in product((60, 200), (3, 40, 1000)):
        labels = running_times(drawn(history(*[1.0] * count, step=60.0), width))
        assert labels[0] == "0:00"
        assert len(labels) > 1


def test_a_history_that_begins_late_shows_how_late():
    labels = running_times(drawn(history(*[1.0] * 60, step=7200.0), start_time=BEGIN - 30 * 86400.0))
    assert labels[0] != "0:00"
    assert int(labels[0].split(":")[0]) >= 720


def test_a_span_of_years_has_ticks_too():
    assert 2 <= 3e8 / series.tick_seconds(3e8, 8) <= 8
