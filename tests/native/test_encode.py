"""The native encoding of a status's changing fields, against the generated messages."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metercore.encode import encode_hot
from taskmeter.model.usage import Integrals, Tariff
from taskmeter.v1 import task_pb2, usage_pb2

MIB = 2**20
MOST = 2**63 - 1

counts = st.integers(0, MOST) | st.integers(0, 300)
numbers = st.floats(0, 1e18, allow_nan=False) | st.just(0.0)
texts = st.text(max_size=100) | st.just("")
wide = st.integers(0, 2**100) | st.just(0)


def message_of(values: dict[str, Any], status: str, current_object: str, ns2: int, earlier: Integrals, tariff: Tariff) -> bytes:
    """Build the same with the generated classes, field by field."""
    message = task_pb2.TaskStatus(status=status, current_object=current_object)
    for name in ("total_count", "completed_count", "failed_count", "total_size", "completed_size", "failed_size"):
        setattr(message, name, values.get(name, 0))
    for name in ("count", "size"):
        rate = values.get(f"rate_{name}_per_second", 0.0)
        setattr(message, f"rate_{name}_per_second", rate)
        setattr(message, f"rate_{name}", int(rate + 0.5))
    for name in ("eta_seconds", "eta_low_seconds", "eta_high_seconds"):
        if name in values:
            setattr(message, name, values[name])
    if "source" in values:
        message.metrics.SetInParent()
        metrics = message.metrics
        for name in ("cpu_percent", "peak_cpu_percent", "avg_cpu_percent", "cpu_cores", "sample_time", "interval_seconds"):
            setattr(metrics, name, values.get(name, 0.0))
        metrics.cpu_time_ns = values.get("cpu_ns", 0)
        for name in ("memory_bytes", "peak_memory_bytes", "process_count", "thread_count", "source", "memory_source"):
            setattr(metrics, name, values.get(name, 0))
        metrics.gap = bool(values.get("gap"))
        metrics.cpu_memory_mb = values.get("memory_bytes", 0) / MIB
        metrics.peak_cpu_memory_mb = values.get("peak_memory_bytes", 0) / MIB
        metrics.avg_cpu_memory_mb = values.get("avg_memory_bytes", 0.0) / MIB
        for name in ("io_read_bytes", "io_write_bytes", "pss_bytes", "kernel_peak_memory_bytes"):
            if name in values:
                setattr(metrics, name, values[name])
    integrals = Integrals(values.get("cpu_ns", 0), ns2) + earlier
    message.tokens.CopyFrom(
        usage_pb2.TaskTokens(
            cpu_utilization=tariff.cpu_tokens(integrals),
            cpu_memory=tariff.memory_tokens(integrals),
            total=tariff.cpu_tokens(integrals) + tariff.memory_tokens(integrals),
            tariff=tariff.name,
            cpu_ns=integrals.cpu_ns,
            memory_byte_seconds=integrals.memory_byte_seconds,
        )
    )
    return message.SerializeToString(deterministic=True)


def check(values: dict[str, Any], status: str, current_object: str, ns2: int, earlier: Integrals, tariff: Tariff) -> None:
    encoded = encode_hot(
        values,
        status=status,
        current_object=current_object,
        memory_byte_ns2=ns2,
        earlier_cpu_ns=earlier.cpu_ns,
        earlier_memory_byte_ns2=earlier.memory_byte_ns2,
        tariff=tariff.name,
        per_core_hour=tariff.per_core_hour,
        per_gib_hour=tariff.per_gib_hour,
    )
    assert encoded == message_of(values, status, current_object, ns2, earlier, tariff)


def test_nothing_measured_is_only_a_tariff() -> None:
    check({}, "", "", 0, Integrals(), Tariff())
    message = task_pb2.TaskStatus.FromString(encode_hot({}, tariff="default-1"))
    assert not message.HasField("metrics")
    assert message.tokens.tariff == "default-1"


def test_absent_and_zero_differ_for_what_may_be_unmeasurable() -> None:
    absent = task_pb2.TaskStatus.FromString(encode_hot({"source": 1})).metrics
    zero = task_pb2.TaskStatus.FromString(encode_hot({"source": 1, "io_read_bytes": 0, "pss_bytes": 0})).metrics
    assert not absent.HasField("io_read_bytes")
    assert zero.HasField("io_read_bytes")
    assert zero.HasField("pss_bytes")
    assert not zero.HasField("kernel_peak_memory_bytes")


def test_every_field_at_once_is_what_the_generated_code_writes() -> None:
    values = {
        "total_count": 100,
        "completed_count": 40,
        "failed_count": 2,
        "total_size": 1 << 40,
        "completed_size": 12345678901,
        "failed_size": 1,
        "rate_count_per_second": 4.5,
        "rate_size_per_second": 1e9,
        "eta_seconds": 12.5,
        "eta_low_seconds": 10.0,
        "eta_high_seconds": 0.0,
        "source": 4,
        "memory_source": 2,
        "cpu_percent": 51.5,
        "peak_cpu_percent": 100.0,
        "avg_cpu_percent": 33.3,
        "cpu_cores": 1.03,
        "cpu_ns": 98765432109876,
        "memory_bytes": 123 * MIB,
        "peak_memory_bytes": 456 * MIB,
        "avg_memory_bytes": 99.5 * MIB,
        "io_read_bytes": 0,
        "io_write_bytes": 4096,
        "process_count": 3,
        "thread_count": 300,
        "sample_time": 1.7e9,
        "interval_seconds": 0.1,
        "gap": 1,
        "pss_bytes": 7,
        "kernel_peak_memory_bytes": 500 * MIB,
    }
    check(values, "größer", "データ.csv", 2**90 + 1, Integrals(5, 7), Tariff("gold", 3.0, 4.0))


@given(
    values=st.fixed_dictionaries(
        {"completed_count": counts, "rate_count_per_second": numbers, "rate_size_per_second": numbers},
        optional={
            **dict.fromkeys(("total_count", "failed_count", "total_size", "completed_size", "failed_size"), counts),
            "source": st.sampled_from([1, 4, 6]),
            "memory_source": st.integers(0, 3),
            **dict.fromkeys(("cpu_percent", "peak_cpu_percent", "avg_cpu_percent", "cpu_cores"), numbers),
            **dict.fromkeys(("sample_time", "interval_seconds", "avg_memory_bytes"), numbers),
            "cpu_ns": st.integers(0, 2**62),
            **dict.fromkeys(("memory_bytes", "peak_memory_bytes", "io_read_bytes", "io_write_bytes"), counts),
            **dict.fromkeys(("pss_bytes", "kernel_peak_memory_bytes"), counts),
            **dict.fromkeys(("process_count", "thread_count"), st.integers(0, 2**31 - 1)),
            "gap": st.integers(0, 1),
        },
    ),
    eta=st.none() | st.tuples(numbers, numbers, numbers),
    status=texts,
    current_object=texts,
    ns2=wide,
    earlier=st.builds(Integrals, st.integers(0, 2**61), wide),
    tariff=st.builds(Tariff, st.text(max_size=30), st.floats(0, 1e6), st.floats(0, 1e6)),
)
def test_any_values_are_what_the_generated_code_writes(
    values: dict[str, Any],
    eta: tuple[float, float, float] | None,
    status: str,
    current_object: str,
    ns2: int,
    earlier: Integrals,
    tariff: Tariff,
) -> None:
    if eta is not None:
        values |= dict(zip(("eta_seconds", "eta_low_seconds", "eta_high_seconds"), eta, strict=True))
    check(values, status, current_object, ns2, earlier, tariff)


def test_the_longest_texts_fit() -> None:
    everything = task_pb2.TaskStatus.FromString(
        encode_hot({"source": 1}, status="s" * 500, current_object="o" * 500, tariff="t" * 128)
    )
    assert (len(everything.status), len(everything.current_object), len(everything.tokens.tariff)) == (500, 500, 128)


def test_more_than_int64_holds_is_shown_as_the_most() -> None:
    message = task_pb2.TaskStatus.FromString(encode_hot({"source": 1, "cpu_ns": 2**63 + 5, "rate_size_per_second": 1e30}))
    assert message.metrics.cpu_time_ns == MOST
    assert message.rate_size == MOST
