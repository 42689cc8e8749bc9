"""The codec that the core and the store are given: model values to bytes and back."""

from __future__ import annotations

from taskmeter.model.event import Event
from taskmeter.model.task import Task, TaskSpec
from taskmeter.rpc.convert.event import frame_event
from taskmeter.rpc.convert.sealed import encode_secrets, with_secrets
from taskmeter.rpc.convert.spec import decode_spec, encode_spec
from taskmeter.rpc.convert.status import status_message


class ProtoCodec:
    """Implements `core.ports.Codec` with the messages of `taskmeter.v1`."""

    def encode_spec(self, spec: TaskSpec) -> bytes:
        return encode_spec(spec)

    def decode_spec(self, data: bytes) -> TaskSpec:
        return decode_spec(data)

    def encode_secrets(self, spec: TaskSpec) -> bytes:
        return encode_secrets(spec)

    def with_secrets(self, spec: TaskSpec, secrets: bytes) -> TaskSpec:
        return with_secrets(spec, secrets)

    def frame_event(self, event: Event, seq: int) -> bytes:
        return frame_event(event, seq)

    def status(self, task: Task, *, metered: bool, queue_position: int | None = None, waiting_reason: str = "") -> bytes:
        message = status_message(task, metered=metered, queue_position=queue_position, waiting_reason=waiting_reason)
        return message.SerializeToString()
