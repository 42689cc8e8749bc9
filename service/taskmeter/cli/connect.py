"""Reach the daemon, starting one where that is right."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskmeter.cli import autostart
from taskmeter.client import discovery
from taskmeter.errors import TaskmeterError, UnavailableError

if TYPE_CHECKING:
    from taskmeter.client.sync import SyncClient


def connect(
    target: str | None,
    state_dir: str | None,
    *,
    create: bool = False,
    on_disconnect: Callable[[TaskmeterError], None] | None = None,
) -> SyncClient:
    """Return a client of the daemon that was asked for.

    Without an explicit target, a daemon is started for the state directory if none serves there; `create` says whether to do
    so for a directory that does not exist yet. It is started again if it dies while the client is connected.
    """
    from taskmeter.client.sync import SyncClient

    directory = discovery.default_state_dir() if state_dir is None else discovery.as_directory(state_dir)
    if target or (not state_dir and os.environ.get("TASKMETER_TARGET")):
        return SyncClient(target, state_dir=state_dir, on_disconnect=on_disconnect)
    if not create and not os.path.isdir(directory):
        raise UnavailableError(
            f"no daemon has served from {directory}", hint="`taskmeter run -- COMMAND` starts one, and the command"
        )
    autostart.ensure(directory)

    def revive(error: TaskmeterError) -> None:
        if on_disconnect is not None:
            on_disconnect(error)
        if error.reason == "DAEMON_UNREACHABLE":
            autostart.ensure(directory)

    return SyncClient(state_dir=directory, on_disconnect=revive)
