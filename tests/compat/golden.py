"""Golden messages: for every message of the contract its wire bytes and its JSON, with every field set, as first released.

They are files, golden/FILE.json, and the truth: code changes, they do not. `python -m tests.compat.golden` adds the messages that
have none yet and leaves the others alone. A message with a oneof has one golden for each of its members.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from taskmeter.v1 import (
    admin_service_pb2,
    error_reason_pb2,
    event_pb2,
    file_service_pb2,
    item_pb2,
    item_service_pb2,
    queue_service_pb2,
    schedule_service_pb2,
    task_pb2,
    task_service_pb2,
    usage_pb2,
)

DIRECTORY = Path(__file__).parent / "golden"
FILES: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (
        admin_service_pb2,
        error_reason_pb2,
        event_pb2,
        file_service_pb2,
        item_pb2,
        item_service_pb2,
        queue_service_pb2,
        schedule_service_pb2,
        task_pb2,
        task_service_pb2,
        usage_pb2,
    )
]


def messages() -> dict[str, Descriptor]:
    """Return all messages of the contract by name."""
    return {message.name: message for file in FILES for message in file.message_types_by_name.values()}


def variants(message: Descriptor) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield (name of the golden, fields it leaves out): one, or one per member of the message's oneof."""
    real = [oneof for oneof in message.oneofs if not oneof.name.startswith("_")]  # those with "_" stand for `optional`
    if not real:
        yield message.name, frozenset()
        return
    [oneof] = real
    for member in oneof.fields:
        yield f"{message.name}.{member.name}", frozenset(field.name for field in oneof.fields) - {member.name}


def scalar(field: Any) -> Any:
    """Return a value that tells this field from its neighbours."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return field.name.encode() if field.type == FieldDescriptor.TYPE_BYTES else field.name
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return field.enum_type.values[1].number
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return field.number + 0.25
    return 1000 + field.number


def fill(message: Message, skipped: frozenset[str], depth: int = 0) -> None:
    """Set every field but `skipped`; below the top only the first one, since a message of its own has the others."""
    for field in message.DESCRIPTOR.fields if depth == 0 else message.DESCRIPTOR.fields[:1]:
        if field.name in skipped:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            if value.message_type is not None:
                fill(getattr(message, field.name)[scalar(key)], frozenset(), depth + 1)
            else:
                getattr(message, field.name)[scalar(key)] = scalar(value)
        elif field.message_type is not None:
            nested = getattr(message, field.name)
            nested = nested.add() if field.is_repeated else nested
            nested.SetInParent()
            fill(nested, frozenset(), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).append(scalar(field))
        else:
            setattr(message, field.name, scalar(field))


def new(name: str) -> Message:
    """Return an empty message of this name (a golden's name does too)."""
    made: Message = message_factory.GetMessageClass(messages()[name.partition(".")[0]])()
    return made


def path_of(name: str) -> Path:
    """Return the file that holds this golden: the one named after the proto file."""
    return DIRECTORY / f"{Path(messages()[name.partition('.')[0]].file.name).stem}.json"


def load() -> dict[str, dict[str, Any]]:
    """Return all goldens by name: {"wire": hex, "json": object}."""
    return {name: golden for path in sorted(DIRECTORY.glob("*.json")) for name, golden in json.loads(path.read_text()).items()}


def main() -> None:
    known = load()
    for message in messages().values():
        for name, skipped in variants(message):
            if name in known:
                continue
            made = new(name)
            fill(made, skipped)
            path = path_of(name)
            goldens = json.loads(path.read_text()) if path.exists() else {}
            wire = made.SerializeToString(deterministic=True).hex()
            goldens[name] = {"wire": wire, "json": json_format.MessageToDict(made)}
            path.write_text(json.dumps(goldens, indent=1, ensure_ascii=False) + "\n")
            print(f"added {name}")


if __name__ == "__main__":
    main()
