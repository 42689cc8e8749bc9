"""What does it cost to launch a process? The daemon's native launcher against asyncio's subprocesses, in turns, in the same run.

A launch here is the whole life of one `/bin/true`: from asking for it until the parent knows its exit code and has reaped what it
spawned. All sides so do the same job to the same end; what ours do beyond it is not subtracted, and is the reason to use them:

- `asyncio`: `create_subprocess_exec` with all three streams on /dev/null, then `wait()`; the loop of the standard library, as
  most programs have it. `uvloop`: the same calls on uvloop, which is the daemon's loop.
- `launcher`: `metercore.launch` as the daemon drives it. An attempt directory with its records on disk, and a shim that outlives
  the parent, reaps the whole tree and makes the exit record durable; its exit code is read from that record. Without cgroups,
  which asyncio has not either.
- `floor`, `floor, twice`: `floor.c`, which spawns in C and writes nothing down; and the same with a process between that outlives
  the parent, which no launcher of supervised tasks can be cheaper than.
- `daemon`: StartTask and WaitTask against a real daemon: authentication, two durable commits and more, cgroups, metering, a
  bill. Its parent is the daemon; clients are not counted.

Two processor times of the parent per launch: of its loop's thread, which is what a launch takes from everything else that the
parent serves, and of all its threads (asyncio has one per child under Python 3.11; the launcher has one in all, and it never
takes the GIL). Children's time is in neither: the shim's is what the kernel charges to the shim. The rate is by the wall clock
and has all of it, on every core there is, and the disk's fdatasync, which no asyncio side waits for.
Each side is a parent of its own, with so many bytes of touched memory beside its own: a fork would copy their page tables.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from operator import truediv
from pathlib import Path

import grpc
import uvloop

from bench import harness
from metercore.attempt import read_records
from metercore.launch import LAUNCH, Launcher
from taskmeter.executors import taskdir
from taskmeter.executors.shimfile import install_shim
from taskmeter.v1 import task_service_pb2 as pb
from tests.daemon import Daemon

ROUNDS = harness.full(5, quick=1)
LAUNCHES = harness.full({1: 100, 64: 500}, quick={1: 10, 64: 70})
"""In a round, by how many are under way at a time."""
BALLAST_GIB = harness.full((0, 2), quick=(0,))
SIDES = ("asyncio", "uvloop", "launcher")
MIN_RATE, MIN_CPU = 1.6, 7.0
SUCCEEDED = 1

Launch = Callable[[], Awaitable[None]]
Found = tuple[float, float, float]


async def in_flight(count: int, concurrency: int, launch: Launch) -> None:
    """Make `count` launches, at most `concurrency` at a time."""
    left = count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await launch()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def spawn() -> None:
    """Launch with asyncio."""
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec("/bin/true", stdin=null, stdout=null, stderr=null)
    assert await process.wait() == 0


class Native:
    """The launcher on a running loop, as `executors/local.py` uses it: one epoll descriptor has all pidfds."""

    def __init__(self, directory: Path) -> None:
        self._state = os.fsencode(directory)
        self._launcher = Launcher(os.fsencode(install_shim(directory)))
        self._epoll = select.epoll()
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().encode()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._count = 0
        loop = asyncio.get_running_loop()
        loop.add_reader(self._launcher.fileno(), self._on_results)
        loop.add_reader(self._epoll.fileno(), self._on_exits)

    def _on_results(self) -> None:
        for number, kind, error, step, _, pidfd in self._launcher.results():
            assert not error, (os.strerror(error), step)
            if kind == LAUNCH:
                self._waiting[pidfd] = self._waiting.pop(-number)
                self._epoll.register(pidfd, select.EPOLLIN)

    def _on_exits(self) -> None:
        for pidfd, _ in self._epoll.poll(0):
            found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            self._epoll.unregister(pidfd)
            os.close(pidfd)
            assert found is not None
            self._waiting.pop(pidfd).set_result(found.si_status)

    async def launch(self) -> None:
        self._count += 1
        token = f"tsk_{self._count:026}"
        directory = taskdir.attempt_path(self._state, token, 0)
        block = taskdir.LaunchBlock(
            incarnation=self._count,
            boot_id=self._boot_id,
            argv=(b"/bin/true",),
            env=(b"PATH=/bin",),
            attempt_dir=directory,
            token=token.encode(),
            attempt=0,
        )
        self._launcher.prepare(2 * self._count, directory, b"spec", False)
        self._launcher.launch(2 * self._count + 1, directory, taskdir.pack_launch(block), b"", (), None, False, None)
        done = self._waiting[-2 * self._count - 1] = asyncio.get_running_loop().create_future()
        assert await done == taskdir.ShimStatus.DONE
        records = read_records(directory)
        end = taskdir.unpack_exit(records[2]) if records else None
        assert end is not None
        assert (end.kind, end.code) == (taskdir.ExitKind.EXITED, 0), end


async def parent(side: str, ballast_gib: int) -> None:
    """Launch what is asked for on stdin, a line "COUNT CONCURRENCY" at a time; answer with a line of JSON each."""
    ballast = bytearray(ballast_gib << 30)
    ballast[:: os.sysconf("SC_PAGE_SIZE")] = b"\1" * len(ballast[:: os.sysconf("SC_PAGE_SIZE")])
    loop = asyncio.get_running_loop()
    with harness.fresh_directory() as home:
        launch: Launch = Native(home).launch if side == "launcher" else spawn
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            count, concurrency = map(int, line.split())
            begin, cpu, loop_cpu = time.perf_counter(), time.process_time(), time.thread_time()
            await in_flight(count, concurrency, launch)
            found = (time.perf_counter() - begin, time.process_time() - cpu, time.thread_time() - loop_cpu)
            print(json.dumps(found), flush=True)


class Floor:
    """The floor with or without a process between; it has neither a loop nor ballast."""

    def __init__(self, program: Path, *more: str) -> None:
        self._program, self._more = program, more

    def round(self, count: int, concurrency: int) -> tuple[float, float, float]:
        """As `Parent.round`."""
        command = [str(self._program), str(count), str(concurrency), *self._more]
        seconds, cpu = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        return seconds, cpu, cpu

    def close(self) -> None:
        pass


def floors(directory: Path) -> dict[str, Floor]:
    """Build the floor; static, as the shim is."""
    program = directory / "floor"
    subprocess.run(["cc", "-O2", "-static", "-o", program, Path(__file__).with_name("floor.c")], check=True)
    return {"floor": Floor(program), "floor, twice": Floor(program, "shim")}


class Parent:
    """A side with its ballast, in a process of its own."""

    def __init__(self, side: str, ballast_gib: int) -> None:
        command = [sys.executable, "-m", "bench.launch", "--parent", side, str(ballast_gib)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def round(self, count: int, concurrency: int) -> tuple[float, float, float]:
        """Return seconds, and the parent's processor seconds: of all threads, of its loop's."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count} {concurrency}\n")
        self._process.stdin.flush()
        seconds, cpu, loop_cpu = json.loads(self._process.stdout.readline())
        return seconds, cpu, loop_cpu

    def close(self) -> None:
        self._process.communicate()


async def ask(target: str, key: str, count: int, concurrency: int) -> float:
    """Have the daemon run so many; return the seconds."""
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(target) as channel:
        path = "/taskmeter.v1.TaskService/"
        start = channel.unary_unary(f"{path}StartTask", pb.StartTaskRequest.SerializeToString, pb.StartTaskResponse.FromString)
        wait = channel.unary_unary(f"{path}WaitTask", pb.WaitTaskRequest.SerializeToString, pb.WaitTaskResponse.FromString)
        request = pb.StartTaskRequest(spec={"command": {"argv": ["/bin/true"]}})

        async def launch() -> None:
            answer = await start(request, metadata=metadata)
            ended = await wait(pb.WaitTaskRequest(token=answer.token), metadata=metadata)
            assert ended.status.outcome == SUCCEEDED, ended.status

        begin = time.perf_counter()
        await in_flight(count, concurrency, launch)
        return time.perf_counter() - begin


def daemon_round(daemon: Daemon, count: int, concurrency: int) -> tuple[float, float, float]:
    """As `Parent.round`, for the daemon."""
    loop_clock = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/schedstat")  # of its first thread, which runs the loop; ns

    def loop_seconds() -> float:
        return int(loop_clock.read_text().split()[0]) / 1e9

    cpu, loop_cpu = harness.cpu_seconds(daemon.pid), loop_seconds()
    seconds = uvloop.run(ask(daemon.target, daemon.key, count, concurrency))
    return seconds, harness.cpu_seconds(daemon.pid) - cpu, loop_seconds() - loop_cpu


def _row(side: str, values: list[Found], base: list[Found]) -> tuple[str, ...]:
    """Show each round's rate and processor times, and their ratios to asyncio's of the same round: above 1 = better."""
    rates, cpu_us, loop_us = ([value[which] for value in values] for which in range(3))
    of_rate, of_cpu, of_loop = ([value[which] for value in base] for which in range(3))
    cells = [harness.spread(rates, ".0f"), harness.spread(map(truediv, rates, of_rate))]
    cells += [harness.spread(loop_us, ".0f"), harness.spread(map(truediv, of_loop, loop_us))]
    cells += [harness.spread(cpu_us, ".0f"), harness.spread(map(truediv, of_cpu, cpu_us))]
    return side, *cells


def measure(ballast_gib: int, concurrency: int, rounds: int) -> None:
    """Compare all sides in turns and print a table."""
    count = LAUNCHES[concurrency]
    parents: dict[str, Parent | Floor] = {side: Parent(side, ballast_gib) for side in SIDES}
    found: dict[str, list[Found]] = defaultdict(list)
    try:
        with harness.fresh_directory() as home, Daemon("--max-running", "100", state_dir=home / "state") as daemon:
            if not ballast_gib:
                parents |= floors(home)
            for number in range(-1, rounds):
                sides = [(side, each.round) for side, each in parents.items()]
                if not ballast_gib:
                    sides.append(("daemon", lambda *how: daemon_round(daemon, *how)))
                for side, run in sides:
                    seconds, cpu, loop_cpu = run(count, concurrency)
                    if number >= 0:  # the first warms
                        found[side].append((count / seconds, cpu / count * 1e6, loop_cpu / count * 1e6))
    finally:
        for each in parents.values():
            each.close()
    rows = [_row(side, values, found["asyncio"]) for side, values in found.items()]
    heads = ["launches/s", "× asyncio", "loop thread, µs", "asyncio's by it", "parent, µs", "asyncio's by it"]
    harness.table([f"{concurrency} at a time, {rounds} × {count}, {ballast_gib} GiB more", *heads], rows)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--parent"]:
        run = uvloop.run if arguments[1] != "asyncio" else asyncio.run
        run(parent(arguments[1], int(arguments[2])))
        return
    rounds = int(arguments[0]) if arguments else ROUNDS
    harness.heading("What does it cost to launch a process?")
    for ballast_gib in BALLAST_GIB:
        for concurrency in LAUNCHES:
            measure(ballast_gib, concurrency, rounds)
    print(f"Wished of the launcher: ≥ {MIN_RATE:g}× asyncio's rate, ≥ {MIN_CPU:g}× less of the parent's processor time.")
    print("The second floor says how much of that a supervised launch can have; ours also makes seven durable records.")


if __name__ == "__main__":
    main(sys.argv[1:])
