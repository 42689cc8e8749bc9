"""The shims that are alive: one pidfd each, all in one epoll descriptor that the loop watches."""

from __future__ import annotations

import errno
import os
import select

from msgspec import Struct

from metercore.attempt import open_owner, tell
from taskmeter.executors.cgroups import Places
from taskmeter.executors.taskdir import ShimStatus

NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class Watch(Struct, eq=False):
    """One attempt that this daemon launched or adopted."""

    token: str
    attempt: int
    directory: bytes
    pid: int = 0
    pidfd: int = -1
    alive: bool = True
    """The shim's end has not been seen. True from the request to launch it: before its first record there is nothing else."""
    ordered: bool = False
    """A stop order was written; whichever shim gets attached is told."""
    settled: bool = False
    cgroups: Places | None = None
    """None = not known, look for them."""
    seen_started: bool = False
    seen_ended: bool = False
    unseen: bool = False
    """Whether its shim lives could not be looked up, for lack of descriptors; it counts as alive until it can."""
    exit_stamp_ns: int = 0
    """Modification time of the exit record when the sweep last looked."""

    @property
    def is_uncertain(self) -> bool:
        """Whether no descriptor tells of its shim's end, or nothing has told yet that it began."""
        return self.pidfd < 0 or not self.seen_started

    def tell(self) -> None:
        """Have the shim read its orders. While it is being spawned it cannot be told; attaching it does that then."""
        if self.pidfd >= 0:
            tell(self.pidfd)


class Watches:
    """All watches by (token, attempt). A descriptor in our own epoll costs a tenth of a reader of its own on the loop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_key: dict[tuple[str, int], Watch] = {}
        self._by_fd: dict[int, Watch] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def get(self, token: str, attempt: int) -> Watch | None:
        return self._by_key.get((token, attempt))

    def all(self) -> list[Watch]:
        return list(self._by_key.values())

    def add(self, watch: Watch) -> Watch:
        self._by_key[watch.token, watch.attempt] = watch
        return watch

    def attach(self, watch: Watch, pid: int, pidfd: int) -> None:
        """Give a watch its shim. pidfd -1 (no descriptors left): `check` has to be called from time to time."""
        watch.pid, watch.pidfd, watch.alive = pid, pidfd, True
        if pidfd >= 0:
            self._by_fd[pidfd] = watch
            self._epoll.register(pidfd, select.EPOLLIN)
        if watch.ordered:
            watch.tell()

    def attach_owner(self, watch: Watch) -> bool:
        """Give a watch the shim that holds the attempt's lock; False when nobody does, or nobody could look."""
        try:
            pid, pidfd = open_owner(watch.directory)
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS:
                raise
            watch.alive = watch.unseen = True  # of a shim that may live, nothing may be concluded
            return False
        watch.unseen = False
        if pidfd < 0:
            watch.alive = False
            return False
        self.attach(watch, pid, pidfd)
        return True

    def take_ended(self) -> list[tuple[Watch, int | None]]:
        """Return the watches whose shims have ended, each with its exit status (negative: signal; None: not our child)."""
        ended = []
        for pidfd, _ in self._epoll.poll(0):
            watch = self._by_fd.pop(pidfd)
            self._epoll.unregister(pidfd)
            status = _reap(os.P_PIDFD, pidfd)
            os.close(pidfd)
            ended.append((watch, self._ended(watch, status)))
        return ended

    def check(self, watch: Watch) -> bool:
        """Look whether the shim of a watch without descriptor has ended; tells whether it has."""
        if watch.pidfd >= 0 or not watch.alive or not watch.pid:
            return False
        try:
            if os.waitid(os.P_PID, watch.pid, os.WEXITED | os.WNOHANG) is None:
                return False
        except ChildProcessError:
            try:
                owner, pidfd = open_owner(watch.directory)
            except OSError as error:
                if error.errno not in NO_DESCRIPTORS:
                    raise
                return False
            if owner:
                os.close(pidfd)
                return False
        self._ended(watch, None)
        return True

    def _ended(self, watch: Watch, status: int | None) -> int | None:
        watch.pidfd, watch.alive = -1, False
        if status == ShimStatus.CLAIMED:  # launched twice, around a daemon's death: the other one runs it
            self.attach_owner(watch)
        if watch.settled and not watch.alive:
            self.drop(watch)
        return status

    def drop(self, watch: Watch) -> None:
        self._by_key.pop((watch.token, watch.attempt), None)

    def close(self) -> None:
        for pidfd in self._by_fd:
            os.close(pidfd)
        self._by_fd.clear()
        self._by_key.clear()
        self._epoll.close()


def _reap(kind: int, number: int) -> int | None:
    """Collect a child; adopted shims are init's children and need none, unless we are init."""
    try:
        info = os.waitid(kind, number, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if info is None:
        return None
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
