from __future__ import annotations

from typing import Any

from taskmeter.cli.reported import MOST_MESSAGES, MOST_STAGES, Reported
from taskmeter.client.items import ItemStats
from taskmeter.client.status import Event, TaskStatus
from taskmeter.client.view import status_view
from taskmeter.v1 import event_pb2, item_service_pb2, task_pb2


def stats(**stages: dict[str, int]) -> ItemStats:
    message = item_service_pb2.GetItemStatsResponse()
    for name, counts in stages.items():
        message.stages.add(stage=name, counts=item_service_pb2.ItemCounts(**counts))
    return ItemStats.of(message)


def said(text: str, level: Any = event_pb2.MESSAGE_LEVEL_NOTE) -> Event:
    return Event.of(event_pb2.Event(time=1.0, message=event_pb2.Message(level=level, text=text)))


def drawn(reported: Reported, width: int = 80) -> list[str]:
    return [line.plain.rstrip() for line in reported.render(width)]


def test_work_that_says_nothing_takes_no_line() -> None:
    assert drawn(Reported()) == []


def test_each_stage_has_a_line_with_what_is_not_zero() -> None:
    reported = Reported()
    reported.count(stats(fetch={"completed": 1200, "failed": 2}, render={"in_progress": 4, "queued": 30, "retrying": 1}))
    assert drawn(reported) == ["fetch   1,200 done · 2 failed", "render  4 in progress · 30 waiting · 1 to be retried"]


def test_many_stages_are_cut_and_said_so() -> None:
    reported = Reported()
    reported.count(stats(**{f"stage {number}": {"completed": 1} for number in range(MOST_STAGES + 3)}))
    assert len(drawn(reported)) == MOST_STAGES + 1
    assert drawn(reported)[-1] == "and 3 stages more"


def test_the_newest_messages_are_shown_on_one_line_each() -> None:
    reported = Reported()
    for number in range(9):
        reported.hear(said(f"line {number}\nand \x1b[31m more " + "x" * 200))
    lines = drawn(reported, 40)
    assert len(lines) == MOST_MESSAGES
    assert all(len(line) <= 40 and "\x1b" not in line for line in lines)
    assert "line 8 and" in lines[-1]


def test_what_was_said_before_is_taken_over_once() -> None:
    reported = Reported()
    reported.hear(said("ink is low", event_pb2.MESSAGE_LEVEL_WARNING))
    status = TaskStatus(status_view(task_pb2.TaskStatus(warnings=["paper is low", "ink is low"])))
    reported.begin(status)
    reported.begin(status)
    assert [line.split(" ", 1)[-1] for line in drawn(reported)] == ["is low", "ink is low"]
