"""`taskmeter doctor`: what works on this machine, and how to get more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from taskmeter.cli import exits, options
from taskmeter.cli.checks import Finding, Grade
from taskmeter.cli.output import print_json, styled
from taskmeter.cli.text import escape

_SIGNS = {Grade.FINE: ("✓", "green"), Grade.LESS: ("!", "yellow"), Grade.BROKEN: ("✗", "red"), Grade.FACT: ("·", "white")}


@click.command()
@options.json_flag("Print the findings as one JSON array: name, grade (fine, less, broken, fact), text, hint.")
@options.connection
def doctor(as_json: bool, target: str | None, state_dir: str | None) -> int:
    """Check what works on this machine, and say how to get more. Starts nothing and changes nothing.

    The exit code is 1 if something essential is broken.
    """
    from taskmeter.client import discovery

    directory = discovery.as_directory(state_dir) if state_dir else discovery.default_state_dir()
    findings = list(examine(directory, target, state_dir))
    broken = any(finding.grade is Grade.BROKEN for finding in findings)
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            sign, colour = _SIGNS[finding.grade]
            click.echo(f"{styled(sign, colour)} {finding.name.ljust(width)}  {escape(finding.text)}")
            if finding.hint:
                click.echo(f"  {' ' * width}  {styled('→', 'cyan')} {escape(finding.hint)}")
        if broken:
            click.echo("\nsomething essential is broken", err=True)
    return exits.FAILED if broken else 0


def examine(directory: Path, target: str | None, state_dir: str | None) -> Iterator[Finding]:
    """Make all checks in the order of the report."""
    from taskmeter.cli import checks

    yield from checks.machine()
    yield from checks.native()
    yield from checks.processes()
    yield from checks.cgroups()
    yield from checks.meters()
    yield from checks.gpus()
    yield from checks.limits()
    yield from checks.network()
    yield from checks.state(directory)
    yield from _daemon(directory, target, state_dir)


def _daemon(directory: Path, target: str | None, state_dir: str | None) -> Iterator[Finding]:
    """Whether one answers, which one, and what it meters with."""
    from taskmeter import __version__
    from taskmeter.cli import autostart
    from taskmeter.client.sync import SyncClient
    from taskmeter.errors import TaskmeterError

    explicit = bool(target or (not state_dir and os.environ.get("TASKMETER_TARGET")))
    if not explicit and not autostart.serves(directory):
        yield Finding("daemon", Grade.FACT, "none runs; `run`, `submit` and others start one")
        return
    try:
        with SyncClient(target, state_dir=state_dir, timeout_seconds=5.0) as client:
            info = client.server_info()
    except TaskmeterError as error:
        yield Finding("daemon", Grade.BROKEN, error.message, error.hint)
        return
    text = (
        f"version {info.version}, pid {info.pid}, {info.running_count} running and {info.waiting_count} waiting tasks,"
        f" {info.ended_count} ended; {', '.join(info.grpc_targets)}"
    )
    if info.version != __version__:
        yield Finding("daemon", Grade.LESS, text, f"this client is {__version__}: restart the daemon, its tasks live on")
    elif info.draining:
        yield Finding("daemon", Grade.LESS, text, "it is draining and takes no new work")
    else:
        yield Finding("daemon", Grade.FINE, text)
    kept = f"{info.ended_count} ended tasks, events from {info.first_seq}"
    if info.store_failure:
        yield Finding("store", Grade.BROKEN, info.store_failure, "look at the disk, then restart the daemon; tasks live on")
    elif info.disk_full:
        yield Finding("store", Grade.BROKEN, f"the disk is full, new tasks are refused; {kept}", "free some space")
    else:
        yield Finding("store", Grade.FINE, f"keeps {kept}; bounds: {info.retention or '?'}")
    yield Finding(
        "meter",
        Grade.FINE if info.cpu_source == "cgroup" and info.memory_source == "cgroup" else Grade.LESS,
        f"CPU from {info.cpu_source or '?'}, memory from {info.memory_source or '?'}, {info.sample_rate_hz:g} samples/s;"
        f" processes without a cgroup are read by {info.meter_backend or '?'}; tariffs: {', '.join(info.tariffs) or '?'}",
    )
