"""A launch block is believed only after it was checked: no input may crash the shim or have it write outside its block."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskmeter.executors import taskdir
from taskmeter.executors.taskdir import ExitKind, ShimStatus
from tests.native.shim.direct import block_for, exit_record, make_attempt, run_shim

SOURCES = Path(__file__).resolve().parents[3] / "native" / "shim"

READER = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include "block.h"

/* Read blocks from stdin as {u32 size, bytes}, check each in memory of exactly its size, walk it as the shim would. */
int main(void)
{
    unsigned char head[4];
    long sound = 0;
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = head[0] | head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        char *bytes = malloc(size ? size : 1);
        if (!bytes || fread(bytes, 1, size, stdin) != size)
            return 2;
        struct block block = {(const struct tm_launch *)(void *)bytes, bytes, size, size};
        if (block_is_sound(&block)) {
            const struct tm_launch *l = block.head;
            const char **list = calloc((size_t)l->argc + l->envc + 2, sizeof *list);
            size_t total = 0;
            block_list(&block, l->argv_offset, l->argc, list);
            for (uint32_t i = 0; i < l->argc; i++)
                total += strlen(list[i]);
            block_list(&block, l->env_offset, l->envc, list);
            for (uint32_t i = 0; i < l->envc; i++)
                total += strlen(list[i]);
            total += strlen(block_text(&block, l->attempt_dir_offset));
            sound += total < (size_t)-1;
            free(list);
        }
        free(bytes);
    }
    printf("%ld\\n", sound);
    return 0;
}
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The block reader by itself, under the address and undefined-behaviour sanitizers."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "reader.c").write_text(READER)
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    command += [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{SOURCES}",
        "-o",
        str(directory / "reader"),
        str(directory / "reader.c"),
    ]
    subprocess.run(command, check=True)
    return directory / "reader"


def check(reader: Path, blocks: list[bytes]) -> int:
    """Have all blocks read; return how many were found sound."""
    data = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    done = subprocess.run([str(reader)], input=data, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return int(done.stdout)


def sample() -> bytes:
    return block_for(
        Path("/attempt"), "command", "one", "", "three", cwd=b"/cwd", stdin=b"/stdin", hints=b"/hints", cgroup_v2=b"/v2",
        cgroup_v1=(b"/v1", b"/v1b"), rlimits=((0, 1, 2), (15, 3, 4)),
    )  # fmt: skip


def test_a_good_block_is_sound_at_any_environment_size(reader: Path) -> None:
    large = block_for(Path("/a"), "c", env=[b"NAME=" + b"x" * 100_000] * 10)
    assert check(reader, [sample(), large]) == 2


def test_every_truncation_is_refused(reader: Path) -> None:
    block = sample()
    assert check(reader, [block[:size] for size in range(len(block))]) == 0


def test_no_single_changed_byte_breaks_the_reader(reader: Path) -> None:
    block = sample()
    blocks = []
    for at in range(len(block)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            changed = bytearray(block)
            changed[at] = value
            blocks.append(bytes(changed))
    check(reader, blocks)


def test_no_number_in_the_head_breaks_the_reader(reader: Path) -> None:
    block = sample()
    blocks = []
    for at in range(8, taskdir.LAUNCH.size - 3, 4):
        values = (0, 1, 543, 544, len(block) - 1, len(block), 2**31 - 1, 2**31, 2**32 - 1)
        blocks += [block[:at] + struct.pack("<I", value) + block[at + 4 :] for value in values]
    check(reader, blocks)


def test_a_hundred_thousand_mutations_do_not_break_the_reader(reader: Path) -> None:
    chance = random.Random(7)
    block = sample()
    for _ in range(10):
        blocks = []
        for _ in range(10_000):
            changed = bytearray(block[: chance.choice([len(block), chance.randrange(len(block))])])
            for _ in range(chance.randrange(1, 12)):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.choice([0, 255, chance.randrange(256)])
            blocks.append(bytes(changed))
        check(reader, blocks)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_noise_is_refused(reader: Path, blocks: list[bytes]) -> None:
    head = taskdir.LAUNCH.pack(b"TMLAUNCH", 1, 0, 0, b"", *([0] * 23))[:16]
    assert check(reader, [*blocks, *(head + noise for noise in blocks)]) == 0


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 100, id="short"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(sample()[:-1], id="cut"),
        pytest.param(sample().replace(b"TMLAUNCH", b"tmlaunch"), id="magic"),
        pytest.param(sample().replace(b"/attempt\0", b"attempt\0\0"), id="relative"),
    ],
)
def test_a_bad_block_is_refused_before_anything_is_touched(tmp_path: Path, block: bytes) -> None:
    status, _ = run_shim(tmp_path, block)
    assert status == ShimStatus.BAD_BLOCK
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    status, _ = run_shim(tmp_path, block_for(tmp_path / "missing", "true"))
    assert status == ShimStatus.IO
    assert list(tmp_path.iterdir()) == []


def test_the_whole_shim_runs_clean_under_the_sanitizers(tmp_path: Path) -> None:
    binary = tmp_path / "shim"
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    subprocess.run([*command, "-fno-sanitize-recover=all", "-o", str(binary), str(SOURCES / "shim.c")], check=True)
    deaf = "setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000'"
    scripts = ["exit 3", "kill -SEGV $$", f"(setsid sleep 1000 &) ; ({deaf} &) ; exit 3"]
    for number, script in enumerate(scripts):
        directory = make_attempt(tmp_path / str(number))
        block = block_for(directory, "/bin/sh", "-c", script, grace_ns=2 * 10**8)
        assert run_shim(directory, block, binary=binary) == (ShimStatus.DONE, b"")
        end = exit_record(directory)
        assert end is not None
        assert (end.kind, end.code or end.signal) in {(ExitKind.EXITED, 3), (ExitKind.SIGNALED, 11)}
