from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmeter.client.requests import stream_events
from taskmeter.client.resume import StreamState
from taskmeter.client.tail import TailState
from taskmeter.errors import InternalError, OutOfRangeError
from taskmeter.v1 import event_pb2, file_service_pb2
from taskmeter.v1 import task_service_pb2 as tasks


class Log:
    """A daemon's event log that answers StreamEvents requests as the contract says, a few events per message."""

    def __init__(self, matching: list[int], head: int, *, use_tokens: bool, repeat: int) -> None:
        self.matching = matching
        self.head = head
        self.use_tokens = use_tokens
        self.repeat = repeat

    def connect(self, request: tasks.StreamEventsRequest, sizes: list[int]) -> list[tasks.StreamEventsResponse]:
        which = request.WhichOneof("start")
        start = 1
        if which == "from_seq":
            start = request.from_seq
        elif which == "resume_token":
            start = int(request.resume_token) + 1
        if which != "from_seq" or request.from_seq > 1:
            start = max(1, start - self.repeat)  # a daemon may repeat what it is not sure to have sent
        due = [seq for seq in self.matching if seq >= start]
        answer = []
        for size in sizes:
            batch, due = due[:size], due[size:]
            up_to = (due[0] - 1) if due else self.head
            answer.append(
                tasks.StreamEventsResponse(
                    events=[event_pb2.Event(seq=seq, token="tk", task_deleted=event_pb2.TaskDeleted()) for seq in batch],
                    seq=up_to,
                    resume_token=str(up_to) if self.use_tokens else "",
                    bookmark=not batch,
                )
            )
        return answer


@given(
    matching=st.sets(st.integers(1, 60)).map(sorted),
    connections=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), max_size=30),
    use_tokens=st.booleans(),
    repeat=st.integers(0, 3),
)
def test_every_event_is_delivered_once_and_in_order_wherever_the_connection_is_cut(matching, connections, use_tokens, repeat):
    log = Log(matching, 60, use_tokens=use_tokens, repeat=repeat)
    state = StreamState(stream_events(from_seq=1))
    delivered = []
    for sizes in [*connections, [1000]]:
        for response in log.connect(state.next_request(), sizes):
            delivered += [event.seq for event in state.accept(response).events]
    assert delivered == matching
    assert state.seq == 60


def message(*seqs: int, seq: int = 0, resume_token: str = "") -> tasks.StreamEventsResponse:
    events = [event_pb2.Event(seq=each, task_deleted=event_pb2.TaskDeleted()) for each in seqs]
    return tasks.StreamEventsResponse(events=events, seq=seq, resume_token=resume_token)


def test_an_event_that_comes_late_on_one_connection_is_an_error_not_a_loss():
    state = StreamState(stream_events(from_seq=1))
    state.accept(message(3, seq=3))
    with pytest.raises(InternalError):
        state.accept(message(2))


def test_a_token_of_an_earlier_position_is_not_used():
    state = StreamState(stream_events(from_seq=1))
    state.accept(message(9, seq=9, resume_token="nine"))
    state.next_request()
    state.accept(message(seq=4, resume_token="four"))
    assert state.next_request().from_seq == 10


def test_before_the_first_position_the_original_request_is_repeated():
    state = StreamState(stream_events(["tk"], snapshot_first=True, include_status=True))
    assert state.next_request().snapshot_first
    state.accept(tasks.StreamEventsResponse())
    assert state.next_request().snapshot_first
    state.accept(message(seq=7, resume_token="seven"))
    again = state.next_request()
    assert again.WhichOneof("start") == "resume_token"
    assert (list(again.tokens), again.include_status) == (["tk"], True)


def log_event(offset: int, data: bytes) -> tasks.StreamEventsResponse:
    chunk = event_pb2.LogChunk(stream=event_pb2.LOG_STREAM_STDOUT, offset=offset, data=data)
    return tasks.StreamEventsResponse(events=[event_pb2.Event(token="tk", log=chunk)])


def test_log_chunks_that_overlap_after_a_resume_are_cut():
    state = StreamState(stream_events(kinds=["log"]))
    state.accept(log_event(0, b"hello"))
    (event,) = state.accept(log_event(3, b"lo world")).events
    assert event.log is not None
    assert (event.log.offset, event.log.data) == (5, b" world")
    assert state.accept(log_event(0, b"hello")).events == ()


def test_a_hole_in_a_log_is_an_error():
    state = StreamState(stream_events(kinds=["log"]))
    state.accept(log_event(0, b"hello"))
    with pytest.raises(OutOfRangeError):
        state.accept(log_event(6, b"x"))


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=8), piece=st.integers(1, 50))
def test_a_file_is_read_once_wherever_the_connection_is_cut(data, cuts, piece):
    state = TailState(file_service_pb2.ReadFileRequest(token="tk", path="stdout", follow=True))
    read = b""
    for cut in [*cuts, None]:
        request = state.next_request()
        sent = 0
        offset = request.offset
        while cut is None or sent < cut:
            part = data[offset : offset + piece]
            response = file_service_pb2.ReadFileResponse(data=part, offset=offset, size=len(data), end=not part)
            read += state.accept(response).data
            offset += len(part)
            sent += piece
            if not part:
                break
    assert read == data
    assert state.ends_with_ok


def test_a_read_with_a_bound_keeps_it_over_reconnects():
    state = TailState(file_service_pb2.ReadFileRequest(path="stdout", max_bytes=10, last_lines=3))
    assert state.next_request().last_lines == 3
    state.accept(file_service_pb2.ReadFileResponse(data=b"123456", offset=100))
    again = state.next_request()
    assert not again.HasField("last_lines")
    assert (again.offset, again.max_bytes) == (106, 4)
    assert state.accept(file_service_pb2.ReadFileResponse(data=b"7890", offset=106)).end


def test_a_file_that_goes_on_elsewhere_is_an_error():
    state = TailState(file_service_pb2.ReadFileRequest(path="stdout"))
    state.accept(file_service_pb2.ReadFileResponse(data=b"1", offset=0))
    with pytest.raises(OutOfRangeError):
        state.accept(file_service_pb2.ReadFileResponse(data=b"3", offset=2))
