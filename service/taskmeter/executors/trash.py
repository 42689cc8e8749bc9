"""Delete a task's files: first out of sight in one step, then for good. What a killed daemon left is deleted by the next."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Trash:
    """A directory beside `tasks/` on the same file system; every entry is to be deleted."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "trash"
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def put(self, path: str) -> None:
        """Move a directory here, in one step; nothing when it does not exist. It is not deleted before `delete_named`."""
        target = self._directory / os.path.basename(path)
        if target.exists():
            self.delete(target)
        try:
            os.rename(path, target)
        except FileNotFoundError:
            pass

    def take_back(self, path: str) -> None:
        """Move a directory back to where `put` found it; nothing when it is not here."""
        try:
            os.rename(self._directory / os.path.basename(path), path)
        except FileNotFoundError:
            pass

    def names(self) -> list[str]:
        """What is here: after a start, what an earlier daemon was killed over."""
        return os.listdir(self._directory)

    def delete_named(self, names: Iterable[str]) -> None:
        """Delete for good. May take long: not for the loop's thread."""
        import shutil  # noqa: F401, PLC0415  # a start calls this without names, too: later no descriptor may be left to load it

        for name in names:
            self.delete(self._directory / name)

    def delete(self, path: Path) -> None:
        import shutil  # noqa: PLC0415  # not before the daemon serves

        shutil.rmtree(path, ignore_errors=True)
        if path.exists():  # a task may have made directories that nobody may enter
            for directory, names, _ in os.walk(path):
                for name in names:
                    inner = os.path.join(directory, name)
                    if not os.path.islink(inner):
                        os.chmod(inner, 0o700)
            shutil.rmtree(path, ignore_errors=True)
