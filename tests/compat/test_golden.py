"""Bytes and JSON that clients of the first release send and store mean the same today."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from tests.compat import golden

GOLDENS = golden.load()


def test_every_message_of_the_contract_has_a_golden() -> None:
    wanted = {name for message in golden.messages().values() for name, _ in golden.variants(message)}
    assert wanted <= GOLDENS.keys(), "run `python -m tests.compat.golden`"


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_wire_bytes_mean_what_they_meant(name: str) -> None:
    message = golden.new(name)
    message.ParseFromString(bytes.fromhex(GOLDENS[name]["wire"]))
    assert json_format.MessageToDict(message) == GOLDENS[name]["json"]
    assert message.SerializeToString(deterministic=True).hex() == GOLDENS[name]["wire"]


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_json_means_what_it_meant(name: str) -> None:
    message = json_format.ParseDict(GOLDENS[name]["json"], golden.new(name))
    assert message.SerializeToString(deterministic=True).hex() == GOLDENS[name]["wire"]


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for nested in value.values() for key in keys(nested)}
    return {key for nested in value for key in keys(nested)} if isinstance(value, list) else set()


def test_metrics_and_tokens_have_the_json_names_of_the_reference_system() -> None:
    metrics = keys(GOLDENS["TaskMetrics"]["json"])
    assert {"cpu_percent", "cpu_memory_mb", "peak_gpu_memory_mb", "avg_cpu_percent", "cpu_time_ns", "memory_source"} <= metrics
    assert {"cpu_utilization", "cpu_memory", "gpu_memory", "total", "custom", "cpu_ns"} <= keys(GOLDENS["TaskTokens"]["json"])


def test_a_status_has_the_json_names_of_the_reference_system() -> None:
    status = keys(GOLDENS["TaskStatus"]["json"])
    assert {"project_id", "startTime", "totalCount", "rateSize", "completedCount", "exitCode", "currentObject"} <= status
    assert {"from", "to"} <= keys(GOLDENS["StateChanged"]["json"])


def test_numbers_of_the_states_are_those_that_were_mandated() -> None:
    from taskmeter.v1 import task_pb2

    names = ["NONE", "STARTING", "INITIALIZING", "RUNNING", "STOPPING", "COMPLETED", "CANCELLED"]
    assert {name: task_pb2.TaskState.Value(f"TASK_STATE_{name}") for name in names} == {n: i for i, n in enumerate(names)}


def test_error_reasons_are_those_that_the_errors_use() -> None:
    from taskmeter import errors
    from taskmeter.v1 import error_reason_pb2

    on_the_wire = {value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values}
    made_by_clients = {"DAEMON_UNREACHABLE", "DEADLINE_EXCEEDED"}
    assert {cls.default_reason for cls in errors.BY_CODE.values()} - made_by_clients <= on_the_wire
