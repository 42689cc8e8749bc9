"""What both transports share: which daemon, which options, which credentials; and what their streams have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from taskmeter.client import discovery
from taskmeter.client.discovery import Endpoint
from taskmeter.client.status import TaskStatus
from taskmeter.client.tls import Tls
from taskmeter.errors import TaskmeterError

DEFAULT_TIMEOUT_SECONDS = 30.0
"""Deadline of a unary call."""
LEAST_WAIT_SECONDS = 0.001
"""On the wire 0 means without end."""
WAIT_SLICE_SECONDS = 50.0
"""One WaitTask call waits at most so long, so that a dead connection is noticed and proxies do not cut it."""
MAX_MESSAGE_BYTES = 16 << 20
"""The daemon keeps its answers under 2 MB; other daemons and a little room."""

MOST_CONNECTIONS = 10
"""Of one client. The daemon takes 1,000 calls at once on each; gRPC opens the next one when they are used up (gRFC A105)."""
MOST_CHANNELS = 4
"""That are kept for the streams on them; a stream on an older one goes on over the newest."""

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # not of the backoff: so long a connection that is being made is waited for
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.primary_user_agent", "taskmeter-python"),
    ("grpc.use_local_subchannel_pool", 1),  # what replaces a dead connection must not find that one again
    ("grpc.max_connections_per_subchannel_cap", MOST_CONNECTIONS),
    ("grpc.service_config", f'{{"connectionScaling":{{"maxConnectionsPerSubchannel":{MOST_CONNECTIONS}}}}}'),
]
"""A daemon that restarts is back in a fraction of a second; gRPC's own reconnect backoff would wait up to two minutes."""

LOCAL_PREFIXES = ("unix:", "localhost:", "127.", "[::1]", "ipv4:127.")

Request_co = TypeVar("Request_co", covariant=True)
Response_contra = TypeVar("Response_contra", contravariant=True)
Item_co = TypeVar("Item_co", covariant=True)


class Resumable(Protocol[Request_co, Response_contra, Item_co]):
    """The state of a logical server stream over any number of connections: `StreamState` and `TailState`."""

    @property
    def ends_with_ok(self) -> bool:
        """Whether the daemon's OK is the end of the logical stream."""

    @property
    def silence_seconds(self) -> float | None:
        """How long a live connection can be silent; None = for ever."""

    def next_request(self) -> Request_co:
        """Return the request for the next connection."""

    def accept(self, response: Response_contra) -> Item_co:
        """Take one message in."""


@dataclass(frozen=True, slots=True)
class Started:
    """The answer of StartTask."""

    token: str
    status: TaskStatus
    existing: bool
    """The token is that of an earlier task: idempotency key, or `use_existing`."""
    report_key: str = field(default="", repr=False)
    """Of external work: what it reports with; told nowhere else."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of ListTasks."""

    tasks: tuple[TaskStatus, ...]
    next_page_token: str
    seq: int
    """The state is that as of this event: stream from seq + 1 and nothing is missed."""
    total_count: int


@dataclass(frozen=True, slots=True)
class StoppedTasks:
    """The answer of TerminateTasks."""

    tokens: tuple[str, ...]
    """Those that were stopped or are stopping now; 10,000 at most are named."""
    stopped_count: int
    """All of them."""
    dependent_count: int
    """Those that were stopped only because they waited for another."""


class ClientBase:
    """Finds the daemon and keeps what every call needs."""

    def __init__(
        self,
        target: str | None = None,
        *,
        key: str | None = None,
        state_dir: str | Path | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        on_disconnect: Callable[[TaskmeterError], None] | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        cert_key: str | Path | None = None,
    ) -> None:
        """Prepare a client; nothing is connected before the first call.

        Args:
            target: `unix:/path`, `host:port`, or `https://host:port` for TLS.
                Without it: `TASKMETER_TARGET`, then the daemon of the state directory.
            key: the bearer key. Without it: `TASKMETER_KEY`, then the state directory's admin key.
            state_dir: where a local daemon keeps its state. Without it: `TASKMETER_STATE_DIR`, then `~/.local/state/taskmeter`.
            timeout_seconds: deadline of each unary call.
            on_disconnect: called whenever a stream lost its connection and is about to connect again.
            ca: PEM file with the authorities to believe; TCP then has TLS. Without it: `TASKMETER_CA`.
            cert: PEM file with this client's own certificate. Without it: `TASKMETER_CERT`.
            cert_key: PEM file with the key of `cert`. Without it: `TASKMETER_CERT_KEY`.
        """
        self._tls = Tls.find(ca, cert, cert_key)
        self._asked = (target, key, state_dir)
        self._endpoint: Endpoint | None = None
        self._timeout_seconds = timeout_seconds
        self.on_disconnect = on_disconnect
        self._reached = False
        """The daemon has answered at least once."""
        self._close_count = 0
        """A stream that was begun before the client was closed does not connect again."""

    @property
    def endpoint(self) -> Endpoint:
        """The daemon this client talks to. Raises `UnavailableError` when none can be found."""
        if self._endpoint is None:
            self._endpoint = discovery.find(*self._asked)
        return self._endpoint

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        key = self.endpoint.key
        return (("authorization", f"Bearer {key}"),) if key else ()

    @property
    def _options(self) -> list[tuple[str, int | str]]:
        """A proxy from the environment must not come between us and this host."""
        local = self.endpoint.target.startswith(LOCAL_PREFIXES)
        return [*OPTIONS, ("grpc.enable_http_proxy", 0)] if local else OPTIONS

    def _look_again(self) -> bool:
        """Look where the daemon listens now; True if that is somewhere else than before."""
        before = self._endpoint
        if before is None or before.state_dir is None:
            return False
        try:
            self._endpoint = discovery.find(*self._asked)
        except TaskmeterError:
            return False
        return self._endpoint.target != before.target
