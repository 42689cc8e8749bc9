"""One line makes bars of tqdm and rich into progress, and warnings of logging into messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.work.inside import block, messages, run

NOW = "import taskmeter; taskmeter.instrument()\n"


def counts(directory: Path) -> tuple[int, int, int, int]:
    """Return total and completed, as count and as size."""
    said = block(directory)
    return said.total_count, said.completed_count, said.total_size, said.completed_size


@pytest.mark.parametrize(
    "program",
    [
        NOW + "import tqdm\nfor n in tqdm.tqdm(range(5)): pass",
        "import tqdm\n" + NOW + "for n in tqdm.tqdm(range(5)): pass",
        "from tqdm import tqdm\n" + NOW + "for n in tqdm(range(5)): pass",
        "from tqdm.auto import tqdm\n" + NOW + "for n in tqdm(range(5)): pass",
        NOW + "from tqdm import trange\nfor n in trange(5): pass",
        NOW + "from tqdm import tqdm\nfor n in tqdm(range(5), disable=None): pass",
        NOW + "from tqdm import tqdm\nfor n in tqdm(iter(range(5)), total=5, miniters=100): pass",
        NOW + "from tqdm import tqdm\nwith tqdm(total=5) as bar:\n  bar.update(); bar.update(4)",
        NOW + "from tqdm import tqdm\nwith tqdm(total=5, disable=None) as bar:\n  bar.update(); bar.update(4)",
        NOW + "from tqdm import tqdm\nwith tqdm(total=5) as bar:\n  bar.n = 5; bar.refresh()",
        NOW + "from tqdm import tqdm\nwith tqdm(total=5) as bar:\n  [bar.update(0.5) for _ in range(10)]",
        NOW + "from tqdm import tqdm\nwith tqdm(total=9, initial=4) as bar:\n  bar.update(5)",
        NOW + "from tqdm import tqdm\nwith tqdm() as bar:\n  bar.total = 5; bar.update(5)",
        NOW + "taskmeter.instrument()\nfrom tqdm import tqdm\nfor n in tqdm(range(5)): pass",
        NOW + "import asyncio\nfrom tqdm.asyncio import tqdm\n"
        "async def each():\n  for n in range(5): yield n\n"
        "async def main():\n  async for n in tqdm(each(), total=5): pass\nasyncio.run(main())",
        NOW + "from rich.progress import track\nfor n in track(range(5)): pass",
        "from rich.progress import track\n" + NOW + "for n in track(range(5)): pass",
        NOW + "from rich.progress import Progress\nwith Progress() as bars:\n"
        "  task = bars.add_task('x', total=5)\n"
        "  bars.update(task, advance=1); bars.advance(task, 3); bars.update(task, completed=5)",
        NOW + "from rich.progress import Progress\nwith Progress() as bars:\n"
        "  task = bars.add_task('x', total=7, completed=2)\n  bars.advance(task, 5)",
    ],
)
def test_every_kind_of_bar_is_progress(tmp_path: Path, program: str) -> None:
    run(program, tmp_path)
    assert counts(tmp_path) == (5, 5, 0, 0)


@pytest.mark.parametrize(
    "program",
    [
        "from tqdm import tqdm\nwith tqdm(total=5, unit='B', unit_scale=True) as bar: bar.update(5)",
        "from tqdm import tqdm\nfor n in tqdm(range(5), unit='iB'): pass",
        (
            "from rich.progress import Progress, DownloadColumn\nwith Progress(DownloadColumn()) as bars:\n"
            "  bars.advance(bars.add_task('x', total=5), 5)"
        ),
        (
            "import rich.progress, os, tempfile\nwith tempfile.NamedTemporaryFile() as file:\n"
            "  file.write(b'12345'); file.flush()\n  with rich.progress.open(file.name, 'rb') as source: source.read()"
        ),
    ],
)
def test_bars_of_bytes_are_sizes(tmp_path: Path, program: str) -> None:
    run(NOW + program, tmp_path)
    assert counts(tmp_path) == (0, 0, 5, 5)


def test_of_nested_bars_the_outermost_counts(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
for a in tqdm(range(3)):
    for b in tqdm(range(100), leave=False): pass
    with tqdm(total=7, unit="B") as bar: bar.update(7)
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (3, 3, 0, 0)


def test_a_bar_of_rich_inside_one_of_tqdm_does_not_count_either(tmp_path: Path) -> None:
    code = """
from rich.progress import Progress
from tqdm import tqdm
for a in tqdm(range(3)):
    with Progress() as bars: bars.advance(bars.add_task("x", total=9), 9)
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (3, 3, 0, 0)


def test_bars_one_after_the_other_add_up(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
for n in tqdm(range(3)): pass
for n in tqdm(range(10)):
    if n == 4: break
bar = tqdm(total=5)
bar.update(5)
for n in tqdm(range(2)): pass
bar.reset(total=6)
bar.update(6)
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (3 + 10 + 5 + 2 + 6, 3 + 4 + 5 + 2 + 6, 0, 0)


def test_the_program_s_own_total_stays(tmp_path: Path) -> None:
    run(NOW + "taskmeter.progress(total=50)\nfrom tqdm import tqdm\nfor n in tqdm(range(5)): pass", tmp_path)
    assert counts(tmp_path) == (50, 5, 0, 0)


def test_a_bar_that_the_program_disables_does_not_count(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
for n in tqdm(range(5), disable=True): pass
from rich.progress import track
for n in track(range(5), disable=True): pass
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (0, 0, 0, 0)


def test_a_description_is_the_status(tmp_path: Path) -> None:
    run(
        NOW + "from tqdm import tqdm\nwith tqdm(total=2, desc='one') as bar:\n  bar.set_description('two'); bar.update()",
        tmp_path,
    )
    assert block(tmp_path).status == "two"
    run(NOW + "from rich.progress import track\nfor n in track(range(2), '[red]three[/red]'): pass", tmp_path)
    assert block(tmp_path).status == "three"


def test_bars_print_as_before(tmp_path: Path) -> None:
    code = "import sys\nfrom tqdm import tqdm\nbar = tqdm(range(5), file=sys.stdout, mininterval=0)\nprint(list(bar), bar.n)"
    assert run(NOW + code, tmp_path).endswith("[0, 1, 2, 3, 4] 5")
    assert "100%" in run(NOW + code, tmp_path)


def test_values_totals_and_units_that_make_no_sense_break_nothing(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
with tqdm(total=float("inf")) as bar: bar.update(2)
with tqdm(total=5) as bar: bar.update(-1)
with tqdm(total=-5) as bar: bar.update(10**30)
"""
    run(NOW + code, tmp_path)


def test_nothing_is_imported_that_the_program_does_not_import(tmp_path: Path) -> None:
    loaded = run("import sys\n" + NOW + "print(*sys.modules)", tmp_path).split()
    assert not {"tqdm", "rich", "logging"} & set(loaded)
    code = (
        "import sys\n"
        + NOW
        + "import tqdm, rich.progress, logging\nprint(type(tqdm.std.__loader__).__name__, tqdm.std.__spec__.loader)"
    )
    assert "SourceFileLoader" in run(code, tmp_path)


def test_each_can_be_left_out(tmp_path: Path) -> None:
    code = """
import taskmeter; taskmeter.instrument(tqdm=False, logging=False)
import logging, tqdm
for n in tqdm.tqdm(range(5)): pass
logging.warning("w")
"""
    run(code, tmp_path)
    assert counts(tmp_path) == (0, 0, 0, 0)
    assert messages(tmp_path) == []


@pytest.mark.parametrize("first", [NOW + "import logging\n", "import logging\n" + NOW])
def test_warnings_and_errors_of_logging_are_messages(tmp_path: Path, first: str) -> None:
    code = """
logging.warning("one %d", 1)
log = logging.getLogger("a.b")
log.propagate = False
log.info("unseen"); log.error("two")
try: 1 / 0
except ZeroDivisionError: log.exception("three")
log.critical("four"); log.debug("unseen")
off = logging.getLogger("off"); off.setLevel(logging.ERROR); off.warning("unseen")
"""
    run(first + code, tmp_path)
    assert messages(tmp_path) == [(2, "one 1"), (3, "two"), (3, "three (ZeroDivisionError: division by zero)"), (3, "four")]


def test_logging_prints_as_before(tmp_path: Path) -> None:
    code = "import sys, logging\nlogging.basicConfig(stream=sys.stdout, format='%(levelname)s %(message)s')\nlogging.warning('w')"
    assert run(NOW + code, tmp_path) == "WARNING w"


def test_forked_children_report_bars_of_their_own_if_the_parent_shows_none(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
import multiprocessing
def work(n):
    for each in tqdm(range(n)): pass
with multiprocessing.get_context("fork").Pool(2) as pool: pool.map(work, [3, 4])
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (7, 7, 0, 0)


def test_forked_children_s_bars_are_inside_the_one_that_their_parent_shows(tmp_path: Path) -> None:
    code = """
from tqdm import tqdm
import multiprocessing
def work(n):
    for each in tqdm(range(n)): pass
outer = tqdm(total=2)
with multiprocessing.get_context("fork").Pool(2) as pool:
    for each in pool.imap(work, [3, 4]): outer.update()
"""
    run(NOW + code, tmp_path)
    assert counts(tmp_path) == (2, 2, 0, 0)
