"""One line that makes an existing program report itself: its bars as progress, its warnings and errors as messages."""

from __future__ import annotations

import sys

from taskmeter.work.context import current

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def instrument(*, tqdm: bool = True, rich: bool = True, logging: bool = True) -> None:
    """Report bars of tqdm and rich as progress, and what `logging` says from WARNING on as messages.

    Call it once, early or late, in each process whose bars are to count. The outermost open bar of a process is the one that
    counts; bars of bytes (tqdm's unit "B", rich's download columns) go to sizes. Nothing is imported that the program does not
    import itself, and outside of a task nothing is done at all.
    """
    if not current().is_task:
        return
    if tqdm:
        _when_imported("tqdm.std", "taskmeter.work.tqdm_bars")
    if rich:
        _when_imported("rich.progress", "taskmeter.work.rich_bars")
    if logging:
        _when_imported("logging", "taskmeter.work.log_messages")


_adopters: dict[str, Callable[[Any], None]] = {}


def _when_imported(name: str, home: str) -> None:
    """Call `home.adopt(module)` now, or when the module comes to be imported."""

    def adopt(module: Any) -> None:
        from importlib import import_module  # noqa: PLC0415  # the foreign module is loaded already: this costs least

        try:
            import_module(home).adopt(module)
        except Exception as error:  # noqa: BLE001  # a version that is built otherwise: the program runs on as it is
            current().warn(f"{name} cannot be reported: {error}")

    module = sys.modules.get(name)
    if module is not None:
        adopt(module)
        return
    _adopters[name] = adopt
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Lets others find the modules that are waited for, and adds a step to their loading."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        adopt = _adopters.pop(name, None)
        if adopt is None:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, adopt)  # type: ignore[assignment]
                return spec
        _adopters[name] = adopt
        return None


class _Loader:
    """Loads as `inner` does, then lets the module be adopted."""

    def __init__(self, inner: Any, adopt: Callable[[Any], None]) -> None:
        self.inner = inner
        self.adopt = adopt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        self.adopt(module)
