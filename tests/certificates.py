"""Certificates of one's own for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    cert: Path
    key: Path


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """Issues certificates for this host; itself one."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.name = name
        self.pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        files = ("-keyout", str(self.pair.key), "-out", str(self.pair.cert))
        _openssl("req", "-x509", *made, *files, "-days", "2", "-subj", f"/CN={name}")

    def issue(self, name: str) -> Pair:
        """Return a certificate for 127.0.0.1 and localhost."""
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        request, extension = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}")
        _openssl("req", *made, "-keyout", str(pair.key), "-out", str(request))
        signer = ("-CA", str(self.pair.cert), "-CAkey", str(self.pair.key), "-CAcreateserial")
        _openssl("x509", "-req", "-in", str(request), *signer, "-days", "2", "-extfile", str(extension), "-out", str(pair.cert))
        return pair
