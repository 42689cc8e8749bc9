"""Who waits for whom: a task that names others in `after` waits until all of them have succeeded."""

from __future__ import annotations

from collections.abc import Collection


class Dependencies:
    """Only what is unmet, both ways round."""

    def __init__(self) -> None:
        self._unmet: dict[str, set[str]] = {}
        self._dependents: dict[str, set[str]] = {}

    def add(self, token: str, unmet: Collection[str]) -> None:
        """Have a task wait for others."""
        self._unmet[token] = set(unmet)
        for other in unmet:
            self._dependents.setdefault(other, set()).add(token)

    def remove(self, token: str) -> None:
        """Forget what a task waits for; others may still wait for it."""
        for other in self._unmet.pop(token, ()):
            self._drop(other, token)

    def unmet(self, token: str) -> Collection[str]:
        """Return the tokens that a task still waits for."""
        return self._unmet.get(token, ())

    def dependents(self, token: str) -> list[str]:
        """Return the tasks that wait for this one."""
        return list(self._dependents.get(token, ()))

    def waiting(self) -> list[str]:
        """Return all tasks that wait for others."""
        return list(self._unmet)

    def succeeded(self, token: str) -> list[str]:
        """Nobody waits for this task any more; return those that now wait for none."""
        free = []
        for dependent in self._dependents.pop(token, ()):
            unmet = self._unmet[dependent]
            unmet.discard(token)
            if not unmet:
                del self._unmet[dependent]
                free.append(dependent)
        return free

    def _drop(self, other: str, token: str) -> None:
        dependents = self._dependents[other]
        dependents.discard(token)
        if not dependents:
            del self._dependents[other]
