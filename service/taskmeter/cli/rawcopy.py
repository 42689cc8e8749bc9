"""Pass a task's bytes through untouched, for pipes and files; Ctrl-C stops the task."""

from __future__ import annotations

import os
import sys

import click

from taskmeter.cli.feed import STREAMS, Feed, Lost, Output
from taskmeter.cli.interrupts import Interrupts
from taskmeter.cli.live import Leave
from taskmeter.client.status import TaskStatus
from taskmeter.client.sync import SyncClient
from taskmeter.errors import TaskmeterError

WAKE_SECONDS = 0.5
"""How late a Ctrl-C is noticed at most if it comes just before a wait."""


def wait_and_copy(client: SyncClient, token: str, interrupts: Interrupts, *, copy: bool) -> TaskStatus | Leave:
    """Copy stdout and stderr through until the task has ended, and return its last status.

    The first interrupt stops the task, the second kills it, the third leaves it. Raises `BrokenPipeError` when whoever read
    our stdout has gone; then the task is being stopped, as the shell would end a program that writes there.
    """
    orders = 0
    lost = False
    descriptors = {"stdout": sys.stdout.fileno(), "stderr": sys.stderr.fileno()}
    with Feed(client, token, interval_seconds=None, streams=STREAMS if copy else (), first_attempt=0) as feed:
        while not feed.finished:
            for item in feed.get_all(WAKE_SECONDS):
                if isinstance(item, Output):
                    try:
                        _write(descriptors[item.stream], item.data)
                    except BrokenPipeError:
                        _stop(client, token, immediate=False, reason="its reader has gone")
                        raise
                elif isinstance(item, Lost) and not lost:
                    click.echo("connection lost, trying again; the task is not affected", err=True)
                lost = isinstance(item, Lost)
            if interrupts.take():
                orders += 1
                if orders > 2:
                    return Leave.GAVE_UP
                click.echo("killing it" if orders == 2 else "stopping it; again to kill it at once", err=True)
                _stop(client, token, immediate=orders == 2, reason="interrupted")
    assert feed.status is not None
    return feed.status


def _stop(client: SyncClient, token: str, *, immediate: bool, reason: str) -> None:
    try:
        client.terminate(token, immediate=immediate, reason=reason)
    except TaskmeterError as error:
        if error.reason != "TASK_ENDED":
            click.echo(f"cannot stop it: {error.message}", err=True)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
