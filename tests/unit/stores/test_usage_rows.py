"""A usage comes back from its row as it went in: a row that cannot be read is a damaged database."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskmeter.model.usage import GpuUse, Integrals, MemorySource, Metrics, MetricsSource, Progress, Usage
from taskmeter.stores.rows import decode_usage, encode_usage

FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**100)
TEXTS = st.text(max_size=20)
GPUS = st.builds(GpuUse, st.integers(0, 63), TEXTS, TEXTS, st.none() | COUNTS, st.none() | FINITE)
METRICS = st.builds(
    Metrics,
    cpu_percent=FINITE,
    cpu_time_ns=COUNTS,
    memory_bytes=COUNTS,
    io_read_bytes=st.none() | COUNTS,
    source=st.sampled_from(MetricsSource),
    memory_source=st.sampled_from(MemorySource),
    gap=st.booleans(),
    avg_gpu_memory_bytes=st.none() | FINITE,
    gpus=st.lists(GPUS, max_size=3).map(tuple),
)
INTEGRALS = st.builds(
    Integrals, COUNTS, COUNTS, COUNTS, COUNTS, st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1), max_size=3)
)
PROGRESS = st.builds(Progress, status=TEXTS, current_object=TEXTS, ready=st.booleans(), completed_count=COUNTS)


@given(st.builds(Usage, METRICS, INTEGRALS, PROGRESS))
def test_a_usage_is_read_as_it_was_written(usage: Usage) -> None:
    assert decode_usage(encode_usage(usage)) == usage


def test_an_attempt_without_usage_has_none() -> None:
    assert decode_usage(None) is None
    assert decode_usage("{}") is None
