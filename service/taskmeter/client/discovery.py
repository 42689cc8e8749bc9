"""Where the daemon listens and which key it wants: arguments, then environment, then the state directory.

Nothing here connects. An admin key read from a state directory is only ever sent to that directory's own daemon.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from taskmeter.errors import UnavailableError

SOCKET_NAME = "daemon.sock"
RECORD_NAME = "daemon.json"
KEY_NAME = "admin.key"
TLS_PREFIX = "https://"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One daemon as a client reaches it."""

    target: str
    """gRPC target: `unix:/path` or `host:port`."""
    key: str = field(default="", repr=False)
    state_dir: Path | None = None
    """Set when the target was read from there; it may be another one after the daemon restarted."""
    tls: bool = False
    """The target was named as https://, so that nothing is sent before the daemon has shown its certificate."""

    @property
    def socket_path(self) -> str | None:
        """Path of the unix socket, None for TCP."""
        return socket_path(self.target)


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """What a serving daemon wrote into `daemon.json`."""

    pid: int
    version: str
    grpc: tuple[str, ...]
    http: tuple[str, ...]
    start_time: float


def default_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return `TASKMETER_STATE_DIR`, or `taskmeter` under `XDG_STATE_HOME` (default `~/.local/state`)."""
    environ = os.environ if environ is None else environ
    chosen = environ.get("TASKMETER_STATE_DIR")
    if chosen:
        return as_directory(chosen)
    base = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "taskmeter"


def as_directory(name: str | Path) -> Path:
    """Return the absolute path of a directory that a user named; nothing is resolved."""
    return Path(name).expanduser().absolute()


def read_record(state_dir: Path) -> DaemonRecord | None:
    """Read `daemon.json`; None if there is none or it is not one. The daemon it names may be dead."""
    try:
        data = json.loads((state_dir / RECORD_NAME).read_bytes())
        return DaemonRecord(
            pid=int(data["pid"]),
            version=str(data.get("version", "")),
            grpc=tuple(map(str, data.get("grpc", ()))),
            http=tuple(map(str, data.get("http", ()))),
            start_time=float(data.get("start_time", 0.0)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_key(state_dir: Path) -> str:
    """Read the admin key of a state directory; empty if it is not there or not ours to read."""
    try:
        return (state_dir / KEY_NAME).read_text("ascii", "replace").strip()
    except OSError:
        return ""


def socket_path(target: str) -> str | None:
    """Return the path in a `unix:` target (forms `unix:/p` and `unix:///p`), None for any other target."""
    if not target.startswith("unix:"):
        return None
    path = target.removeprefix("unix:")
    return unquote(path.removeprefix("//") if path.startswith("///") else path)


def unix_target(path: str | Path) -> str:
    """Return the gRPC target of a socket path; gRPC reads it as a URI, so unusual bytes are percent-encoded."""
    return "unix:" + quote(str(path))


def find(
    target: str | None = None,
    key: str | None = None,
    state_dir: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Endpoint:
    """Find the daemon: arguments, `TASKMETER_TARGET`/`TASKMETER_KEY`, `TASKMETER_STATE_DIR`, the default state directory.

    Raises `UnavailableError` when a state directory has to tell and no daemon has written there.
    """
    environ = os.environ if environ is None else environ
    directory = as_directory(state_dir) if state_dir else default_state_dir(environ)
    known_key = key or environ.get("TASKMETER_KEY", "")
    if not target and not state_dir:
        target = environ.get("TASKMETER_TARGET", "")
    if target:
        path = socket_path(target)
        if path is not None:
            return Endpoint(unix_target(path), known_key or _key_of_socket(path, directory))
        return _tcp(target, known_key or _key_if_listed(target, directory), None)
    found = _target_of(directory)
    known_key = known_key or read_key(directory)
    return Endpoint(found, known_key, directory) if socket_path(found) is not None else _tcp(found, known_key, directory)


def _tcp(target: str, key: str, directory: Path | None) -> Endpoint:
    address = target.removeprefix(TLS_PREFIX).rstrip("/")
    return Endpoint(address, key, directory, tls=target.startswith(TLS_PREFIX))


def _target_of(directory: Path) -> str:
    record = read_record(directory)
    for candidate in sorted(record.grpc if record else (), key=lambda target: not target.startswith("unix:")):
        path = socket_path(candidate)
        return candidate if path is None else unix_target(path)
    if os.path.exists(directory / SOCKET_NAME):
        return unix_target(directory / SOCKET_NAME)
    raise UnavailableError(f"no daemon has served from {directory}")


def _key_of_socket(path: str, directory: Path) -> str:
    """A socket is trusted with the key that lies beside it, or with that of the directory whose daemon names it."""
    return read_key(Path(path).parent) or _key_if_listed(path, directory)


def _key_if_listed(target: str, directory: Path) -> str:
    record = read_record(directory)
    listed = {socket_path(one) or one for one in record.grpc} if record else set()
    return read_key(directory) if target in listed else ""
