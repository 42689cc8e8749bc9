"""The native encoding of a status's changing fields, against the generated messages."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from metercore.encode import encode_hot
from metercore.tariff import Tariff as NativeTariff
from taskmeter.model.usage import Integrals, Tariff
from taskmeter.rpc.convert.status import fill_tokens
from taskmeter.v1 import task_pb2

MIB = 2**20
MOST = 2**63 - 1

counts = st.integers(0, MOST) | st.integers(0, 300)
numbers = st.floats(0, 1e18, allow_nan=False) | st.just(0.0)
texts = st.text(max_size=100) | st.just("")
wide = st.integers(0, 2**100) | st.just(0)
prices = st.floats(0, 1e6)
NAMES = ("pages", "calls", "größe", "z")
NOTHING = Integrals()
DEFAULT = Tariff()


OPTIONAL_COUNTS = (
    "io_read_bytes",
    "io_write_bytes",
    "pss_bytes",
    "uss_bytes",
    "kernel_peak_memory_bytes",
    "open_file_count",
    "voluntary_switch_count",
    "involuntary_switch_count",
    "minor_fault_count",
    "major_fault_count",
)
OPTIONAL_PERCENTS = (
    "gpu_utilization_percent",
    "peak_gpu_utilization_percent",
    "cpu_pressure_percent",
    "memory_pressure_percent",
    "io_pressure_percent",
)
Gpu = tuple[int, str, str, int | None, float | None]


def message_of(
    values: dict[str, Any], status: str, current_object: str, earlier: Integrals, tariff: Tariff, gpus: tuple[Gpu, ...]
) -> bytes:
    """Build the same with the generated classes, field by field."""
    message = task_pb2.TaskStatus(status=status, current_object=current_object, stalled=bool(values.get("stalled")))
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
        metrics.recent_peak_cpu_percent = values.get("recent_peak_cpu_percent", 0.0)
        metrics.cpu_time_ns = values.get("cpu_ns", 0)
        for name in ("memory_bytes", "peak_memory_bytes", "process_count", "thread_count", "source", "memory_source"):
            setattr(metrics, name, values.get(name, 0))
        metrics.recent_peak_memory_bytes = values.get("recent_peak_memory_bytes", 0)
        metrics.gap = bool(values.get("gap"))
        metrics.cpu_memory_mb = values.get("memory_bytes", 0) / MIB
        metrics.peak_cpu_memory_mb = values.get("peak_memory_bytes", 0) / MIB
        metrics.avg_cpu_memory_mb = values.get("avg_memory_bytes", 0.0) / MIB
        for name in ("gpu_memory", "peak_gpu_memory", "avg_gpu_memory"):
            if f"{name}_bytes" in values:
                setattr(metrics, f"{name}_mb", values[f"{name}_bytes"] / MIB)
        for name in OPTIONAL_COUNTS + OPTIONAL_PERCENTS:
            if name in values:
                setattr(metrics, name, values[name])
        for index, uuid, name, memory_bytes, percent in gpus:
            metrics.gpus.add(index=index, uuid=uuid, name=name, memory_bytes=memory_bytes, utilization_percent=percent)
    integrals = (
        Integrals(
            values.get("cpu_ns", 0),
            values.get("memory_byte_ns2", 0),
            values.get("gpu_memory_byte_ns2", 0),
            values.get("gpu_ns", 0),
            values.get("custom", {}),
        )
        + earlier
    )
    fill_tokens(message.tokens, integrals, tariff)
    return message.SerializeToString(deterministic=True)


def native(tariff: Tariff) -> NativeTariff:
    values = asdict(tariff)
    return NativeTariff(values.pop("name"), values.pop("version"), **values)


def check(
    values: dict[str, Any],
    status: str = "",
    current_object: str = "",
    earlier: Integrals = NOTHING,
    tariff: Tariff = DEFAULT,
    gpus: tuple[Gpu, ...] = (),
) -> None:
    before = asdict(earlier)
    encoded = encode_hot(values, native(tariff), status=status, current_object=current_object, gpus=gpus, earlier=before)
    assert encoded == message_of(values, status, current_object, earlier, tariff, gpus)


def parsed(values: dict[str, Any], **more: Any) -> task_pb2.TaskStatus:
    return task_pb2.TaskStatus.FromString(encode_hot(values, NativeTariff("default", 1), **more))


def test_nothing_measured_is_only_a_tariff() -> None:
    check({})
    message = parsed({})
    assert not message.HasField("metrics")
    assert message.tokens.tariff == "default-1"


def test_absent_and_zero_differ_for_what_may_be_unmeasurable() -> None:
    absent = parsed({"source": 1}).metrics
    zero = parsed({"source": 1, "io_read_bytes": 0, "pss_bytes": 0, "gpu_memory_bytes": 0, "cpu_pressure_percent": 0.0}).metrics
    for name in ("gpu_memory_mb", "gpu_utilization_percent", "cpu_pressure_percent", "open_file_count", "uss_bytes"):
        assert not absent.HasField(name)
    assert zero.HasField("gpu_memory_mb")
    assert zero.HasField("cpu_pressure_percent")
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
        "uss_bytes": 6,
        "recent_peak_cpu_percent": 99.0,
        "recent_peak_memory_bytes": 5 * MIB,
        "open_file_count": 12,
        "voluntary_switch_count": 13,
        "involuntary_switch_count": 14,
        "minor_fault_count": 15,
        "major_fault_count": 16,
        "cpu_pressure_percent": 1.5,
        "memory_pressure_percent": 0.0,
        "io_pressure_percent": 100.0,
        "gpu_memory_bytes": 3 * MIB,
        "peak_gpu_memory_bytes": 4 * MIB,
        "avg_gpu_memory_bytes": 3.5 * MIB,
        "gpu_utilization_percent": 150.0,
        "peak_gpu_utilization_percent": 200.0,
        "memory_byte_ns2": 2**90 + 1,
        "gpu_memory_byte_ns2": 2**80 + 1,
        "gpu_ns": 2**50,
        "custom": {"pages": 10, "free": 3},
        "stalled": 1,
    }
    tariff = Tariff("gold", 7, 3.0, 4.0, 5.0, 6.0, {"pages": 0.1, "calls": 2.0, "größe": 1.0})
    gpus = ((0, "GPU-1", "One", 5, 50.0), (15, "GPU-2", "Two", None, None))
    check(values, "größer", "データ.csv", Integrals(5, 7, 2**70, 9, {"calls": 4}), tariff, gpus)


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
            **dict.fromkeys(OPTIONAL_COUNTS, counts),
            **dict.fromkeys(OPTIONAL_PERCENTS, numbers),
            **dict.fromkeys(("recent_peak_cpu_percent", "avg_gpu_memory_bytes"), numbers),
            **dict.fromkeys(("gpu_memory_bytes", "peak_gpu_memory_bytes", "recent_peak_memory_bytes"), counts),
            **dict.fromkeys(("memory_byte_ns2", "gpu_memory_byte_ns2"), wide),
            "gpu_ns": st.integers(0, 2**62),
            "custom": st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2**40)),
            "stalled": st.integers(0, 1),
            **dict.fromkeys(("process_count", "thread_count"), st.integers(0, 2**31 - 1)),
            "gap": st.integers(0, 1),
        },
    ),
    eta=st.none() | st.tuples(numbers, numbers, numbers),
    status=texts,
    current_object=texts,
    earlier=st.builds(Integrals, st.integers(0, 2**61), wide, wide, st.integers(0, 2**61)),
    tariff=st.builds(
        Tariff,
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25),
        st.integers(1, 2**31 - 1),
        prices,
        prices,
        prices,
        prices,
        st.dictionaries(st.sampled_from(NAMES), prices),
    ),
    gpus=st.lists(
        st.tuples(st.integers(0, 15), st.just("GPU-8f6d"), st.just("Card"), st.none() | counts, st.none() | numbers),
        max_size=16,
        unique_by=lambda gpu: gpu[0],
    ).map(tuple),
)
def test_any_values_are_what_the_generated_code_writes(
    values: dict[str, Any],
    eta: tuple[float, float, float] | None,
    status: str,
    current_object: str,
    earlier: Integrals,
    tariff: Tariff,
    gpus: tuple[Gpu, ...],
) -> None:
    if eta is not None:
        values |= dict(zip(("eta_seconds", "eta_low_seconds", "eta_high_seconds"), eta, strict=True))
    check(values, status, current_object, earlier, tariff, gpus)


def test_the_longest_of_everything_fits() -> None:
    gpus = tuple((n, "u" * 95, "n" * 95, MOST, 100.0) for n in range(16))
    tariff = NativeTariff("t" * 126, 1, custom={f"counter-{n:02d}-{'x' * 12}": 1.0 for n in range(16)})
    encoded = encode_hot({"source": 1}, tariff, status="s" * 500, current_object="o" * 500, gpus=gpus)
    message = task_pb2.TaskStatus.FromString(encoded)
    assert (len(message.status), len(message.current_object), len(message.tokens.tariff)) == (500, 500, 128)
    assert [(gpu.index, gpu.uuid, gpu.name) for gpu in message.metrics.gpus] == [gpu[:3] for gpu in gpus]
    assert len(message.tokens.custom) == 16


def test_more_than_int64_holds_is_shown_as_the_most() -> None:
    message = parsed({"source": 1, "cpu_ns": 2**63 + 5, "rate_size_per_second": 1e30})
    assert message.metrics.cpu_time_ns == MOST
    assert message.rate_size == MOST
