"""Where attempts run. Today on this host, each under a shim of its own that outlives the daemon."""

from taskmeter.executors.local import LocalExecutor

__all__ = ["LocalExecutor"]
