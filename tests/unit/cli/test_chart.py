from __future__ import annotations

import os
import stat
import struct
import sys

import pytest
from matplotlib.image import imread

from taskmeter.cli.chart import DOTS_PER_INCH, WIDTH_INCHES, write_chart
from taskmeter.client.status import TaskStatus
from taskmeter.errors import TaskmeterError
from taskmeter.v1 import task_pb2
from tests.unit.cli.histories import BEGIN, history


def status(name="job"):
    return TaskStatus.of(task_pb2.TaskStatus(token="tk_0123456789abcdefghijkl", name=name, start_time=BEGIN))


def test_it_is_a_png_with_something_on_it(tmp_path):
    path = tmp_path / "chart.png"
    write_chart(history(*[1.0, 2.0] * 20, None, None, 0.5), status(), str(path))
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width == round(WIDTH_INCHES * DOTS_PER_INCH)
    assert 400 < height < 2000
    picture = imread(path)
    assert picture.shape[:2] == (height, width)
    assert picture[..., :3].min() < 0.3, "ink"
    assert (picture[..., :3] == 1.0).all(axis=2).mean() > 0.3, "paper"
    assert len({tuple(pixel) for pixel in picture[::7, ::7, :3].reshape(-1, 3).tolist()}) > 6


def test_each_quantity_has_a_panel(tmp_path):
    heights = []
    for more in ({}, {"gpu_memory_bytes": 4 << 30, "gpu_utilization_percent": 50.0, "rate_count_per_second": 3.0}):
        path = tmp_path / f"{len(more)}.png"
        write_chart(history(1.0, 2.0, **more), status(), str(path))
        heights.append(imread(path).shape[0])
    assert heights[1] > heights[0] + 500


def test_what_was_there_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "chart ü 模.png"
    path.write_text("old")
    write_chart(history(1.0), status(), str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == [path.name]
    umask = os.umask(0o077)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_chart(history(1.0), status(), str(tmp_path / "link.png"))
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a $x_1$ b", "名前 模型 \u202eevil", "x" * 500, "<&>\n\t", "$\\frac{"])
def test_names_are_shown_as_they_are(tmp_path, name):
    write_chart(history(1.0), status(name), str(tmp_path / "chart.png"))


@pytest.mark.parametrize("where", ["none/chart.png", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, where):
    with pytest.raises(TaskmeterError, match=str(tmp_path)):
        write_chart(history(1.0), status(), str(tmp_path / where))
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(TaskmeterError, match="matplotlib") as caught:
        write_chart(history(1.0), status(), str(tmp_path / "chart.png"))
    assert caught.value.hint == "pip install 'taskmeter[plot]'"


def test_without_a_history_nothing_is_written(tmp_path):
    with pytest.raises(TaskmeterError, match="no history"):
        write_chart(history(), status(), str(tmp_path / "chart.png"))
    assert os.listdir(tmp_path) == []
