"""The list of verbs; a verb's module is imported only when that verb is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from taskmeter.cli import exits

VERBS = {
    "run": "Run a command under the live meter and exit with its code.",
    "submit": "Start a command in the background and print its token.",
    "attach": "Meter a process that runs already.",
    "ls": "List tasks, newest first.",
    "status": "Show everything about a task.",
    "watch": "Show the live meter of a task until it ends.",
    "top": "Show all tasks live.",
    "events": "Stream what happens.",
    "items": "Count the items of a task, list them, show what happened to one.",
    "logs": "Show what a task wrote to stdout and stderr.",
    "stop": "End tasks, gracefully at first.",
    "wait": "Wait until tasks have ended and exit with their code.",
    "retry": "Run an ended task again.",
    "rm": "Forget ended tasks and delete their files.",
    "report": "Say how far a task is, from inside it.",
    "queue": "Make queues, bound them, pause and resume them.",
    "schedule": "Start a command again and again: every so often, once, or by cron.",
    "bill": "Say what tasks have used and what that costs.",
    "key": "Make, list and revoke keys.",
    "serve": "Run the daemon in the foreground.",
    "bench": "Measure how fast the daemon is, here and now.",
    "doctor": "Check what works on this machine, and say how to get more.",
}
"""Verb → its line in the help; the module and the command in it are called like the verb."""


class LazyGroup(click.Group):
    """A group that knows its commands by name only until one is called."""

    verb = ""
    """The verb that was called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        if not ctx.resilient_parsing:
            self.verb = cmd_name
        command = getattr(import_module(f"taskmeter.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; click itself would end with 1 when whoever reads our output goes away."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            forget_stdout()
            return exits.BROKEN_PIPE

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def forget_stdout() -> None:
    """Whoever read our output has gone; let nothing at exit try to write there again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
