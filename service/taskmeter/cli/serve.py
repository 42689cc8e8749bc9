"""`taskmeter serve`: the daemon in the foreground; or, with --drain, have the running one end all tasks."""

from __future__ import annotations

import gc
from typing import Any

import click

from taskmeter.cli import exits, options
from taskmeter.errors import InvalidArgumentError


@click.command()
@click.option(
    "--listen", metavar="HOST:PORT", help="Listen on TCP too; port 0 picks a free one. Loopback only, unless there is TLS."
)
@click.option("--tls-cert", metavar="FILE", help="TLS on --listen: certificate and chain, in PEM; read again when it changes.")
@click.option("--tls-key", metavar="FILE", help="TLS on --listen: the key of --tls-cert, in PEM.")
@click.option("--tls-client-ca", metavar="FILE", help="Let only clients connect to --listen that this authority vouches for.")
@click.option(
    "--listen-in-plain-text-and-let-anybody-on-the-network-read-the-keys",
    is_flag=True,
    default=None,
    help="Have --listen on any address without TLS. For networks that are encrypted below, such as a VPN of your own.",
)
@click.option("--task-user", metavar="NAME", help="As root: run tasks as this user. Default: root.")
@click.option("--task-users", metavar="NAME,...", help="As root: whom tasks may ask to run as (run --user).")
@click.option("--max-running", type=int, metavar="N", help="How many tasks run at once; the others wait. Default 1000.")
@click.option("--sample-rate", "sample_rate_hz", type=float, metavar="HZ", help="Samples per second, 0.1-20. Default 10.")
@click.option("--cgroup", type=click.Choice(["auto", "v1", "off"]), help="Use cgroups where writable, version 1 alone, or never.")
@click.option(
    "--meter-backend",
    type=click.Choice(["auto", "bpf", "clock", "procfs"]),
    help="How processes without a cgroup are read; `taskmeter doctor` says what works here. Default auto.",
)
@click.option("--gpu", type=click.Choice(["auto", "off"]), help="Meter GPUs where NVIDIA's driver is, or never.")
@click.option(
    "--encryption-key-file", metavar="FILE", help="Store what tasks are given encrypted with these Fernet keys, newest first."
)
@click.option("--config", metavar="FILE", help="A TOML file with settings and tariffs; options and environment win over it.")
@click.option(
    "--drain-on-stop",
    type=click.Choice(["auto", "always", "never"]),
    help="Interrupt all tasks before SIGTERM ends the daemon; auto: if the host or its container goes down with it.",
)
@click.option("--auto", is_flag=True, help="Exit after ten minutes without a live task or a client.")
@click.option("--drain", is_flag=True, help="Do not serve: have the running daemon refuse new work and end all tasks.")
@click.option("--grace", "grace_seconds", type=options.SPAN, metavar="TIME", help="With --drain: kill what is left after TIME.")
@options.json_flag("With --drain: print how many tasks are being ended as JSON.")
@options.connection
def serve(
    drain: bool, auto: bool, grace_seconds: float | None, as_json: bool, target: str | None, state_dir: str | None, **flags: Any
) -> int:
    """Run the daemon in the foreground; one line beginning with "ready" on stdout says that it serves.

    SIGHUP reads the keys, and the tariffs of the config file, again. SIGTERM or Ctrl-C ends the daemon and leaves the tasks
    running; the next one takes them over. If tasks are being drained it stays until they have ended, or until a second signal.
    The exit code is 4 if another daemon has the state directory.
    """
    if drain:
        return _drain(target, state_dir, grace_seconds, as_json=as_json)
    if target or grace_seconds is not None or as_json:
        raise click.UsageError("--target, --grace and --json go with --drain")
    gc.disable()  # what is built up to the first call stays: looking for garbage in it takes a tenth of the start
    from taskmeter.settings import load

    try:
        settings = load({**flags, "auto": auto or None, "state_dir": state_dir})
    except InvalidArgumentError as error:
        exits.report(error)
        return exits.USAGE
    from taskmeter.daemon import serve as serve_until_ended

    return serve_until_ended(settings)


def _drain(target: str | None, state_dir: str | None, grace_seconds: float | None, *, as_json: bool) -> int:
    from taskmeter.cli.output import print_json
    from taskmeter.client.sync import SyncClient

    with SyncClient(target, state_dir=state_dir) as client:
        stopping = client.drain(grace_period_seconds=grace_seconds, reason="taskmeter serve --drain")
    if as_json:
        print_json({"stoppingCount": stopping})
    else:
        click.echo(f"draining: {stopping} task{'' if stopping == 1 else 's'} being ended, new work is refused")
    return 0
