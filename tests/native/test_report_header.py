"""The C header for reporting: what C writes, the native reader reads, beside Python and whatever it does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from metercore.report import Report, ReportBlock, parse_report
from tests.waiting import wait_until

HEADER = Path(__file__).parents[2] / "native" / "include" / "taskmeter_report.h"
LAYOUT = HEADER.parents[1] / "metercore" / "_c" / "report.h"
FLAGS = ["-Wall", "-Wextra", "-Werror", "-O2", "-D_GNU_SOURCE", f"-I{HEADER.parent}", "-pthread"]

PROGRAM = r"""
#include "taskmeter_report.h"
#include <pthread.h>
#include <sys/wait.h>

static void *work(void *name) {
    for (int n = 0; n < 20000; n++) {
        tm_add(1, 2);
        tm_count((const char *)name, 1);
        if (n % 100 == 0) tm_status((const char *)name);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "threads")) {
        pthread_t threads[4];
        const char *names[] = {"one", "two", "one", "two"};
        for (int n = 0; n < 4; n++) pthread_create(&threads[n], NULL, work, (void *)names[n]);
        for (int n = 0; n < 4; n++) pthread_join(threads[n], NULL);
    } else if (argc > 1 && !strcmp(argv[1], "forks")) {
        tm_total(1, 1);
        for (int n = 0; n < 4; n++)
            if (fork() == 0) { work((void *)"fork"); return 0; }
        while (wait(NULL) > 0) {}
    } else if (argc > 1 && !strcmp(argv[1], "hold")) {
        tm_lock(tm_block());
        tm_ready();
        pause();
    } else {
        tm_total(10, 100);
        tm_add(3, 30);
        tm_fail(1, 5);
        tm_status("working");
        tm_object(argc > 2 ? argv[2] : "a");
        for (int n = 0; n < 20; n++) { char name[8]; snprintf(name, sizeof name, "c%d", n); tm_count(name, n); }
        tm_count("", 1);
        tm_ready();
    }
    printf("%lld\n", (long long)tm_block()->completed_count.value);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("header")
    (directory / "program.c").write_text(PROGRAM)
    subprocess.run(["cc", "-std=c11", *FLAGS, "-o", str(directory / "program"), str(directory / "program.c")], check=True)
    return directory / "program"


def run(program: Path, *arguments: str, directory: Path | str | None) -> str:
    env = {} if directory is None else {"TASKMETER_TASK_DIR": str(directory)}
    done = subprocess.run([str(program), *arguments], env=env, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def block(directory: Path) -> Report:
    report = parse_report((directory / "report").read_bytes())
    assert report is not None
    return report


def test_it_is_short_and_its_layout_is_that_of_the_core() -> None:
    assert HEADER.read_text().count("\n") <= 150
    fields = (
        "total_count completed_count failed_count total_size completed_size failed_size text_lock text_serial custom text ready"
    )
    checks = "".join(f"_Static_assert(offsetof(struct tm_block, {name}) == offsetof(struct tm_report, {name}), "
                     f'"{name}");\n' for name in fields.split())  # fmt: skip
    names = {name: set(re.findall(r"\bTM_[A-Z_]+\b", path.read_text())) for name, path in (("ours", HEADER), ("core", LAYOUT))}
    assert not names["ours"] & names["core"], "both can be included together"
    code = f'#include <stddef.h>\n#include "{LAYOUT}"\n#include "{HEADER}"\n{checks}int main(void) {{ return 0; }}'
    subprocess.run(["cc", *FLAGS, "-fsyntax-only", "-x", "c", "-"], input=code.encode(), check=True)


def test_it_is_c_plus_plus_too() -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    calls = 'tm_add(1, 1); tm_status("x"); tm_count("n", 1); tm_ready(); tm_fail(1, 0); tm_total(1, 1);'
    code = f'#include "taskmeter_report.h"\nint main() {{ {calls} }}'.encode()
    subprocess.run(["c++", *FLAGS, "-fsyntax-only", "-x", "c++", "-"], input=code, check=True)


def test_everything_that_c_writes_is_read(program: Path, tmp_path: Path) -> None:
    assert run(program, "all", "ä" * 300, directory=tmp_path) == "3"
    found = block(tmp_path)
    assert found[:9] == (10, 3, 1, 100, 30, 5, True, "working", "ä" * 250)
    assert found.custom == {f"c{n}": n for n in range(16)}
    assert (tmp_path / "report").stat().st_size == 4096


def test_c_goes_on_where_python_was_and_the_other_way_round(program: Path, tmp_path: Path) -> None:
    python = ReportBlock(tmp_path / "report")
    python.add(4)
    python.count("c3", 5)
    python.status("from Python")
    assert run(program, directory=tmp_path) == "7"
    assert (python.read().status, python.read().custom["c3"]) == ("working", 8)
    python.object("b")
    assert (python.read().status, python.read().current_object) == ("working", "b")


@pytest.mark.parametrize(("kind", "names"), [("threads", {"one": 40_000, "two": 40_000}), ("forks", {"fork": 80_000})])
def test_threads_and_forked_processes_lose_nothing(program: Path, tmp_path: Path, kind: str, names: dict[str, int]) -> None:
    run(program, kind, directory=tmp_path)
    found = block(tmp_path)
    assert (found.completed_count, found.completed_size, found.custom) == (80_000, 160_000, names)
    assert found.status in names


@pytest.mark.parametrize("directory", [None, "", "/nonexistent", "/dev/null", "/" + "x" * 5000])
def test_outside_a_task_it_is_harmless(program: Path, directory: str | None) -> None:
    assert run(program, directory=directory) == "3"


def test_what_lies_in_place_of_the_block_is_left_alone(program: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "report").symlink_to(victim)
    assert run(program, directory=tmp_path) == "3"
    assert victim.read_bytes() == b"precious"
    (tmp_path / "report").unlink()
    os.mkfifo(tmp_path / "report")
    assert run(program, directory=tmp_path) == "3"


def test_the_lock_of_a_dead_owner_is_taken_and_that_of_a_living_one_is_not_waited_for(program: Path, tmp_path: Path) -> None:
    holder = subprocess.Popen([str(program), "hold"], env={"TASKMETER_TASK_DIR": str(tmp_path)})
    wait_until(lambda: (tmp_path / "report").exists() and block(tmp_path).ready, "the lock")
    try:
        run(program, directory=tmp_path)
        assert (block(tmp_path).status, block(tmp_path).completed_count) == ("", 3)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    run(program, directory=tmp_path)
    assert (block(tmp_path).status, block(tmp_path).completed_count) == ("working", 6)
