"""A report from the wire: every field is checked, and each that is wrong is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.item import ItemChanged, ItemStatus, Message, MessageLevel, StepEvent, StepEventType
from taskmeter.model.report import MOST_COUNT, Report
from taskmeter.rpc.convert.canonical import canonical_json
from taskmeter.rpc.convert.report import MAX_EVENTS, report_from_message
from taskmeter.v1 import task_service_pb2 as pb

ITEM = {"item_id": {"text": "a"}, "status": 3}
STEP = {"item_id": {"number": 7}, "step": "ocr", "type": 2}


def test_a_report_becomes_what_it_says() -> None:
    request = pb.ReportProgressRequest(
        set_total_count=0,
        add_completed_count=5,
        add_failed_size=9,
        status="",
        ready=True,
        add_custom={"rows": 3},
        messages=[{"level": 2, "text": "low"}],
        items=[{**ITEM, "stage": "s", "metadata": {"a": "b"}}],
        steps=[{**STEP, "duration_seconds": 0.5}],
    )
    assert report_from_message(request) == Report(
        total_count=0,
        completed_count=5,
        failed_size=9,
        status="",
        ready=True,
        custom={"rows": 3},
        payloads=(
            Message(MessageLevel.WARNING, "low"),
            ItemChanged(b"sa", ItemStatus.COMPLETED, "s", metadata={"a": "b"}),
            StepEvent(b"i7", "ocr", StepEventType.COMPLETE, duration_seconds=0.5),
        ),
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"set_total_count": -1}, "set_total_count"),
        ({"set_total_size": MOST_COUNT + 1}, "set_total_size"),
        ({"add_completed_count": -1}, "add_completed_count"),
        ({"add_completed_size": 2**63 - 1}, "add_completed_size"),
        ({"add_failed_count": -(2**63)}, "add_failed_count"),
        ({"add_failed_size": -5}, "add_failed_size"),
        ({"status": "x" * 501}, "status"),
        ({"current_object": "a\0b"}, "current_object"),
        ({"exit_code": -1}, "exit_code"),
        ({"add_custom": {"": 1}}, "add_custom['']"),
        ({"add_custom": {"é" * 13: 1}}, f"add_custom[{'é' * 13!r}]"),
        ({"add_custom": {"rows": -1}}, "add_custom['rows']"),
        ({"add_custom": {str(n): 1 for n in range(17)}}, "add_custom"),
        ({"messages": [{"level": 0, "text": "x"}]}, "messages[0].level"),
        ({"messages": [{"level": 1}, {"level": 9, "text": "x"}]}, "messages[1].level"),
        ({"messages": [{"level": 1, "text": "é" * 2001}]}, "messages[0].text"),
        ({"items": [{"status": 3}]}, "items[0].item_id"),
        ({"items": [{**ITEM, "item_id": {"text": "x" * 10_000}}]}, "items[0].item_id.text"),
        ({"items": [{**ITEM, "item_id": {"text": ""}}]}, "items[0].item_id.text"),
        ({"items": [{**ITEM, "item_id": {"json": "{"}}]}, "items[0].item_id.json"),
        ({"items": [{**ITEM, "item_id": {"json": '"a"'}}]}, "items[0].item_id.json"),
        ({"items": [{**ITEM, "item_id": {"json": "[" * 1024}}]}, "items[0].item_id.json"),
        ({"items": [{**ITEM, "item_id": {"json": "x" * 1025}}]}, "items[0].item_id.json"),
        ({"items": [{**ITEM, "status": 0}]}, "items[0].status"),
        ({"items": [{**ITEM, "stage": "x" * 201}]}, "items[0].stage"),
        ({"items": [{**ITEM, "attempt": -1}]}, "items[0].attempt"),
        ({"items": [{**ITEM, "error": "x" * 2001}]}, "items[0].error"),
        ({"items": [{**ITEM, "worker": "x" * 201}]}, "items[0].worker"),
        ({"items": [{**ITEM, "size": -1}]}, "items[0].size"),
        ({"items": [{**ITEM, "metadata": {"a": "x" * 4000}}]}, "items[0].metadata"),
        ({"items": [ITEM, {**ITEM, "metadata": {"": "x"}}]}, "items[1].metadata"),
        ({"steps": [{**STEP, "step": ""}]}, "steps[0].step"),
        ({"steps": [{**STEP, "type": 5}]}, "steps[0].type"),
        ({"steps": [{**STEP, "duration_seconds": math.nan}]}, "steps[0].duration_seconds"),
        ({"steps": [{**STEP, "duration_seconds": -1.0}]}, "steps[0].duration_seconds"),
        ({"messages": [{"level": 1, "text": "x"}] * (MAX_EVENTS + 1)}, ""),
        ({"messages": [{"level": 1, "text": "x" * 4000}] * 140}, ""),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        report_from_message(pb.ReportProgressRequest(**fields))
    assert [field for field, _ in caught.value.fields] == [named]


@pytest.mark.parametrize("field", ["set_total_count", "add_completed_count", "add_failed_size"])
def test_the_largest_count_is_taken(field: str) -> None:
    wanted: dict[str, Any] = {field: MOST_COUNT}
    report_from_message(pb.ReportProgressRequest(**wanted))


def test_another_json_value_names_an_item_in_its_canonical_form() -> None:
    request = pb.ReportProgressRequest(items=[{**ITEM, "item_id": {"json": ' {"b" : 1e0, "a":[null,1.50]} '}}])
    [changed] = report_from_message(request).payloads
    assert isinstance(changed, ItemChanged)
    assert changed.item_id == b'j{"a":[null,1.5],"b":1}'


@pytest.mark.parametrize(
    ("text", "canonical"),
    [  # RFC 8785, appendix B and section 3.2.3, and the edges of Number::toString
        ("0", "0"),
        ("-0.0", "0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992", "9007199254740992"),
        ("295147905179352830000", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("0.000001", "0.000001"),
        ("1e-7", "1e-7"),
        ("333333333.3333332", "333333333.3333332"),
        ("-0.0000033333333333333333", "-0.0000033333333333333333"),
        ('[56, {"d": true, "10": null, "1": []}]', '[56,{"1":[],"10":null,"d":true}]'),
        ('"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ('{"\\ufb33":1,"\\ud83d\\ude00":2}', '{"😀":2,"\ufb33":1}'),
    ],
)
def test_json_is_canonical_as_rfc_8785_says(text: str, canonical: str) -> None:
    assert canonical_json(text) == canonical


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", '{"a":1,"a":2}', '"\\ud800"', "1e999", "01", "[1,]"])
def test_what_has_no_canonical_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        canonical_json(text)
