"""The status of a task: what the meter encodes and what stands in it at the end are the same fields."""

from __future__ import annotations

from taskmeter.model.state import Outcome, State
from taskmeter.model.task import Cause, StopOrder, Task, TaskSpec
from taskmeter.model.usage import Integrals, MemorySource, Metrics, MetricsSource, Progress, Usage
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.convert.frame import frame, varint
from taskmeter.stores.frames import split_frames
from taskmeter.v1 import task_pb2

HOT = {*range(11, 24), 28, 29, 33, 34}
"""Numbers of the fields that the meter's encoder adds to the status of a running task."""

RUNNING = Task(
    token="t", spec=TaskSpec(argv=("x",), name="n", total_count=7, queue="default"), spec_hash=b"", create_time=10.0,
    queued_time=10.0, state=State.RUNNING, launch_time=11.0, start_time=11.5, pid=5, earlier=Integrals(5, 6),
)  # fmt: skip
ENDED = RUNNING.evolve(
    state=State.COMPLETED, outcome=Outcome.FAILED, end_time=20.0, gone_time=21.0, exit_code=3, exit_message="exited with code 3",
    usage=Usage(
        Metrics(cpu_time_ns=9, memory_bytes=2**20, source=MetricsSource.CGROUP, memory_source=MemorySource.RSS, io_write_bytes=0),
        Integrals(9, 10),
        Progress(completed_count=4, status="s", current_object="o"),
    ),
)  # fmt: skip


def status(task: Task, **options: object) -> task_pb2.TaskStatus:
    options.setdefault("metered", False)
    return task_pb2.TaskStatus.FromString(ProtoCodec().status(task, **options))  # type: ignore[arg-type]


def test_a_metered_status_leaves_the_changing_fields_to_the_meter() -> None:
    numbers = {field.number for field, _ in status(RUNNING, metered=True).ListFields()}
    assert not numbers & HOT
    assert {field.number for field, _ in status(ENDED).ListFields()} & HOT >= {11, 12, 28, 29, 33, 34}


def test_metrics_are_of_the_attempt_and_tokens_of_all() -> None:
    ended = status(ENDED)
    assert (ended.metrics.cpu_time_ns, ended.tokens.cpu_ns) == (9, 14)
    assert ended.tokens.total == ended.tokens.cpu_utilization + ended.tokens.cpu_memory > 0
    assert (ended.total_count, ended.completed_count) == (7, 4)


def test_not_measurable_is_absent_and_zero_is_not() -> None:
    metrics = status(ENDED).metrics
    assert metrics.HasField("io_write_bytes") and not metrics.HasField("io_read_bytes") and not metrics.HasField("gpu_memory_mb")
    assert not status(RUNNING.evolve(state=State.NONE)).HasField("metrics")


def test_timings_are_spans_between_what_has_happened() -> None:
    timings = status(ENDED).timings
    assert (timings.queue_seconds, timings.start_seconds, timings.run_seconds) == (1.0, 0.5, 8.5)
    assert (timings.stop_seconds, timings.total_seconds) == (1.0, 11.0)
    assert not status(RUNNING).timings.HasField("run_seconds")
    stopped = ENDED.evolve(stop=StopOrder(Cause.CANCEL, 18.0, 10.0))
    assert status(stopped).timings.stop_seconds == 3.0, "counted from the order"


def test_a_waiting_task_says_why_and_how_many_are_ahead() -> None:
    waiting = status(RUNNING.evolve(state=State.NONE, launch_time=0.0, start_time=0.0), queue_position=0)
    assert waiting.HasField("queue_position") and waiting.queue_position == 0 and waiting.waiting_reason
    assert not status(RUNNING).HasField("queue_position")


def test_frames_join_and_split() -> None:
    assert [varint(value) for value in (0, 127, 128, 300, 2**35)] == [
        b"\0",
        b"\x7f",
        b"\x80\x01",
        b"\xac\x02",
        b"\x80\x80\x80\x80\x80\x01",
    ]
    frames = tuple(frame(b"\x0a", b"x" * size) for size in (0, 1, 127, 128, 20_000))
    assert split_frames(b"".join(frames)) == frames
