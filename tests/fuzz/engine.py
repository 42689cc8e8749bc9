"""A small coverage-guided fuzzer: mutate what reached something new, keep what reaches more."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tests.fuzz.targets import Target

CONSTANTS = 64
INTERESTING = (0, 1, 2, 3, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


class Coverage:
    """tests/fuzz/coverage.c, where it is preloaded; blind otherwise: then everything is mutated from the seeds alone."""

    def __init__(self) -> None:
        process = ctypes.CDLL(None)
        try:
            process.coverage_forget()
        except AttributeError:
            self._process = None
        else:
            self._process = process
        self._room = (ctypes.c_uint64 * CONSTANTS)()

    @property
    def sees(self) -> bool:
        return self._process is not None

    def forget(self) -> None:
        if self._process is not None:
            self._process.coverage_forget()

    def of(self, run: Callable[[bytes], None], data: bytes) -> int:
        """Run; return how much of it no run before had reached."""
        if self._process is None:
            run(data)
            return 0
        self._process.coverage_begin()
        try:
            run(data)
        finally:
            fresh = int(self._process.coverage_end())
        return fresh

    def constants(self) -> list[int]:
        """Numbers that the code compared its input with."""
        if self._process is None:
            return []
        return list(self._room[: self._process.coverage_constants(self._room)])


class Mutator:
    """Changes bytes at random, by a seed, so that a run can be repeated."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self.constants: list[int] = []

    def change(self, data: bytes, other: bytes) -> bytes:
        """A changed copy; `other`: an input to cross with."""
        chance = self._chance
        made = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
            at = chance.randrange(len(made) + 1)
            kind = chance.randrange(9)
            if kind == 0 and made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
            elif kind == 1 and made:
                made[at % len(made)] = chance.randrange(256)
            elif kind == 2:
                del made[at : at + chance.choice((1, 1, 4, 16, 200))]
            elif kind == 3:
                made[at:at] = made[at : at + chance.choice((1, 8, 40))] * chance.choice((1, 2, 9))
            elif kind == 4 and self._target.tokens:
                token = chance.choice(self._target.tokens)
                made[at : at + chance.choice((0, len(token)))] = token
            elif kind == 5:
                size = chance.choice((1, 2, 4, 8))
                at = at // size * size
                value = chance.choice((*INTERESTING, *self.constants))
                made[at : at + size] = (value % 256**size).to_bytes(size, "little")
            elif kind == 6:
                begin = chance.randrange(len(other) + 1)
                made[at : at + chance.choice((0, 8, 64))] = other[begin : begin + chance.choice((4, 16, 64))]
            elif kind == 7:
                made[at:at] = str(chance.choice((*INTERESTING, chance.randrange(2**70)))).encode()
            else:
                del made[at:]
        sealed = self._target.seal if chance.random() < 0.9 else bytes
        return sealed(bytes(made[: self._target.most_bytes]))


@dataclass(slots=True)
class Outcome:
    """What came of one target."""

    run_count: int = 0
    kept_count: int = 0
    failure: bytes | None = None
    error: BaseException | None = None


def cut_short(target: Target) -> list[bytes]:
    """The seeds again, ended early."""
    return [target.seal(seed[:cut]) for seed in target.seeds() for cut in range(0, len(seed), max(1, len(seed) // 30))]


def fuzz(target: Target, seconds: float, seed: int, coverage: Coverage, about_to: Callable[[bytes], None]) -> Outcome:
    """Fuzz one target for so long; `about_to` sees each input first, lest it kills the process."""
    outcome = Outcome()
    mutator = Mutator(target, seed)
    chance = random.Random(seed + 1)
    queue: list[bytes] = []
    coverage.forget()
    until = monotonic() + seconds
    waiting = [*target.seeds(), b"", *cut_short(target)]
    while monotonic() < until or waiting:
        data = waiting.pop() if waiting else mutator.change(chance.choice(queue), chance.choice(queue))
        about_to(data)
        outcome.run_count += 1
        try:
            fresh = coverage.of(target.run, data)
        except BaseException as error:  # noqa: BLE001 — whatever it is, the input that did it is what is wanted
            outcome.failure, outcome.error = data, error
            return outcome
        if fresh or len(queue) < 4:
            queue.append(data)
            outcome.kept_count += 1
            mutator.constants = coverage.constants()
    return outcome
