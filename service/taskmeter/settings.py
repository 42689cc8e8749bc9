"""What a daemon can be told, and where it is told: flags over environment over config file over defaults."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from taskmeter.errors import InvalidArgumentError


def default_state_dir() -> Path:
    """Return TASKMETER_STATE_DIR, else $XDG_STATE_HOME/taskmeter, else ~/.local/state/taskmeter."""
    given = os.environ.get("TASKMETER_STATE_DIR")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "taskmeter"


@dataclass(frozen=True, slots=True)
class Settings:
    """One daemon's settings. Every name is also a key of the config file and, in capitals after TASKMETER_, a variable."""

    state_dir: Path
    listen: str = ""
    """HOST:PORT to listen on besides the unix socket; loopback only; port 0 picks a free one."""
    max_running: int = 1000
    """Tasks that run at once; the others wait."""
    max_waiting: int = 100_000
    """Tasks that may wait; one more is refused with QUEUE_FULL."""
    sample_rate_hz: float = 10.0
    """Samples per second, 0.1–20."""
    cgroup: str = "auto"
    """"auto" uses cgroups where they are writable, "off" never."""
    gpu: str = "auto"
    """"auto" meters GPUs where NVIDIA's driver is, "off" never."""
    auto: bool = False
    """Started by a client: exit after `auto_exit_seconds` without a live task or a call."""
    auto_exit_seconds: float = 600.0
    log_level: str = "info"
    log_format: str = "console"
    """"console" or "json"; logs go to stderr."""


_ENVIRONMENT = (
    "listen",
    "max_running",
    "max_waiting",
    "sample_rate_hz",
    "cgroup",
    "gpu",
    "auto_exit_seconds",
    "log_level",
    "log_format",
)


def load(flags: Mapping[str, Any]) -> Settings:
    """Combine flags (None = not given; `config` names a TOML file) with the environment and defaults, and check the result.

    Raises `InvalidArgumentError` naming what is wrong.
    """
    given: dict[str, Any] = {}
    config = flags.get("config")
    if config:
        try:
            given.update(tomllib.loads(Path(config).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise _invalid("config", f"cannot read {config}: {error}") from error
    for name in _ENVIRONMENT:
        value = os.environ.get(f"TASKMETER_{name.upper()}")
        if value:
            given[name] = value
    given.update({name: value for name, value in flags.items() if value is not None and name != "config"})
    known = {field.name for field in fields(Settings)}
    for name in given:
        if name not in known:
            raise _invalid(name, f"is not a setting; known are {', '.join(sorted(known))}")
    state_dir = Path(given.pop("state_dir", None) or default_state_dir()).absolute()
    return _checked(replace(Settings(state_dir), **{name: _typed(name, value) for name, value in given.items()}))


def _invalid(name: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}: {problem}", fields=[(name, problem)])


def _typed(name: str, value: Any) -> Any:
    kind = type(getattr(Settings(Path("/")), name))
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    try:
        if kind in (int, float) and not isinstance(value, bool):
            return kind(value)
    except (TypeError, ValueError):
        pass
    raise _invalid(name, f"must be {'a number' if kind in (int, float) else kind.__name__}, not {value!r}")


def _checked(settings: Settings) -> Settings:
    if not 0.1 <= settings.sample_rate_hz <= 20.0:
        raise _invalid("sample_rate_hz", "must be from 0.1 to 20")
    if settings.max_running < 1:
        raise _invalid("max_running", "must be at least 1")
    if settings.max_waiting < 0:
        raise _invalid("max_waiting", "must be at least 0")
    if settings.cgroup not in ("auto", "off"):
        raise _invalid("cgroup", 'must be "auto" or "off"')
    if settings.gpu not in ("auto", "off"):
        raise _invalid("gpu", 'must be "auto" or "off"')
    if settings.log_format not in ("console", "json"):
        raise _invalid("log_format", 'must be "console" or "json"')
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise _invalid("log_level", 'must be "debug", "info", "warning" or "error"')
    if not math.isfinite(settings.auto_exit_seconds) or settings.auto_exit_seconds <= 0:
        raise _invalid("auto_exit_seconds", "must be more than 0")
    if settings.listen:
        host, _, port = settings.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise _invalid("listen", "must be HOST:PORT")
        if host not in ("127.0.0.1", "localhost", "[::1]"):
            raise _invalid("listen", "must be a loopback address: other hosts need TLS, which is not built yet")
    return settings
