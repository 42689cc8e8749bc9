"""Drive the local executor without a daemon: start commands in attempts, wait for facts, look for survivors."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from taskmeter.core.ports import Ended, Facts, Gone, Launch
from taskmeter.executors import LocalExecutor
from taskmeter.executors.leftovers import kill_leftovers
from taskmeter.executors.taskdir import Exit, unpack_exit
from taskmeter.model.ids import new_incarnation, new_token
from taskmeter.model.task import Attach, Cause, Target, TaskSpec
from tests.waiting import wait_until_async

DEADLINE_SECONDS = 30.0
CUT_OFF_SECONDS = 300.0
"""Timeout of every attempt, so that none outlives a test run that was killed."""


@dataclasses.dataclass(slots=True)
class Attempt:
    """One attempt of one token, with the executor that runs it."""

    executor: LocalExecutor
    token: str
    number: int
    incarnation: int
    changed: asyncio.Event

    @property
    def directory(self) -> Path:
        return Path(self.executor.directory_of(self.token, self.number))

    @property
    def facts(self) -> Facts:
        return self.executor.facts(self.token, self.number)

    def output(self, name: str = "stdout") -> str:
        return Path(self.executor.path_of(self.token, self.number, name)).read_text()

    def exit_record(self) -> Exit:
        record = unpack_exit((self.directory / "exit").read_bytes())
        assert record is not None
        return record

    async def until(self, condition: Callable[[Facts], object], seconds: float = DEADLINE_SECONDS) -> Facts:
        """Wait until the facts satisfy `condition`; they are looked at again whenever the executor says so."""
        async with asyncio.timeout(seconds):
            while True:
                self.changed.clear()
                facts = self.facts
                if condition(facts):
                    return facts
                await self.changed.wait()

    async def started(self) -> int:
        """Wait until it runs; return the pid of the main process."""
        facts = await self.until(lambda facts: facts.started or facts.ended)
        assert facts.started is not None, facts
        return facts.started.pid

    async def over(self, seconds: float = DEADLINE_SECONDS) -> tuple[Ended, Gone]:
        """Wait until the tree is empty."""
        facts = await self.until(lambda facts: facts.gone, seconds)
        assert facts.ended is not None
        assert facts.gone is not None
        return facts.ended, facts.gone

    def stop(self, grace_seconds: float, *, serial: int = 1, cause: Cause = Cause.CANCEL) -> None:
        self.executor.order_stop(self.token, self.number, cause, grace_seconds, serial)

    def survivors(self) -> list[int]:
        """Return the processes that carry this attempt's marker in their environment and are not zombies."""
        return survivors(self.token)


class Attempts:
    """An executor and the attempts made with it; `close` ends them all."""

    def __init__(self, state_dir: Path, **options: Any) -> None:
        # A name of its own in the cgroup tree: other runs of these tests may be at work at the same time.
        store_id = f"test-{sha256(bytes(state_dir)).hexdigest()[:8]}-{os.getpid()}"
        self.executor = LocalExecutor(state_dir, store_id=store_id, **options)
        self._made: dict[tuple[str, int], Attempt] = {}

    async def start(self) -> None:
        await self.executor.start()
        self.executor.set_listener(self._on_change)

    def _on_change(self, token: str, number: int) -> None:
        if (token, number) in self._made:
            self._made[token, number].changed.set()

    def know(self, token: str, number: int, incarnation: int) -> Attempt:
        """Take up an attempt that another executor launched."""
        made = self._made[token, number] = Attempt(self.executor, token, number, incarnation, asyncio.Event())
        return made

    async def prepare(self) -> Attempt:
        """Make an attempt's directory; nothing is launched."""
        made = self.know(new_token(), 1, new_incarnation())
        await self.executor.prepare(made.token, made.number, b"spec")
        return made

    async def launch(self, made: Attempt, *argv: str, environment: dict[str, str] | None = None, **spec: Any) -> Attempt:
        spec.setdefault("timeout_seconds", CUT_OFF_SECONDS)
        order = Launch(made.token, made.number, made.incarnation, TaskSpec(argv, **spec), environment or {})
        await self.executor.launch(order)
        return made

    async def run(self, *argv: str, **spec: Any) -> Attempt:
        return await self.launch(await self.prepare(), *argv, **spec)

    async def attach(self, pid: int, *, include_descendants: bool = False, target: Target | None = None, **spec: Any) -> Attempt:
        """Watch a process; `target`: who is meant, if not whoever has that pid now."""
        attach = Attach(pid, include_descendants)
        made = await self.prepare()
        target = target or self.executor.identify(attach).target
        order = Launch(made.token, made.number, made.incarnation, TaskSpec((), attach=attach, **spec), {}, target)
        await self.executor.launch(order)
        return made

    async def shell(self, script: str, **spec: Any) -> Attempt:
        return await self.run("/bin/sh", "-c", script, **spec)

    async def close(self) -> None:
        """Kill what still runs, wait for it, and release everything."""
        for made in self._made.values():
            if made.facts.alive and made.facts.gone is None and made.directory.exists():  # a test may have removed it
                made.stop(0.0, serial=1_000_000)
        for made in self._made.values():
            await wait_until_async(partial(over_now, made), f"{made.token} is over")
            cgroups = made.executor.cgroups.find(made.token, made.number)
            kill_leftovers(cgroups, made.token, made.number, os.fsencode(made.directory))  # that executor may be closed
            made.executor.settle(made.token, made.number)
        await self.executor.close()
        self.executor.cgroups.sweep(lambda _token, _attempt: True)


def over_now(attempt: Attempt) -> bool:
    """Whether nothing more will happen to an attempt."""
    facts = attempt.facts
    return facts.gone is not None or not facts.alive


def proc(pid: int, name: str) -> str:
    """Read one file of /proc/PID."""
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Leave this process none to open; those that it has go on working."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def survivors(token: str) -> list[int]:
    """Scan /proc for living processes whose environment names `token`."""
    marker = f"TASKMETER_TOKEN={token}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            content = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if marker in content.split(b"\0"):
            found.append(int(name))
    return found
