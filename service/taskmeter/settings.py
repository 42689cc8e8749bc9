"""What a daemon can be told, and where it is told: flags over environment over config file over defaults."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from taskmeter import retention, tariffs
from taskmeter.errors import InvalidArgumentError
from taskmeter.model.retention import Retention
from taskmeter.model.usage import Tariff


def default_state_dir() -> Path:
    """Return TASKMETER_STATE_DIR, else $XDG_STATE_HOME/taskmeter, else ~/.local/state/taskmeter."""
    given = os.environ.get("TASKMETER_STATE_DIR")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "taskmeter"


class Settings(Struct, frozen=True):
    """One daemon's settings. Every name is also a key of the config file and, in capitals after TASKMETER_, a variable."""

    state_dir: Path
    listen: str = ""
    """HOST:PORT to listen on besides the unix socket; loopback only, unless there is TLS; port 0 picks a free one."""
    tls_cert: str = ""
    """PEM file with the certificate of `listen`, followed by those that lead to its authority; read again when it changes."""
    tls_key: str = ""
    """PEM file with the key of `tls_cert`."""
    tls_client_ca: str = ""
    """PEM file: only clients with a certificate of this authority can connect to `listen`. They need a key besides."""
    listen_in_plain_text_and_let_anybody_on_the_network_read_the_keys: bool = False
    """Have `listen` on any address without TLS. Whoever sees the traffic has the keys, and with them this user's account."""
    task_user: str = ""
    """Whom a daemon that runs as root runs tasks as; their directories must be within this user's reach. Empty = root."""
    task_users: str = ""
    """Whom a task may ask to run as, under such a daemon: names, separated by commas, or a list in the config file."""
    audit: str = "changes"
    """What audit.jsonl notes: "changes" what changes something, streams and refusals, "all" every call, "off" nothing."""
    audit_max_bytes: int = 64 * 1024 * 1024
    """Size of all audit files together; the oldest goes."""
    max_streams: int = 10_000
    """Streams that a key without such a quota may have open."""
    slow_consumer_seconds: float = 60.0
    """How long a subscriber may leave a message unread before its stream ends with SLOW_CONSUMER, 1–3600."""
    calls_per_second: float = 0.0
    """Calls that a key without a rate of its own may make on average, the admin key excepted; 0 = no bound."""
    calls_burst: int = 0
    """Calls that such a key may make at once after a pause; 0 = those of one second."""
    max_running: int = 1000
    """Tasks that run at once; the others wait."""
    max_waiting: int = 100_000
    """Tasks that may wait, those that wait for their next attempt included; one more is refused with QUEUE_FULL."""
    sample_rate_hz: float = 10.0
    """Samples per second, 0.1–20."""
    cgroup: str = "auto"
    """"auto" uses cgroups where they are writable, "v1" those of version 1 alone, "off" none."""
    meter_backend: str = "auto"
    """How processes without a cgroup are read: "bpf", "clock", "procfs"; "auto" chooses, and again when one fails."""
    measure_uss: bool = False
    """Read proportional and unique set sizes of all tasks too, for at most 1 % of a core."""
    tariff: str = "default"
    """What tasks are billed by that name none."""
    tariffs: Mapping[str, Tariff] = field(default_factory=lambda: tariffs.parse({}))
    """By name; only in the config file, see `taskmeter.tariffs`."""
    config: Path | None = None
    """The file that was read; tariffs are read from it again on SIGHUP."""
    gpu: str = "auto"
    """"auto" meters GPUs where NVIDIA's driver is, "off" never."""
    drain_on_stop: str = "auto"
    """Whether SIGTERM interrupts all tasks first: "never"; "always"; "auto" if the host or the container goes down with it."""
    encryption_key_file: str = ""
    """If set, arguments, environment and input of tasks are stored encrypted with the keys in it; see `taskmeter.sealing`."""
    retention: Retention = field(default_factory=Retention)
    """What is kept of ended tasks; only in the config file, see `taskmeter.retention`."""
    ballast_bytes: int = 8 * 2**20
    """Space set aside so that stops, exits and deletes can still be stored on a full disk; 0 = none."""
    auto: bool = False
    """Started by a client: exit after `auto_exit_seconds` without a live task or a call."""
    auto_exit_seconds: float = 600.0
    log_level: str = "info"
    log_format: str = "console"
    """"console" or "json"; logs go to stderr."""


PLAIN_TEXT = "listen_in_plain_text_and_let_anybody_on_the_network_read_the_keys"

_ENVIRONMENT = (
    "listen",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    PLAIN_TEXT,
    "task_user",
    "task_users",
    "audit",
    "audit_max_bytes",
    "max_streams",
    "slow_consumer_seconds",
    "calls_per_second",
    "calls_burst",
    "max_running",
    "max_waiting",
    "sample_rate_hz",
    "cgroup",
    "meter_backend",
    "measure_uss",
    "tariff",
    "gpu",
    "drain_on_stop",
    "encryption_key_file",
    "ballast_bytes",
    "auto_exit_seconds",
    "log_level",
    "log_format",
)


def load(flags: Mapping[str, Any]) -> Settings:
    """Combine flags (None = not given), environment, the config file and defaults, and check the result.

    The file is the flag `config`, else TASKMETER_CONFIG, else config.toml in the state directory if it is there. Raises
    `InvalidArgumentError` naming what is wrong.
    """
    given: dict[str, Any] = {}
    config = _config_path(flags)
    if config:
        given.update(_read(config))
        given["config"] = config.absolute()
    given["tariffs"] = tariffs.parse(given.get("tariffs", {}))
    given["retention"] = retention.parse(given.get("retention", {}))
    for name in _ENVIRONMENT:
        value = os.environ.get(f"TASKMETER_{name.upper()}")
        if value:
            given[name] = value
    given.update({name: value for name, value in flags.items() if value is not None and name != "config"})
    known = set(Settings.__struct_fields__)
    for name in given:
        if name not in known:
            raise _invalid(name, f"is not a setting; known are {', '.join(sorted(known))}")
    state_dir = Path(given.pop("state_dir", None) or default_state_dir()).absolute()
    return _checked(replace(Settings(state_dir), **{name: _typed(name, value) for name, value in given.items()}))


def plain_text_on_the_network(settings: Settings) -> bool:
    """Tell whether keys travel where others than this host's users can read them."""
    host = settings.listen.rpartition(":")[0]
    return bool(settings.listen) and host not in ("127.0.0.1", "localhost", "[::1]") and not settings.tls_cert


def reload_tariffs(settings: Settings) -> Settings:
    """Read the tariffs of the config file again; nothing else of it. Raises `InvalidArgumentError`, and then nothing changed."""
    if settings.config is None:
        return settings
    read = _read(settings.config)
    fresh = tariffs.updated(settings.tariffs, tariffs.parse(read.get("tariffs", {})))
    return _checked(replace(settings, tariffs=fresh))


def _config_path(flags: Mapping[str, Any]) -> Path | None:
    named = flags.get("config") or os.environ.get("TASKMETER_CONFIG")
    if named:
        return Path(named)
    usual = Path(flags.get("state_dir") or default_state_dir()) / "config.toml"
    return usual if usual.exists() else None


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _invalid("config", f"cannot read {config}: {error}") from error


def _invalid(name: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}: {problem}", fields=[(name, problem)])


def _typed(name: str, value: Any) -> Any:
    if name == "task_users" and isinstance(value, list):
        value = ",".join(map(str, value))
    if name in {"tariffs", "config", "retention"}:
        return value
    kind = type(getattr(Settings(Path("/")), name))
    if kind is bool and value in {"0", "1", "true", "false"}:
        return value in {"1", "true"}
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
    if settings.ballast_bytes < 0:
        raise _invalid("ballast_bytes", "must be at least 0")
    if settings.max_waiting < 0:
        raise _invalid("max_waiting", "must be at least 0")
    if settings.tariff not in settings.tariffs:
        raise _invalid("tariff", f"there is no tariff {settings.tariff!r}; known are {', '.join(sorted(settings.tariffs))}")
    if not math.isfinite(settings.auto_exit_seconds) or settings.auto_exit_seconds <= 0:
        raise _invalid("auto_exit_seconds", "must be more than 0")
    if settings.listen:
        host, _, port = settings.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise _invalid("listen", "must be HOST:PORT")
        if plain_text_on_the_network(settings) and not getattr(settings, PLAIN_TEXT):
            raise _invalid(
                "listen", "must be a loopback address, or have tls_cert and tls_key: keys must not travel in plain text"
            )
    _check_words(settings)
    _check_access(settings)
    return settings


def _check_words(settings: Settings) -> None:
    if settings.cgroup not in ("auto", "v1", "off"):
        raise _invalid("cgroup", 'must be "auto", "v1" or "off"')
    if settings.meter_backend not in ("auto", "bpf", "clock", "procfs"):
        raise _invalid("meter_backend", 'must be "auto", "bpf", "clock" or "procfs"')
    if settings.gpu not in ("auto", "off"):
        raise _invalid("gpu", 'must be "auto" or "off"')
    if settings.drain_on_stop not in ("auto", "always", "never"):
        raise _invalid("drain_on_stop", 'must be "auto", "always" or "never"')
    if settings.log_format not in ("console", "json"):
        raise _invalid("log_format", 'must be "console" or "json"')
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise _invalid("log_level", 'must be "debug", "info", "warning" or "error"')


def _check_access(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise _invalid("tls_cert", "and tls_key go together")
    if settings.tls_client_ca and not settings.tls_cert:
        raise _invalid("tls_client_ca", "needs tls_cert and tls_key")
    if settings.tls_cert and not settings.listen:
        raise _invalid("tls_cert", "is for the TCP listener: listen is missing")
    if settings.audit not in ("changes", "all", "off"):
        raise _invalid("audit", 'must be "changes", "all" or "off"')
    if settings.audit_max_bytes < 64 * 1024:
        raise _invalid("audit_max_bytes", "must be at least 65536")
    if not (settings.calls_per_second == 0 or 0.001 <= settings.calls_per_second <= 1e6):
        raise _invalid("calls_per_second", "must be 0, or from 0.001 to 1000000")
    if not 0 <= settings.calls_burst <= 1_000_000:
        raise _invalid("calls_burst", "must be from 0 to 1000000")
    if settings.calls_burst and not settings.calls_per_second:
        raise _invalid("calls_burst", "needs calls_per_second")
    if not 1 <= settings.slow_consumer_seconds <= 3600:
        raise _invalid("slow_consumer_seconds", "must be from 1 to 3600")
    if settings.max_streams < 1:
        raise _invalid("max_streams", "must be at least 1")
