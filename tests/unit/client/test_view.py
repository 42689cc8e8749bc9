from __future__ import annotations

import json
from typing import Any

import pytest

from taskmeter.client import status as objects
from taskmeter.client import view
from taskmeter.client.status import Event, TaskStatus, View
from taskmeter.model.event import EventKind
from taskmeter.model.state import State
from taskmeter.v1 import event_pb2, task_pb2, usage_pb2


def test_every_documented_key_is_always_there():
    shown = view.status_view(task_pb2.TaskStatus())
    assert list(shown) == [field.json_name for field in task_pb2.TaskStatus.DESCRIPTOR.fields]
    assert list(shown["metrics"]) == [field.json_name for field in usage_pb2.TaskMetrics.DESCRIPTOR.fields]
    assert list(shown["tokens"]) == [field.json_name for field in usage_pb2.TaskTokens.DESCRIPTOR.fields]
    assert shown["pipeflow"] == {"totalPipes": 0, "byPipe": {}, "workers": {}}
    assert set(shown["timings"].values()) == {None}


def test_the_documentation_lists_every_key():
    documented = set((view.__doc__ or "").replace("{", " ").replace("}", " ").replace("[", " ").replace("]", " ").split())
    documented |= {word.rstrip("?") for word in documented}

    def keys(descriptor: Any) -> set[str]:
        found = set()
        for field in descriptor.fields:
            found.add(field.json_name)
            nested = field.message_type
            if nested is not None and not nested.GetOptions().map_entry and nested.name != "ItemId":
                found |= keys(nested)
        return found

    assert keys(task_pb2.TaskStatus.DESCRIPTOR) <= documented


def test_what_was_not_measured_is_null_and_what_is_empty_is_zero():
    shown = view.status_view(task_pb2.TaskStatus())
    assert (shown["completed"], shown["totalCount"], shown["errors"], shown["status"]) == (False, 0, [], "")
    assert (shown["etaSeconds"], shown["queuePosition"]) == (None, None)
    assert {value for key, value in shown["metrics"].items() if key != "gpus"} == {None}
    measured = view.status_view(task_pb2.TaskStatus(metrics=usage_pb2.TaskMetrics(cpu_percent=0.0)))
    assert (measured["metrics"]["cpu_percent"], measured["metrics"]["gpu_memory_mb"]) == (0.0, None)


def test_the_keys_are_those_of_the_reference_system():
    status = task_pb2.TaskStatus(project_id="p", rate_size=5, start_time=1.5, state=task_pb2.TASK_STATE_RUNNING)
    status.pipeflow.total_pipes = 2
    status.pipeflow.by_pipe[0].components.extend(["source", "transform"])
    status.metadata["b"] = status.metadata["a"] = "1"
    shown = view.status_view(status)
    assert (shown["project_id"], shown["rateSize"], shown["startTime"], shown["state"]) == ("p", 5, 1.5, 3)
    assert shown["pipeflow"]["byPipe"] == {"0": ["source", "transform"]}
    assert list(shown["metadata"]) == ["a", "b"]


def test_the_object_is_the_dict_and_has_attributes():
    status = TaskStatus.of(task_pb2.TaskStatus(token="tk", completed_count=7, state=task_pb2.TASK_STATE_STOPPING))
    assert status["completedCount"] == status.completed_count == 7
    assert status.state is State.STOPPING
    assert status["state"] == 4
    assert status.metrics.cpu_percent is None
    assert json.loads(json.dumps(status)) == status.to_dict() == json.loads(status.to_json())
    with pytest.raises(AttributeError):
        _ = status.nonsense


@pytest.mark.parametrize(
    "cls", [cls for cls in vars(objects).values() if isinstance(cls, type) and issubclass(cls, View) and cls is not View]
)
def test_every_field_is_declared_and_none_is_hidden_by_dict(cls):
    names = {field.name for field in cls._descriptor.fields}
    assert names <= set(cls.__annotations__)
    assert not names & set(dir(dict))


def test_an_event_shows_exactly_its_payload():
    event = event_pb2.Event(seq=3, token="tk")
    event.state_changed.from_state = task_pb2.TASK_STATE_NONE
    event.state_changed.to_state = task_pb2.TASK_STATE_STARTING
    event.state_changed.status.token = "tk"
    shown = Event.of(event)
    assert set(shown) == {"seq", "time", "token", "attempt", "tags", "kind", "stateChanged"}
    assert (shown["stateChanged"]["from"], shown["stateChanged"]["to"]) == (0, 1)
    assert shown.kind is EventKind.STATE
    assert shown.state_changed is not None
    assert shown.state_changed.status is not None
    assert shown.state_changed.status.token == "tk"
    assert shown.message is None


def test_bytes_are_bytes_in_python_and_base64_in_json():
    event = event_pb2.Event()
    event.log.data = b"\xff\x00"
    shown = Event.of(event)
    assert shown.log is not None
    assert shown.log.data == b"\xff\x00"
    assert json.loads(shown.to_json())["log"]["data"] == "/wA="


def test_numbers_that_json_does_not_have_become_null():
    status = task_pb2.TaskStatus(rate_size_per_second=float("inf"), eta_seconds=float("nan"))
    shown = view.status_view(status)
    assert (shown["rateSizePerSecond"], shown["etaSeconds"]) == (None, None)


def test_item_ids_are_the_values_they_stand_for():
    status = task_pb2.TaskStatus()
    status.pipeflow.workers["w"].item_id.number = 1
    status.pipeflow.workers["x"].item_id.text = "1"
    status.pipeflow.workers["y"].item_id.json = "[1]"
    workers = view.status_view(status)["pipeflow"]["workers"]
    assert [workers[name]["itemId"] for name in "wxy"] == [1, "1", [1]]
