"""TLS of a client: whom it believes, and who it says it is. The connection to a unix socket never has it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from taskmeter.client.discovery import Endpoint
from taskmeter.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; empty = not given."""

    ca: str = ""
    """Authorities whose certificates are believed; empty = those that gRPC brings along."""
    cert: str = ""
    """Our own certificate, for a daemon that asks for one."""
    cert_key: str = ""
    """The key of `cert`."""

    @classmethod
    def find(cls, ca: str | Path | None, cert: str | Path | None, cert_key: str | Path | None) -> Self:
        """Take what was given, else `TASKMETER_CA`, `TASKMETER_CERT` and `TASKMETER_CERT_KEY`."""
        environ = os.environ
        return cls(
            str(ca or environ.get("TASKMETER_CA", "")),
            str(cert or environ.get("TASKMETER_CERT", "")),
            str(cert_key or environ.get("TASKMETER_CERT_KEY", "")),
        )

    def credentials(self, endpoint: Endpoint) -> grpc.ChannelCredentials | None:
        """Return the credentials for this daemon; None = the connection is plain: a unix socket, or nothing asks for TLS.

        Raises `InvalidArgumentError` naming the file that cannot be read.
        """
        if endpoint.socket_path is not None or not (endpoint.tls or self.ca or self.cert):
            return None
        if bool(self.cert) != bool(self.cert_key):
            problem = "a client's certificate and its key go together"
            raise InvalidArgumentError(
                f"TLS: {problem}", fields=[("cert", problem)], hint="TASKMETER_CERT and TASKMETER_CERT_KEY"
            )
        return grpc.ssl_channel_credentials(_read("ca", self.ca), _read("cert_key", self.cert_key), _read("cert", self.cert))


def _read(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
        raise InvalidArgumentError(f"TLS: {problem}", fields=[(name, problem)]) from error
