"""Delete a task's files: first out of sight in one step, then for good. What a killed daemon left is deleted by the next."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class Trash:
    """A directory beside `tasks/` on the same file system; every entry is to be deleted."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "trash"
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def put(self, path: str) -> None:
        """Move a directory here; nothing when it does not exist."""
        target = self._directory / os.path.basename(path)
        if target.exists():
            self.delete(target)
        try:
            os.rename(path, target)
        except FileNotFoundError:
            pass

    def empty(self) -> None:
        """Delete everything that is here. May take long: not for the loop's thread."""
        for entry in self._directory.iterdir():
            self.delete(entry)

    def delete(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():  # a task may have made directories that nobody may enter
            for directory, names, _ in os.walk(path):
                for name in names:
                    inner = os.path.join(directory, name)
                    if not os.path.islink(inner):
                        os.chmod(inner, 0o700)
            shutil.rmtree(path, ignore_errors=True)
