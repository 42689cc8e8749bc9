"""TLS on the TCP listener, with certificates that are read again when their files change: no restart, no call is cut."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Any

import grpc
from msgspec import Struct

from taskmeter.errors import InvalidArgumentError

log = logging.getLogger(__name__)


class TlsFiles(Struct, frozen=True):
    """PEM files of the listener."""

    cert: Path
    """The daemon's certificate, followed by those between it and the authority."""
    key: Path
    client_ca: Path | None = None
    """Whoever has no certificate of this authority cannot connect (mTLS); None = no certificate is asked for."""

    @property
    def paths(self) -> list[Path]:
        return [self.cert, self.key, *([self.client_ca] if self.client_ca else [])]


class Certificates:
    """What the listener shows at the next handshake."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises `InvalidArgumentError` saying what is wrong with them."""
        self._files = files
        self._stamp = self._stamps()
        self._newest = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that look at the files at every handshake."""
        require = self._files.client_ca is not None
        fetch: Any = self.current  # the stubs do not know that None means "as before"
        return grpc.dynamic_ssl_server_credentials(self._newest, fetch, require_client_authentication=require)

    def current(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration if it has changed, else None; what cannot be used is logged, and the old one stays."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            self._newest = self._read()
        except InvalidArgumentError as error:
            log.error("the certificate in use stays: %s", error.message)
            return None
        log.info("the certificate in %s is used from now on", self._files.cert)
        return self._newest

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in self._files.paths:
            try:
                facts = os.stat(path)
                found.append((facts.st_mtime_ns, facts.st_ino, facts.st_size))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        try:
            contents = [path.read_bytes() for path in files.paths]
        except OSError as error:
            raise _unusable(f"cannot read {error.filename}: {error.strerror}") from error
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unusable(f"{files.cert} and {files.key} are not a certificate and its key in PEM: {_why(error)}") from error
        if files.client_ca is not None:
            try:
                context.load_verify_locations(files.client_ca)
            except (OSError, ValueError) as error:
                raise _unusable(f"{files.client_ca} is not a certificate in PEM: {_why(error)}") from error
        roots = contents[2] if files.client_ca else None
        return grpc.ssl_server_certificate_configuration([(contents[1], contents[0])], root_certificates=roots)


def _no_password() -> str:
    raise ValueError("the key is encrypted; a daemon has nobody to ask for the password")


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error) or "it cannot be read"


def _unusable(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"TLS: {problem}", fields=[("tls_cert", problem)])
