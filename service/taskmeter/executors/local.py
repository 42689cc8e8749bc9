"""Runs attempts on this host, each under a shim of its own that outlives the daemon.

Everything that matters stands in the attempt directories. What is kept here can be lost at any instruction: descriptors of
living shims, and requests to the native launcher that are under way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace

from metercore.attempt import open_owner, read_records, tell
from metercore.launch import LAUNCH, REMOVE_CGROUPS, STEPS, Launcher
from taskmeter import failpoints
from taskmeter.core.ports import Facts, Found, Gone, Launch, MeterSource, Stored
from taskmeter.errors import LimitError, PreconditionError, UnavailableError
from taskmeter.executors import limits, taskdir
from taskmeter.executors.accounts import TRAVERSABLE, Account, Accounts, open_ways
from taskmeter.executors.cgroups import Cgroups, Places, discover
from taskmeter.executors.disk import disk_bytes, log_bytes, log_start, punch_log
from taskmeter.executors.environment import base_environment, compose, encode_argv
from taskmeter.executors.hints import Hints, hints_path
from taskmeter.executors.items import LocalItems
from taskmeter.executors.leftovers import kill_leftovers
from taskmeter.executors.records import drop_input, last_account, read_facts, read_order, win_claim, write_order
from taskmeter.executors.shimfile import PACKAGED, install_shim
from taskmeter.executors.spares import Spares
from taskmeter.executors.stored import drop_attempt, rewrite_record, stored_attempts
from taskmeter.executors.target import ancestors_of, identify
from taskmeter.executors.taskdir import ExitKind, ShimStatus, Stage
from taskmeter.executors.trash import Trash
from taskmeter.executors.watch import NO_DESCRIPTORS, Watch, Watches
from taskmeter.model.resources import Resources
from taskmeter.model.task import Attach, Cause

SWEEP_SECONDS = 1.0
"""How late a lost hint may be noticed …"""
SWEEP_COUNT = 1000
"""… but beyond so many running tasks the ends of main processes that leave others behind are looked for in turns."""
REMOVE_RETRY_SECONDS = 0.02
REMOVE_TRIES = 10
"""With doubled pauses that is 20 s: a cgroup is busy until its last zombie has been reaped."""

KILLERS = 4
"""So many trees without a supervisor are killed at a time; one that cannot be killed holds its place for five seconds."""

NO_ACCOUNTS = Accounts()

_NS = 1_000_000_000
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = logging.getLogger(__name__)


class LocalExecutor:
    """Implements `core.ports.Executor` on one event loop; a native thread of its own does what could block it.

    `accounts`: whom tasks run as; only a root daemon can have others than its own user.
    `open_files`: the (soft, hard) RLIMIT_NOFILE that tasks get, if not this process's own.
    `packaged_shim`: for tests.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        store_id: str,
        cgroup: str = "auto",
        accounts: Accounts = NO_ACCOUNTS,
        open_files: tuple[int, int] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        packaged_shim: Path = PACKAGED,
    ) -> None:
        self._state_dir = state_dir
        self._state = os.fsencode(state_dir)
        self._store_id = store_id
        self._cgroup_setting = cgroup
        self._accounts = accounts
        # RLIM_INFINITY is -1 in Python and all ones in C.
        numbers = [limit % 2**64 for limit in open_files or ()]
        self._rlimits = ((resource.RLIMIT_NOFILE, numbers[0], numbers[1]),) if numbers else ()
        self._loop = loop
        self._packaged_shim = packaged_shim
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self._umask = _own_umask()
        self._base_env = base_environment(os.environ)
        self._cgroups = Cgroups()
        self._watches = Watches()
        self._spares = Spares()
        self._listener: Callable[[str, int], None] = lambda _token, _attempt: None
        self._requests: dict[int, tuple[Watch | None, asyncio.Future[None] | None, Callable[[int], None] | None]] = {}
        self._next_request = 0
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="remove")
        self._killers = ThreadPoolExecutor(max_workers=KILLERS, thread_name_prefix="kill")
        self._in_turn: list[Watch] = []
        self._to_attach: list[Watch] = []
        """Adopted, but their supervisors have not been looked up."""
        self._started = False

    async def start(self) -> None:
        """Install the shim, find cgroups, bind the hints socket, start the launcher. Raises OSError when a task could not run."""
        self._loop = self._loop or asyncio.get_running_loop()
        (self._state_dir / "tasks").mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._accounts:
            open_ways(self._state_dir)
        shim = install_shim(self._state_dir, self._packaged_shim)
        self._cgroups = discover(self._state_dir, self._store_id, self._cgroup_setting)
        self._trash = Trash(self._state_dir)
        self._left_in_trash = self._trash.names()
        self._hints = Hints(hints_path(self._state_dir))
        self._launcher = Launcher(os.fsencode(shim))
        self._loop.add_reader(self._hints.fileno(), self._on_hints)
        self._loop.add_reader(self._watches.fileno(), self._on_exits)
        self._loop.add_reader(self._launcher.fileno(), self._on_results)
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        self._started = True

    def tidy(self) -> None:
        """Remove, in the background, what earlier daemons could not: cgroups of attempts that are over, deleted tasks' files."""
        self._remover.submit(self._cgroups.sweep, self._is_over)
        self._remover.submit(self._trash.delete_named, self._left_in_trash)

    @property
    def cgroups(self) -> Cgroups:
        """Where cgroups are made; for `doctor` and the start-up log."""
        return self._cgroups

    def set_listener(self, on_change: Callable[[str, int], None]) -> None:
        self._listener = on_change

    # ---- launching -------------------------------------------------------------------------------------------------

    def rewrite_record(self, token: str, attempt: int, record: bytes, *, durable: bool = True) -> None:
        mode = 0o711 if self._accounts else 0o700
        rewrite_record(self._directory(token, attempt), record, mode=mode, durable=durable)

    def unprepare(self, token: str, attempt: int) -> None:
        drop_attempt(self._directory(token, attempt))

    def stored(self) -> Iterator[Stored]:
        return stored_attempts(self._state)

    async def prepare(self, token: str, attempt: int, record: bytes) -> None:
        number, done = self._new_request(None)
        failpoints.hit("launch.before_mkdir")
        self._launcher.prepare(number, self._directory(token, attempt), record, bool(self._accounts))
        try:
            await done
            failpoints.hit("launch.after_mkdir")
        except OSError as error:
            if error.errno in _FULL:
                raise LimitError("the state directory's disk is full", reason="DISK_FULL", retry_after_seconds=5.0) from error
            raise

    def identify(self, attach: Attach) -> Found:
        shims = frozenset(watch.pid for watch in self._watches.all() if watch.pid)
        only = self._accounts.default
        return identify(attach, boot_id=self._boot_id, shims=shims, task_uid=only.uid if only is not None else None)

    def ancestors_of(self, pid: int) -> frozenset[int]:
        return ancestors_of(pid)

    def check_limits(self, resources: Resources) -> None:
        lacking = limits.missing(self._cgroups, resources)
        if lacking:
            raise PreconditionError(
                f"this host cannot hold a task to its {lacking}: the daemon may make no cgroup for that",
                reason="UNSUPPORTED_HERE",
                hint="run the daemon in a cgroup that is delegated to it (systemd: Delegate=yes), or leave out `enforce`",
                metadata={"field": "spec.resources.enforce"},
            )

    def check_user(self, user: str) -> None:
        self._accounts.check(user)

    async def launch(self, launch: Launch) -> None:
        directory = self._directory(launch.token, launch.attempt)
        watch = self._watches.get(launch.token, launch.attempt)
        if watch is not None and watch.alive:
            return
        # A process that runs already stays where it is: nobody but its owner moves it to another cgroup.
        spec = launch.spec
        cgroups = Places() if spec.attach else limits.places_for(self._cgroups, launch.token, launch.attempt, spec.resources)
        watch = self._watches.add(Watch(launch.token, launch.attempt, directory, cgroups=cgroups))
        try:
            account = self._accounts.of(spec.user) if spec.attach is None else None
            limits.apply(cgroups, spec.resources)
            block = self._block(launch, watch, account)
            if account is not None:  # an earlier daemon may have made them for itself alone
                for path in (os.path.dirname(directory), directory):
                    os.chmod(path, TRAVERSABLE)
            number, done = self._new_request(watch)
            stdin_data = launch.spec.stdin_data or None
            v2, v1 = os.fsencode(cgroups.v2), tuple(map(os.fsencode, cgroups.v1))
            shared = launch.spec.shared_work_directory
            ids = account.ids if account is not None else None
            self._launcher.launch(number, directory, block, v2, v1, stdin_data, shared, ids)
            await done
            failpoints.hit("launch.after_spawn")
        except OSError as error:
            if (
                error.errno in NO_DESCRIPTORS
            ):  # tried again; should a supervisor have begun after all, a second one leaves at once
                watch.alive = False
                self._watches.drop(watch)
                raise UnavailableError("no descriptors are left to start a task with", reason="STORE_UNAVAILABLE") from error
            end = taskdir.Exit(
                ExitKind.EXEC_FAILED,
                launch.incarnation,
                code=126,
                error=error.errno or 0,
                stage=Stage.LAUNCH_BLOCK,
                end_realtime_ns=time.time_ns(),
            )
            if not win_claim(directory, launch.incarnation, self._boot_id, end):  # its supervisor is there all the same
                if watch.pidfd < 0:
                    self._watches.drop(watch)
                    self.adopt(launch.token, launch.attempt)
                return
            watch.alive = False
            self._watches.drop(watch)
            raise

    def _attach_block(self, launch: Launch, watch: Watch, attach: Attach) -> bytes:
        target = launch.target
        same_boot = target is not None and target.boot_id == self._boot_id
        return taskdir.pack_launch(
            taskdir.LaunchBlock(
                incarnation=launch.incarnation,
                boot_id=self._boot_id.encode(),
                argv=(),
                env=(),
                attempt_dir=watch.directory,
                token=launch.token.encode(),
                attempt=launch.attempt,
                hints=os.fsencode(self._hints.path),
                flags=taskdir.ATTACH | (taskdir.DESCENDANTS if attach.include_descendants else 0),
                grace_ns=int(launch.spec.grace_period_seconds * _NS),
                attach_pid=target.pid if target is not None and same_boot else 0,
                attach_start_ticks=target.start_ticks if target is not None else 0,
            )
        )

    def _block(self, launch: Launch, watch: Watch, account: Account | None) -> bytes:
        spec = launch.spec
        if spec.attach is not None:
            return self._attach_block(launch, watch, spec.attach)
        own = {
            "TASKMETER_TOKEN": launch.token,
            "TASKMETER_ATTEMPT": str(launch.attempt),
            "TASKMETER_TASK_DIR": os.fsdecode(watch.directory) + "/task",
        }
        try:
            env = compose((*self._environments(spec.env, account), own, launch.environment))
            argv = encode_argv(spec.argv)
        except ValueError as error:  # the RPC has refused such a spec; an older daemon may have stored one
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from error
        cgroups = watch.cgroups or Places()
        uid, gid = account.ids if account is not None else (0, 0)
        flags = taskdir.MERGE_STDERR if spec.merge_stderr else 0
        flags |= taskdir.HAS_NICE if spec.nice is not None else 0
        flags |= failpoints.for_shim() << taskdir.FAULT_SHIFT
        flags |= taskdir.SET_IDS | taskdir.NO_NEW_PRIVS if account is not None else 0
        deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(spec.timeout_seconds * _NS) if spec.timeout_seconds else 0
        return taskdir.pack_launch(
            taskdir.LaunchBlock(
                incarnation=launch.incarnation,
                boot_id=self._boot_id.encode(),
                argv=argv,
                env=env,
                attempt_dir=watch.directory,
                token=launch.token.encode(),
                attempt=launch.attempt,
                cwd=os.fsencode(spec.working_directory),
                stdin=watch.directory + b"/stdin" if spec.stdin_data else b"",
                hints=os.fsencode(self._hints.path),
                cgroup_v2=os.fsencode(cgroups.v2),
                cgroup_v1=tuple(map(os.fsencode, cgroups.v1)),
                flags=flags,
                umask=self._umask if spec.umask is None else spec.umask,
                uid=uid,
                gid=gid,
                grace_ns=int(spec.grace_period_seconds * _NS),
                rlimits=limits.rlimits_of(dict(spec.rlimits), self._rlimits),
                nice=spec.nice or 0,
                deadline_boottime_ns=deadline,
                groups=account.groups if account is not None else (),
            )
        )

    def _environments(self, asked: Mapping[str, str], account: Account | None) -> tuple[Mapping[str, str], ...]:
        """Return the base and what the spec adds to it. Of another user, HOME and the like are not those of the daemon's user.

        The CLI sends its caller's environment: a HOME that is the daemon's own, too, was chosen by nobody.
        """
        if account is None:
            return self._base_env, asked
        theirs = account.environment
        chosen = {name: value for name, value in asked.items() if name not in theirs or value != os.environ.get(name)}
        return self._base_env, theirs, chosen

    def cancel_unclaimed(self, token: str, attempt: int, incarnation: int, cause: Cause) -> bool:
        directory = self._directory(token, attempt)
        order = read_order(directory)
        cause = Cause(order.cause) if order else cause
        if cause is Cause.NONE:
            end = taskdir.Exit(ExitKind.EXEC_FAILED, incarnation, code=126, stage=Stage.LAUNCH_BLOCK)
        else:
            end = taskdir.Exit(ExitKind.NEVER_STARTED, incarnation, cause=cause)
        end = replace(end, end_realtime_ns=time.time_ns())
        return win_claim(directory, incarnation, self._boot_id, end)

    # ---- what is known ---------------------------------------------------------------------------------------------

    def facts(self, token: str, attempt: int) -> Facts:
        watch = self._watches.get(token, attempt)
        alive = watch is not None and watch.alive  # looked at before the records: what a dead shim wrote is there to read
        try:
            directory = self._directory(token, attempt)
            facts = self._spares.lend(lambda: read_facts(directory, self._boot_id, alive=alive))
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS or not self._started:
                raise
            # Nothing can be read just now, so nothing new is known, above all not that its shim is dead. Look again.
            assert self._loop is not None
            self._loop.call_later(SWEEP_SECONDS, self._listener, token, attempt)
            return Facts(claimed=True, alive=True)
        if watch is not None:
            if facts.started is not None and not watch.seen_started:
                watch.seen_started = True
                drop_input(watch.directory)
            watch.seen_ended = watch.seen_ended or facts.ended is not None
        return facts

    def adopt(self, token: str, attempt: int, *, started: bool = False, at_once: bool = True) -> None:
        if self._watches.get(token, attempt) is not None:
            return
        watch = self._watches.add(Watch(token, attempt, self._directory(token, attempt), seen_started=started))
        if at_once:
            self._attach(watch)
        else:
            watch.unseen = True  # so that the sweep has it too, should nobody come
            self._to_attach.append(watch)

    def attach_some(self, most: int) -> bool:
        for watch in self._to_attach[-most:]:
            if watch.unseen and not watch.settled:
                self._attach(watch)
        del self._to_attach[-most:]
        return bool(self._to_attach)

    def _attach(self, watch: Watch) -> None:
        token, attempt = watch.token, watch.attempt
        if watch.seen_started:  # else the first sweep would have every one looked at again, before the daemon serves
            drop_input(watch.directory)
        if not self._watches.attach_owner(watch):  # it has ended meanwhile
            assert self._loop is not None
            self._loop.call_soon(self._listener, token, attempt)

    def meter_source(self, token: str, attempt: int) -> MeterSource | None:
        directory = self._directory(token, attempt)
        records = read_records(directory)
        main = taskdir.unpack_pid(records[3]) if records else None
        if records is None or main is None:
            return None
        claim = taskdir.unpack_claim(records[0])
        attached = bool(main.flags & taskdir.PID_ATTACHED)
        return MeterSource(
            claim.shim_pid if claim else 0,
            main.pid,
            os.fsdecode(directory),
            *(Places() if attached else self._cgroups_of(token, attempt))[:3],
            attached=attached,
            include_descendants=not attached or bool(main.flags & taskdir.PID_DESCENDANTS),
            main_start_ticks=main.start_ticks,
        )

    def directory_of(self, token: str, attempt: int) -> str:
        return os.fsdecode(self._directory(token, attempt))

    def path_of(self, token: str, attempt: int, name: str) -> str:
        path = f"{self.directory_of(token, attempt)}/task/{name}"
        return os.path.realpath(path) if name.split("/", 1)[0] == "work" else path  # it may be shared by all attempts

    def items_of(self, token: str, attempt: int) -> LocalItems:
        return LocalItems(self.path_of(token, attempt, "items"))

    def _directory(self, token: str, attempt: int) -> bytes:
        return taskdir.attempt_path(self._state, token, attempt)

    def _cgroups_of(self, token: str, attempt: int) -> Places:
        watch = self._watches.get(token, attempt)
        if watch is None or watch.cgroups is None:
            return self._cgroups.find(token, attempt)
        return watch.cgroups

    def _is_over(self, token: str, attempt: int) -> bool:
        """Whether nothing can still be asked of an attempt's cgroup: its totals are recorded, or its directory is gone."""
        records = read_records(self._directory(token, attempt))
        gone = taskdir.unpack_gone(records[4]) if records else None
        return records is None or (gone is not None and gone.final)

    # ---- ending ----------------------------------------------------------------------------------------------------

    def order_stop(self, token: str, attempt: int, cause: Cause, grace_seconds: float, serial: int) -> None:
        directory = self._directory(token, attempt)
        order = taskdir.Control(serial, int(cause), max(0, int(grace_seconds * _NS)))
        self._spares.lend(lambda: write_order(directory, order))
        watch = self._watches.get(token, attempt)
        if watch is not None and watch.alive:
            watch.ordered = True
            watch.tell()
            return
        _, pidfd = self._spares.lend(lambda: open_owner(directory))
        if pidfd >= 0:
            tell(pidfd)
            os.close(pidfd)

    async def kill_leftovers(self, token: str, attempt: int) -> int:
        assert self._loop is not None
        records = read_records(self._directory(token, attempt))
        main = taskdir.unpack_pid(records[3]) if records else None
        if main is not None and main.flags & taskdir.PID_ATTACHED:
            return 0
        cgroups, directory = self._cgroups.find(token, attempt), self._directory(token, attempt)
        return await self._loop.run_in_executor(self._killers, kill_leftovers, cgroups, token, attempt, directory)

    def last_account(self, token: str, attempt: int) -> Gone:
        return last_account(self._directory(token, attempt), self._cgroups_of(token, attempt))

    def settle(self, token: str, attempt: int) -> None:
        cgroups = self._cgroups_of(token, attempt)
        if any(cgroups):
            self._remove_cgroups(cgroups, REMOVE_TRIES, REMOVE_RETRY_SECONDS)
        watch = self._watches.get(token, attempt)
        if watch is not None:
            watch.settled = True
            if not watch.alive:
                self._watches.drop(watch)

    def _remove_cgroups(self, cgroups: Places, tries: int, pause_seconds: float) -> None:
        def again(error: int) -> None:
            if error != errno.EBUSY:
                log.warning("cannot remove cgroup %s: %s", cgroups.v2 or cgroups.v1[0], os.strerror(error))
            elif tries > 1 and self._started:
                assert self._loop is not None
                self._loop.call_later(pause_seconds, self._remove_cgroups, cgroups, tries - 1, pause_seconds * 2)

        if not self._started:
            return
        self._next_request += 1
        self._requests[self._next_request] = (None, None, again)
        self._launcher.remove_cgroups(self._next_request, os.fsencode(cgroups.v2), tuple(map(os.fsencode, cgroups.v1)))

    async def remove(self, token: str) -> None:
        self.discard(token)
        await self.remove_discarded([token])

    def discard(self, token: str) -> None:
        self._trash.put(os.fsdecode(taskdir.task_path(self._state, token)))

    def take_back(self, token: str) -> None:
        self._trash.take_back(os.fsdecode(taskdir.task_path(self._state, token)))

    async def remove_discarded(self, tokens: Sequence[str]) -> None:
        assert self._loop is not None
        await self._loop.run_in_executor(self._remover, self._trash.delete_named, list(tokens))

    async def sizes(self, tokens: Sequence[str]) -> list[int]:
        assert self._loop is not None
        paths = [taskdir.task_path(self._state, token) for token in tokens]
        return await self._loop.run_in_executor(self._remover, lambda: [disk_bytes(path) for path in paths])

    def log_bytes(self, token: str, attempt: int, name: str) -> int:
        return log_bytes(self._log_path(token, attempt, name))

    def log_start(self, token: str, attempt: int, name: str) -> int:
        return log_start(self._log_path(token, attempt, name))

    async def punch_log(self, token: str, attempt: int, name: str, end: int) -> None:
        assert self._loop is not None
        await self._loop.run_in_executor(self._remover, punch_log, self._log_path(token, attempt, name), end)

    def _log_path(self, token: str, attempt: int, name: str) -> bytes:
        return self._directory(token, attempt) + b"/task/" + name.encode()

    async def close(self) -> None:
        if not self._started:
            return
        self._started = False
        assert self._loop is not None
        self._timer.cancel()
        for source in (self._hints, self._watches, self._launcher):
            self._loop.remove_reader(source.fileno())
        self._launcher.close()
        self._hints.close()
        self._watches.close()
        self._spares.close()
        self._remover.shutdown(wait=True, cancel_futures=True)
        self._killers.shutdown(wait=True, cancel_futures=True)
        self._cgroups.close()
        for _, done, _ in self._requests.values():
            if done is not None:
                done.cancel()
        self._requests.clear()
        self._to_attach.clear()

    # ---- what the loop calls ---------------------------------------------------------------------------------------

    def _new_request(self, watch: Watch | None) -> tuple[int, asyncio.Future[None]]:
        assert self._loop is not None
        self._next_request += 1
        done: asyncio.Future[None] = self._loop.create_future()
        self._requests[self._next_request] = (watch, done, None)
        return self._next_request, done

    def _on_results(self) -> None:
        for number, kind, error, step, pid, pidfd in self._launcher.results():
            watch, done, failed = self._requests.pop(number)
            if kind == LAUNCH and watch is not None and error == 0:
                self._watches.attach(watch, pid, pidfd)
                if STEPS[step] == "cgroup":
                    log.warning("task %s runs without a cgroup: it could not be made", watch.token)
                    watch.cgroups = self._cgroups.find(watch.token, watch.attempt)
            if kind == REMOVE_CGROUPS and error and failed is not None:
                failed(error)
            if done is not None and not done.done():
                if error:
                    done.set_exception(OSError(error, f"{os.strerror(error)} ({STEPS[step]})"))
                else:
                    done.set_result(None)

    def _on_hints(self) -> None:
        for token, attempt in self._hints.take():
            watch = self._watches.get(token, attempt)
            if watch is not None and not watch.settled:
                self._listener(token, attempt)

    def _on_exits(self) -> None:
        for watch, status in self._watches.take_ended():
            if status not in {None, ShimStatus.DONE, ShimStatus.CLAIMED}:
                log.warning("the shim of task %s ended with status %s", watch.token, status)
            if not watch.settled:
                self._listener(watch.token, watch.attempt)

    def _sweep(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        for watch in self._to_sweep():
            if watch.settled:
                continue
            unseen = watch.unseen
            found = (unseen or not watch.alive) and self._watches.attach_owner(
                watch
            )  # no descriptor was left when it was adopted
            if found or (unseen and not watch.alive) or self._watches.check(watch) or not watch.seen_started:
                self._listener(watch.token, watch.attempt)
            elif not watch.seen_ended:
                stamp = _modified_ns(watch.directory + b"/exit")
                if stamp != watch.exit_stamp_ns:
                    watch.exit_stamp_ns = stamp
                    self._listener(watch.token, watch.attempt)

    def _to_sweep(self) -> list[Watch]:
        """Return who is looked at now: all that have not been seen to start, or have no descriptor, and of the others some."""
        if len(self._in_turn) < SWEEP_COUNT:
            self._in_turn = self._watches.all()
        turn, self._in_turn = self._in_turn[-SWEEP_COUNT:], self._in_turn[:-SWEEP_COUNT]
        if self._in_turn:
            chosen = set(turn)
            turn += [watch for watch in self._watches.all() if watch.is_uncertain and watch not in chosen]
        return turn


def _modified_ns(path: bytes) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _own_umask() -> int:
    """Read it from /proc (4.7): os.umask could only tell by setting it, for all threads."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
