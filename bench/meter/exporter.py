"""prometheus-process-exporter as a side: a look is one scrape, and costs what the exporter's own CPU clock says."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time

from bench import harness
from bench.meter.side import UnavailableError

READY_SECONDS = 20.0
OPTIONS = ("-procnames", "herd,herd-member", "-threads=false", "-gather-smaps=false", "-children=false")
"""The cheapest it offers: all of our processes in two groups, without threads and proportional memory."""


class Exporter:
    """A running exporter, scraped over HTTP on loopback."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.passes = 1
        path = shutil.which("prometheus-process-exporter")
        if path is None or shutil.which("setpriv") is None:
            raise UnavailableError("not installed: apt-get install prometheus-process-exporter util-linux")
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self._port: int = chosen.getsockname()[1]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", path, *OPTIONS, "-web.listen-address", f"127.0.0.1:{self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._scrape()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise UnavailableError("it does not start") from None
                time.sleep(0.05)
            else:
                return

    def _scrape(self) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{self.name} answers {answer.status}")
            return answer.read()
        finally:
            connection.close()

    def cpu_ns(self, passes: int) -> int:
        before = harness.cpu_seconds(self._process.pid)
        for _ in range(passes):
            self._scrape()
        return int((harness.cpu_seconds(self._process.pid) - before) * 1e9)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
