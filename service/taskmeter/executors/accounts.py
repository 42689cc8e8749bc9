"""Whom tasks run as: the daemon's own user, or, under a daemon that runs as root, users that its settings name.

They are looked up once, when the daemon starts: a launch must not wait for a directory service.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from taskmeter.errors import InvalidArgumentError, PreconditionError
from taskmeter.executors.taskdir import MAX_GROUPS

TRAVERSABLE = 0o711
FIELD = "spec.user"


class Account(Struct, frozen=True):
    """One user, as a process of theirs is to be."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary ones; the primary group is among them."""
    home: str
    shell: str

    @property
    def ids(self) -> tuple[int, int]:
        return self.uid, self.gid

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


class Accounts(Struct, frozen=True):
    """`default`: whom tasks run as that name nobody; None = the daemon's own user. `named`: whom they may name."""

    default: Account | None = None
    named: Mapping[str, Account] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.default is not None or bool(self.named)

    def check(self, user: str) -> None:
        """Raise `PreconditionError` UNSUPPORTED_HERE or `InvalidArgumentError` if tasks may not run as `user`; "" always may."""
        if not user or user in self.named:
            return
        if not self.named:
            raise PreconditionError(
                "this daemon runs tasks as nobody but its own choice",
                reason="UNSUPPORTED_HERE",
                hint="`task_users` in the settings of a daemon that runs as root lists whom tasks may run as",
                metadata={"field": FIELD},
            )
        problem = f"must be one of {', '.join(sorted(self.named))}, whom this daemon may run tasks as"
        raise InvalidArgumentError(f"{FIELD}: {problem}", fields=[(FIELD, problem)])

    def of(self, user: str) -> Account | None:
        """Return whom a task runs as; None = the daemon's own user. Raises `PermissionError` if it may no more."""
        if not user:
            return self.default
        if user not in self.named:
            raise PermissionError(f"this daemon may no longer run tasks as {user}")
        return self.named[user]


def load_accounts(task_user: str, task_users: str, state_dir: Path) -> Accounts:
    """Look up the users that the settings name, `task_users` separated by commas.

    Raises `InvalidArgumentError` for one that does not exist, is root, or cannot get to the state directory; and for any if the
    daemon does not run as root.
    """
    names = [name.strip() for name in task_users.split(",") if name.strip()]
    if not task_user and not names:
        return Accounts()
    setting = "task_user" if task_user else "task_users"
    if os.geteuid() != 0:
        raise _invalid(setting, "only a daemon that runs as root can run tasks as somebody else; leave it out")
    default = _find("task_user", task_user) if task_user else None
    named = {name: _find("task_users", name) for name in names}
    if default is not None:
        named.setdefault(default.name, default)
    for account in named.values():
        _check_reachable(setting, account, state_dir)
    return Accounts(default, named)


def _find(setting: str, name: str) -> Account:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise _invalid(setting, f"there is no user {name!r} on this host") from None
    if entry.pw_uid == 0:
        raise _invalid(setting, f"{name} is root, whom tasks run as when nothing is set")
    groups = tuple(dict.fromkeys((entry.pw_gid, *os.getgrouplist(name, entry.pw_gid))))
    if len(groups) > MAX_GROUPS:
        raise _invalid(setting, f"{name} belongs to {len(groups)} groups; at most {MAX_GROUPS} can be handed on")
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


def _check_reachable(setting: str, account: Account, state_dir: Path) -> None:
    """Its tasks have their directories below the state directory: see whether they can get there, as far as mode bits tell."""
    for parent in state_dir.resolve().parents:
        try:
            found = parent.stat()
        except OSError:
            continue
        if found.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif found.st_gid in account.groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not found.st_mode & bit:
            raise _invalid(
                setting,
                f"{account.name} cannot get to the state directory: {parent} is closed to it; use another state directory",
            )


def open_ways(state_dir: Path) -> None:
    """Let users get to their tasks' directories, whose names they are told; nobody else can list or read anything there."""
    tasks = state_dir / "tasks"
    for path in (state_dir, tasks, *(Path(shard.path) for shard in os.scandir(tasks) if shard.is_dir(follow_symlinks=False))):
        path.chmod(TRAVERSABLE)


def _invalid(setting: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{setting}: {problem}", fields=[(setting, problem)])
