"""What runs inside a task: say how far the work is, for whoever watches. Light to import, harmless outside a task."""

from taskmeter.work.context import Context, current

__all__ = ["Context", "current"]
