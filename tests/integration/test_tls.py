"""TLS and mTLS on the TCP listener: who may connect, and new certificates without a restart."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.client import Client, SyncClient
from taskmeter.errors import AuthenticationError, InvalidArgumentError, UnavailableError
from tests.certificates import Authority, Pair
from tests.daemon import Daemon, run_cli
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server")


def tcp(daemon: Daemon) -> str:
    return next(str(target) for target in daemon.info["grpc"] if not target.startswith("unix:"))


def shown(daemon: Daemon) -> bytes:
    """Return the certificate that the daemon shows at a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    port = int(tcp(daemon).rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def replace(source: Pair, target: Pair) -> None:
    """Put a certificate and key in place, each in one step."""
    for new, old in ((source.key, target.key), (source.cert, target.cert)):
        staged = old.with_suffix(".new")
        shutil.copy(new, staged)
        os.replace(staged, old)


async def test_clients_and_command_line_reach_a_daemon_over_tls(make_daemon: Any, authority: Authority, server: Pair) -> None:
    daemon = make_daemon("--listen", "127.0.0.1:0", "--tls-cert", str(server.cert), "--tls-key", str(server.key)).start()
    target, ca = tcp(daemon), authority.pair.cert
    assert target.startswith("https://127.0.0.1:")
    with SyncClient(target, key=daemon.key, ca=ca) as client:
        assert client.server_info().pid == daemon.pid
        assert client.endpoint.target == target.removeprefix("https://")
    with SyncClient(target.removeprefix("https://"), key=daemon.key, ca=ca) as client:
        assert client.server_info().pid == daemon.pid, "with an authority there is never plain text"
    async with Client(target, key=daemon.key, ca=ca) as client:
        assert (await client.server_info()).pid == daemon.pid
    with pytest.raises(AuthenticationError), SyncClient(target, key="tm_x_y", ca=ca):
        pass
    for arguments in (("--target", target, "--ca", str(ca)), ()):
        env = {"TASKMETER_KEY": daemon.key} | ({} if arguments else {"TASKMETER_TARGET": target, "TASKMETER_CA": str(ca)})
        done = daemon.cli("ls", "--json", *arguments, env=env)
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_who_does_not_believe_the_authority_or_speaks_plainly_sends_nothing(
    make_daemon: Any, stranger: Authority, server: Pair
) -> None:
    daemon = make_daemon("--listen", "127.0.0.1:0", "--tls-cert", str(server.cert), "--tls-key", str(server.key)).start()
    target = tcp(daemon)
    with pytest.raises(UnavailableError), SyncClient(target, key=daemon.key, ca=stranger.pair.cert, timeout_seconds=5):
        pass
    with pytest.raises(UnavailableError), SyncClient(target, key=daemon.key, timeout_seconds=5):
        pass
    with (
        pytest.raises(UnavailableError),
        SyncClient(target.removeprefix("https://"), key=daemon.key, timeout_seconds=5),
    ):
        pass
    with pytest.raises(InvalidArgumentError, match="cannot read /nowhere"), SyncClient(target, key=daemon.key, ca="/nowhere"):
        pass
    with pytest.raises(InvalidArgumentError, match="go together"), SyncClient(target, key=daemon.key, cert=server.cert):
        pass
    assert daemon.calls.GetServerInfo().pid == daemon.pid


def test_with_a_client_authority_only_its_certificates_connect_and_they_need_a_key_besides(
    make_daemon: Any, authority: Authority, stranger: Authority, server: Pair
) -> None:
    files = ("--tls-cert", str(server.cert), "--tls-key", str(server.key), "--tls-client-ca", str(authority.pair.cert))
    daemon = make_daemon("--listen", "127.0.0.1:0", *files).start()
    target, ca = tcp(daemon), authority.pair.cert
    good, bad = authority.issue("client"), stranger.issue("client")
    with SyncClient(target, key=daemon.key, ca=ca, cert=good.cert, cert_key=good.key) as client:
        assert client.server_info().pid == daemon.pid
    with pytest.raises(AuthenticationError), SyncClient(target, key="wrong", ca=ca, cert=good.cert, cert_key=good.key):
        pass
    for pair in (bad, None):
        files_of: dict[str, Any] = {"cert": pair.cert, "cert_key": pair.key} if pair else {}
        with pytest.raises(UnavailableError), SyncClient(target, key=daemon.key, ca=ca, timeout_seconds=5, **files_of):
            pass
    done = daemon.cli(
        "ls", "--json", "--target", target, "--ca", str(ca), "--cert", str(good.cert), "--cert-key", str(good.key),
        env={"TASKMETER_KEY": daemon.key},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_new_certificate_is_shown_without_a_restart_and_open_streams_live(
    make_daemon: Any, authority: Authority, tmp_path: Path
) -> None:
    used = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    first, second = authority.issue("first"), authority.issue("second")
    replace(first, used)
    daemon = make_daemon("--listen", "127.0.0.1:0", "--tls-cert", str(used.cert), "--tls-key", str(used.key)).start()
    credentials = grpc.ssl_channel_credentials(authority.pair.cert.read_bytes())
    with grpc.secure_channel(tcp(daemon).removeprefix("https://"), credentials) as channel:
        from tests.calls import Calls

        stream = Calls(channel, daemon.key).StreamEvents(bookmark_interval_seconds=0.1)
        next(stream)
        assert shown(daemon) == der(first.cert)
        replace(second, used)
        assert shown(daemon) == der(second.cert)
        used.cert.write_text("no certificate")
        assert shown(daemon) == der(second.cert), "the one in use stays"
        wait_until(lambda: "the certificate in use stays" in daemon.log(), "the log says so")
        replace(first, used)
        assert shown(daemon) == der(first.cert)
        assert next(stream).bookmark and next(stream).bookmark
        stream.cancel()


def test_tcp_beyond_loopback_is_refused_without_tls_and_served_with_it(make_daemon: Any, server: Pair) -> None:
    refused = run_cli(["serve", "--listen", "0.0.0.0:0", "--state-dir", "/tmp/tm-never-made"], dict(os.environ))
    assert refused.returncode == 2
    assert "loopback" in refused.stderr and "tls_cert" in refused.stderr
    assert not Path("/tmp/tm-never-made").exists()
    daemon = make_daemon("--listen", "0.0.0.0:0", "--tls-cert", str(server.cert), "--tls-key", str(server.key)).start()
    assert shown(daemon) == der(server.cert)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["--tls-cert", "CERT"], "tls_key"),
        (["--tls-key", "KEY"], "tls_cert"),
        (["--tls-client-ca", "CERT"], "tls_cert"),
        (["--tls-cert", "CERT", "--tls-key", "/nowhere"], "cannot read /nowhere"),
        (["--tls-cert", "CERT", "--tls-key", "CERT"], "are not a certificate and its key"),
        (["--tls-cert", "CERT", "--tls-key", "KEY", "--tls-client-ca", "KEY"], "is not a certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_start(daemon: Daemon, server: Pair, files: list[str], said: str) -> None:
    given = [{"CERT": str(server.cert), "KEY": str(server.key)}.get(name, name) for name in files]
    done = run_cli(["serve", "--state-dir", str(daemon.home / "b"), "--listen", "127.0.0.1:0", *given], daemon.client_env())
    assert done.returncode in (2, 4) and said in done.stderr and "Traceback" not in done.stderr
