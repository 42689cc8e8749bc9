"""The command line, `taskmeter`: one file per verb; whatever is heavy loads when the verb runs."""

from __future__ import annotations

from taskmeter.cli.main import main

__all__ = ["main"]
