"""What the daemon does when its database is missing or damaged: put it aside, build a new one from the task directories, go on.

What was only misread is opened again.

The file `rebuilding` stands from before the new database exists until it is complete, so that a daemon which dies meanwhile
begins again instead of serving half of the tasks. `rebuilt.json` says afterwards what happened; `taskmeter doctor` shows it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import asdict

from taskmeter.core.ports import Codec
from taskmeter.core.rebuild import rebuild
from taskmeter.core.service import Service
from taskmeter.errors import UnavailableError
from taskmeter.stores.damage import MISREAD, Damage, DamagedStoreError, is_sound, put_aside
from taskmeter.stores.queuefile import QUEUES_NAME
from taskmeter.stores.schedulefile import SCHEDULES_NAME
from taskmeter.stores.sqlite import SqliteStore

DATABASE = "taskmeter.db"
MARKER = "rebuilding"
REPORT = "rebuilt.json"

TOO_SOON_SECONDS = 60.0
"""A new database that is damaged so soon again is the disk's fault: it is not built anew in circles."""

PATIENCE_SECONDS = 2.0
"""A disk that fails to read is asked again for so long, before its database is taken for damaged or the start is given up."""
_PAUSE_SECONDS = 0.1

log = logging.getLogger(__name__)


class Loss(Struct, frozen=True):
    """What happened to the database."""

    why: str
    aside: str = ""
    """Path of the damaged file; "" if there was none."""


def open_store(
    state_dir: Path, codec: Codec, ballast_bytes: int, *, secure_delete: bool = False
) -> tuple[SqliteStore, Loss | None]:
    """Open the database, or a new one in the place of one that is lost; then `rebuild_store` has to fill it.

    Raises `UnavailableError` when it cannot be used for a reason that a new one would not mend: full disk, newer schema.
    """
    path = state_dir / DATABASE
    loss = _interrupted(state_dir)
    if loss is not None:  # what is there is part of an unfinished rebuild, or was known to be damaged
        for suffix in ("-wal", "-shm", ""):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    elif _is_empty(path) and _was_used(state_dir):
        loss = Loss("the database was missing")
        _mark(state_dir, loss)
    if loss is None:
        try:
            return _open_patiently(path, codec, ballast_bytes, secure_delete), None
        except DamagedStoreError as error:
            loss = _put_aside(state_dir, error.message)
    log.error(
        "%s; a new one is built from the task directories%s", loss.why, f", the old one is {loss.aside}" if loss.aside else ""
    )
    return _open_patiently(path, codec, ballast_bytes, secure_delete), loss


async def rebuild_store(state_dir: Path, service: Service, loss: Loss) -> None:
    """Fill the new database, and say what was found. Resume tokens of the old one are answered with STORE_CHANGED."""
    begin = time.monotonic()
    found = await rebuild(service)
    report = {"time": time.time(), **asdict(loss), **asdict(found), "store_id": service.store.store_id}
    staged = state_dir / f"{REPORT}.new"
    staged.write_text(json.dumps(report) + "\n", encoding="utf-8")
    os.replace(staged, state_dir / REPORT)
    (state_dir / MARKER).unlink()
    log.warning("the database was built anew in %.0f ms: %s", (time.monotonic() - begin) * 1e3, found)


def may_start_again(state_dir: Path) -> bool:
    """Tell whether building the database anew may help: not when that was done a moment ago."""
    try:
        last = float(json.loads((state_dir / REPORT).read_text(encoding="utf-8"))["time"])
    except (OSError, ValueError, KeyError):
        return True
    return not 0 <= time.time() - last < TOO_SOON_SECONDS


def start_again(state_dir: Path, what: Damage) -> NoReturn:
    """Do as `lose`, and become a fresh daemon, in the same process: for its parent and its shims nothing changes."""
    lose(state_dir, what)
    log.error("the daemon starts anew")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell is meant


def lose(state_dir: Path, what: Damage) -> None:
    """Put a database aside that was damaged while it was used; whoever starts next builds another one.

    Only if it is damaged indeed: a disk that failed to read once looks just the same to who was reading.
    """
    if what.may_be_misread and _becomes_sound(state_dir / DATABASE):
        log.error("the database seemed damaged (%s), but is sound when it is read again", what.text)
    else:
        loss = _put_aside(state_dir, f"the database was damaged while it was used: {what.text}")
        log.error("the database is damaged (%s), and was put aside as %s", what.text, loss.aside)


def _open_patiently(path: Path, codec: Codec, ballast_bytes: int, secure_delete: bool) -> SqliteStore:
    """Open the database; again, for a while, if what fails is the disk: nobody would start this daemon another time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return SqliteStore(path, codec, ballast_bytes, secure_delete=secure_delete)
        except UnavailableError as error:
            if not isinstance(error.__cause__, MISREAD) or time.monotonic() > deadline:
                raise
            log.error("%s; trying again", error.message)
            time.sleep(_PAUSE_SECONDS)


def _becomes_sound(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (sound := is_sound(path)) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return sound


def _put_aside(state_dir: Path, why: str) -> Loss:
    aside = put_aside(state_dir / DATABASE)
    loss = Loss(why, str(aside))
    _mark(state_dir, loss)
    return loss


def _mark(state_dir: Path, loss: Loss) -> None:
    (state_dir / MARKER).write_text(json.dumps(asdict(loss)) + "\n", encoding="utf-8")


def _interrupted(state_dir: Path) -> Loss | None:
    try:
        text = (state_dir / MARKER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return Loss(**json.loads(text))
    except (ValueError, TypeError):
        return Loss("building the database anew was interrupted")


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _was_used(state_dir: Path) -> bool:
    if any((state_dir / name).exists() for name in (QUEUES_NAME, SCHEDULES_NAME)):
        return True
    try:
        return any(any(os.scandir(shard)) for shard in os.scandir(state_dir / "tasks") if shard.is_dir())
    except FileNotFoundError:
        return False
