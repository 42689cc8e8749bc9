"""The stored form of a spec whose secrets are sealed: what is open as a TaskSpec, then the sealed bytes."""

from __future__ import annotations

from msgspec.structs import replace

from taskmeter.model.task import TaskSpec
from taskmeter.v1 import task_pb2

MARK = b"\0sealed\x01"
"""No protobuf message begins so: field numbers start at 1."""


def join(public: bytes, sealed: bytes) -> bytes:
    """Return both in one; `split` takes them apart."""
    return MARK + len(public).to_bytes(4, "little") + public + sealed


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return (the open part, the sealed part or b"")."""
    if not data.startswith(MARK):
        return data, b""
    begin = len(MARK) + 4
    end = begin + int.from_bytes(data[len(MARK) : begin], "little")
    return data[begin:end], data[end:]


def encode_secrets(spec: TaskSpec) -> bytes:
    """Serialize arguments, environment and input."""
    message = task_pb2.TaskSpec(env=spec.env, stdin_data=spec.stdin_data)
    message.command.argv.extend(spec.argv)
    return message.SerializeToString(deterministic=True)


def with_secrets(spec: TaskSpec, secrets: bytes) -> TaskSpec:
    """Put back what `encode_secrets` wrote."""
    message = task_pb2.TaskSpec.FromString(secrets)
    return replace(spec, argv=tuple(message.command.argv), env=dict(message.env), stdin_data=message.stdin_data)
