"""What control groups say: doctored text, and the real files of this machine where there are any."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from metercore.cgroup import parse_cpu_max, parse_cpu_stat, parse_io_stat, parse_memory_stat, read_ids
from metercore.limit import quota_cores

V1 = b"cache 500\nrss 10\nshmem 20\nswap 30\ntotal_cache 999\ntotal_rss 100\ntotal_shmem 20\ntotal_swap 3\n"
V2 = b"anon 100\nfile 99999\nkernel 5\nshmem 20\nfile_mapped 7\n"


def test_cpu_is_usage_in_microseconds() -> None:
    assert parse_cpu_stat(b"usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n") == 123_456_000
    with pytest.raises(ValueError, match=r"cpu\.stat"):
        parse_cpu_stat(b"user_usec 1\n")


def test_memory_leaves_the_page_cache_out() -> None:
    assert parse_memory_stat(V2, 2) == 120
    assert parse_memory_stat(V1, 1) == 123


def test_memory_of_old_kernels_lacks_shmem_and_swap() -> None:
    assert parse_memory_stat(b"total_cache 9\ntotal_rss 100\n", 1) == 100


@pytest.mark.parametrize(("text", "version"), [(b"", 2), (b"anon 5\n", 2), (b"total_cache 5\n", 1), (b"anon x\nshmem 1\n", 2)])
def test_a_memory_stat_without_its_lines_is_refused(text: bytes, version: int) -> None:
    with pytest.raises(ValueError, match=r"memory\.stat"):
        parse_memory_stat(text, version)


@pytest.mark.parametrize(
    ("text", "cores"),
    [(b"max 100000\n", None), (b"150000 100000\n", 1.5), (b"5000 10000\n", 0.5), (b"", None), (b"5000\n", None)],
)
def test_a_quota_is_in_cores(text: bytes, cores: float | None) -> None:
    assert parse_cpu_max(text) == cores


def test_io_is_summed_over_devices() -> None:
    text = b"8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n"
    assert parse_io_stat(text) == (101, 202)
    assert parse_io_stat(b"") == (0, 0)


def test_ids_are_read_whole_across_buffers(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("ids") / "cgroup.procs"
    path.write_text("".join(f"{pid}\n" for pid in range(1, 3001)))
    assert read_ids(str(path)) == list(range(1, 3001))
    path.write_text("0\n7\n")  # 0: a process outside our pid namespace
    assert read_ids(str(path)) == [7]
    with pytest.raises(FileNotFoundError):
        read_ids(str(path) + "x")


def test_the_quota_of_this_process_is_readable_here() -> None:
    quota = quota_cores()
    assert quota is None or quota > 0


def test_sums_and_units_that_do_not_fit_are_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match=r"cpu\.stat"):
        parse_cpu_stat(b"usage_usec 18446744073709552\n")
    for text, version in (
        (b"anon 18446744073709551615\nshmem 1\n", 2),
        (b"total_rss 9223372036854775808\ntotal_swap 9223372036854775808\n", 1),
    ):
        with pytest.raises(ValueError, match=r"memory\.stat"):
            parse_memory_stat(text, version)


@pytest.mark.root
def test_a_mount_whose_name_is_no_text_does_not_matter(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = os.fsencode(tmp_path_factory.mktemp("mounts")) + b"/\xff"
    os.mkdir(directory)
    code = "from metercore.limit import quota_cores; quota_cores()\n"
    code += "print(open('/proc/self/mountinfo', 'rb').read().count(b'\\xff'))"
    script = 'mount -t tmpfs none "$1" && exec "$2" -c "$3"'
    command: list[str | bytes] = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
        directory,
        sys.executable,
        code,
    ]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
