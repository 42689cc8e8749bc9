"""Hands events to callbacks, off the worker that made them: in order, one at a time, from a thread that starts when needed.

Laws: putting an event never waits and never raises. A callback that raises is logged and stops nothing. One that is `async` runs
on the event loop on which its event was made, while that runs, else on one of the thread's own.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any

Call = tuple[Callable[[Any], Any], Any, Any]
"""Callback, event, and the event loop it was made on, if any."""

IDLE_SECONDS = 5.0
"""A thread without events ends after this; the next event starts another."""
BATCH = 512
LOOK_SECONDS = 0.2
"""How often it is asked whether a loop that owes an answer still runs."""
EXIT_SECONDS = 5.0
"""So long the end of the process waits for callbacks."""


class Observers:
    """The queue of one tracker."""

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.dropped_count = 0
        """Events that no callback has seen, because too many waited."""
        self.error_count = 0
        """Callbacks that raised."""
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._queue: SimpleQueue[Call] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._async: set[Any] = set()

    def put(self, callback: Callable[[Any], Any], event: Any) -> None:
        """Have `callback(event)` called soon."""
        if self._queue.qsize() >= self.most_waiting:
            self.dropped_count += 1
            return
        asyncio = sys.modules.get("asyncio")
        self._queue.put((callback, event, None if asyncio is None else asyncio._get_running_loop()))  # noqa: SLF001  # exported
        if self._thread is None:
            self._start()

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until all that was put is delivered; False if it is not in time. Raises `RuntimeError` on a running event loop."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001  # exported
            raise RuntimeError("on an event loop, await drain() instead: callbacks may need the loop")
        delivered = threading.Event()
        self._queue.put((lambda _: delivered.set(), None, None))
        self._start()
        return delivered.wait(timeout_seconds)

    async def drain(self) -> None:
        """Wait, on an event loop, until all that was put is delivered."""
        loop = import_module("asyncio").get_running_loop()
        delivered = loop.create_future()
        self._queue.put((lambda _: loop.call_soon_threadsafe(delivered.set_result, None), None, None))
        self._start()
        await delivered

    # ------------------------------------------------------------------------------------------------------ the thread

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskmeter-observers", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads: the next event tries again
                    self._thread = None

    def _run(self) -> None:
        own = _OwnLoop()
        try:
            while True:
                try:
                    batch = [self._queue.get(timeout=IDLE_SECONDS)]
                except Empty:
                    # Whoever puts looks for a thread afterwards: either it sees none, or we see what it put.
                    with self._lock:
                        mine, self._thread = self._thread, None
                        if self._queue.empty():
                            return
                        self._thread = mine
                    continue
                while len(batch) < BATCH and not self._queue.empty():
                    batch.append(self._queue.get())
                self._deliver(batch, own)
        finally:
            own.close()

    def _deliver(self, batch: list[Call], own: _OwnLoop) -> None:
        at = 0
        while at < len(batch):
            callback, event, loop = batch[at]
            end = at
            while end < len(batch) and batch[end][2] is loop and self._is_async(batch[end][0]):
                end += 1
            if end > at:
                self._deliver_async(batch[at:end], loop, own)
                at = end
                continue
            at += 1
            try:
                answer = callback(event)
            except BaseException as error:  # noqa: BLE001  # an observer stops nothing
                self._report(callback, error)
                continue
            if hasattr(answer, "__await__"):
                with suppress(TypeError):  # an object that cannot be told apart: one at a time then
                    self._async.add(callback)
                self._deliver_async([(partial(_same, answer), event, loop)], loop, own)

    def _is_async(self, callback: Any) -> bool:
        try:
            return callback in self._async
        except TypeError:
            return False

    def _deliver_async(self, calls: list[Call], loop: Any, own: _OwnLoop) -> None:
        """Await the calls one after the other on `loop`, and on our own what that one leaves undone."""
        asyncio = import_module("asyncio")
        waiting = deque(calls)
        gone = False

        async def run(*, is_own: bool) -> None:
            while waiting and (is_own or not gone):
                callback, event, _ = waiting.popleft()
                try:
                    answer = callback(event)
                    if hasattr(answer, "__await__"):
                        await answer
                except asyncio.CancelledError:
                    raise
                except BaseException as error:  # noqa: BLE001  # an observer stops nothing
                    self._report(callback, error)

        if loop is not None and loop.is_running():
            running = run(is_own=False)
            try:
                future = asyncio.run_coroutine_threadsafe(running, loop)
                while not future.done() and loop.is_running():
                    import_module("concurrent.futures").wait([future], LOOK_SECONDS)
            except RuntimeError:  # closed meanwhile
                pass
            gone = True
            if not loop.is_running():
                with suppress(BaseException):
                    running.close()
        while waiting:
            own.run(asyncio, run(is_own=True))

    def _report(self, callback: Any, error: BaseException) -> None:
        self.error_count += 1
        name = getattr(callback, "__qualname__", repr(callback))
        import_module("logging").getLogger("taskmeter.tracker").error("the callback %s raised", name, exc_info=error)


def _same(answer: Any, _: Any) -> Any:
    return answer


class _OwnLoop:
    """An event loop for callbacks whose own has ended, or that never had one; made when it is needed."""

    def __init__(self) -> None:
        self._loop: Any = None

    def run(self, asyncio: Any, work: Any) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(work)
        except BaseException:  # noqa: BLE001, S110  # a callback that cancels itself
            pass

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()


_all: weakref.WeakSet[Observers] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):  # threads are not forked, and what waits is the parent's to deliver
        each._begin()  # noqa: SLF001


def _at_exit() -> None:
    for each in list(_all):
        if not each._queue.empty() or each._thread is not None:  # noqa: SLF001
            try:
                each.flush(EXIT_SECONDS)
            except RuntimeError:  # at this point no thread starts any more
                return


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
