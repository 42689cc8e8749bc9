"""What the fuzzer starts from, and whatever it found once, on the ordinary build: `make fuzz` goes on from here."""

from __future__ import annotations

import pytest

from tests.fuzz.engine import Coverage, Mutator, fuzz
from tests.fuzz.targets import CORPUS, TARGETS, Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_corpus_is_read_as_plain_python_reads_it(target: Target) -> None:
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        target.run(seed)
        for cut in range(0, len(seed), max(1, len(seed) // 50)):
            target.run(seed[:cut])


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_some_mutants_are_read_as_plain_python_reads_them(target: Target) -> None:
    outcome = fuzz(target, 0.0, 1, Coverage(), lambda _: None)
    assert outcome.error is None, (outcome.error, outcome.failure)
    mutator = Mutator(target, 2)
    seeds = target.seeds()
    for n in range(100):
        data = mutator.change(seeds[n % len(seeds)], seeds[0])
        target.run(data)


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()


def test_the_fuzzer_finds_what_is_wrong_and_says_with_what() -> None:
    def crack(data: bytes) -> None:
        assert data[:3] != b"42\n", "the oracle disagrees"

    outcome = fuzz(Target("ids", crack, (b"42\n",)), 20.0, 3, Coverage(), lambda _: None)
    assert outcome.failure is not None
    assert outcome.failure.startswith(b"42\n")
