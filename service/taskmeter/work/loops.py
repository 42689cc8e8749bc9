"""Loops that report how far they are."""

from __future__ import annotations

import os

from taskmeter.work.context import current

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    T = TypeVar("T")


def track(
    iterable: Iterable[T],
    total: int | None = None,
    *,
    stage: str = "",
    item: Callable[[T], object] | None = None,
    size: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Iterate over `iterable`; each element counts as completed when the next one is asked for.

        for page in taskmeter.track(pages, stage="render", size=len):
            render(page)

    `total` is taken from the iterable if it has a length, and added to what there is to do; not so after `progress(total=…)`.
    With `stage` or `item`, each element is also an item that is in progress, then completed: named by `item(element)`, or by
    itself if it is text, a number or a path, else by its index. `size` says how many bytes an element has.

    An element that the loop leaves by `break` or by an exception counts for nothing; `with taskmeter.item(…)` tells failures.
    """
    context = current()
    if total is None:
        try:
            total = len(iterable)  # type: ignore[arg-type]
        except TypeError:
            total = None
    if total and not context.has_total:
        context.expect(total)
    if not stage and item is None:
        return _count(iterable, size)
    return _follow(iterable, stage, item, size)


def _count(iterable: Iterable[T], size: Callable[[T], int] | None) -> Iterator[T]:
    add = current().add
    if size is None:
        for each in iterable:
            yield each
            add()
    else:
        for each in iterable:
            yield each
            add(1, size(each))


def _follow(
    iterable: Iterable[T], stage: str, item: Callable[[T], object] | None, size: Callable[[T], int] | None
) -> Iterator[T]:
    items = current().items
    for index, each in enumerate(iterable):
        if item is not None:
            name: object = item(each)
        else:
            name = each if isinstance(each, (str, int, os.PathLike)) else index
        big = size(each) if size is not None else 0
        items.start(name, stage=stage, size=big)
        yield each
        items.complete(name, stage=stage, size=big)
