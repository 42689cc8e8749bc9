from __future__ import annotations

import pytest

from taskmeter.client import requests
from taskmeter.errors import InvalidArgumentError


def test_a_command_given_as_one_string_is_refused_with_advice():
    with pytest.raises(InvalidArgumentError) as caught:
        requests.command_spec("ls -l")
    assert caught.value.fields
    assert "sh" in caught.value.hint


def test_what_was_not_given_is_absent():
    spec = requests.command_spec(["true"])
    assert not spec.HasField("grace_period_seconds")
    assert not spec.HasField("umask")
    assert requests.command_spec(["true"], grace_period_seconds=0.0, umask=0).HasField("umask")


def test_an_attached_process_has_nothing_of_a_new_one():
    spec = requests.attach_spec(7, name="n")
    assert {descriptor.name for descriptor, _ in spec.ListFields()} == {"attach", "name"}
    assert (spec.attach.pid, spec.attach.include_descendants) == (7, True)
    assert not requests.attach_spec(7, include_descendants=False).attach.include_descendants


def test_status_words_become_states_or_outcomes():
    assert list(requests.list_tasks(status="waiting").states) == [0]
    assert list(requests.list_tasks(status=["succeeded", "lost"]).outcomes) == [1, 8]
    with pytest.raises(InvalidArgumentError, match="nonsense"):
        requests.list_tasks(status="nonsense")
    with pytest.raises(InvalidArgumentError):
        requests.list_tasks(status=["running", "failed"])


def test_one_start_of_a_stream_excludes_the_others():
    with pytest.raises(InvalidArgumentError):
        requests.stream_events(from_seq=1, snapshot_first=True)
    assert requests.stream_events().WhichOneof("start") is None


def test_kinds_can_be_words():
    assert list(requests.stream_events(kinds=["state", 6]).kinds) == [1, 6]
    with pytest.raises(InvalidArgumentError, match="nonsense"):
        requests.stream_events(kinds=["nonsense"])
