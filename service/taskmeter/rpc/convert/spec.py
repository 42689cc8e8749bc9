"""TaskSpec: from the wire, checked field by field, and to and from its stored form."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import DecodeError
from msgspec.structs import replace

from taskmeter.errors import NotBuiltError
from taskmeter.model.queue import DEFAULT_QUEUE
from taskmeter.model.task import DEFAULT_GRACE_SECONDS, Attach, External, TaskSpec
from taskmeter.rpc.convert.checks import Checks
from taskmeter.rpc.convert.limits import check_limits
from taskmeter.rpc.convert.resources import check_resources, fill_resources, resources_from_message
from taskmeter.rpc.convert.retry import check_retry, fill_retry, retry_policy
from taskmeter.rpc.convert.sealed import join, split
from taskmeter.v1 import task_pb2

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
"""What most specs have of environment, tags and metadata: one value for all of them."""

MAX_SPEC_BYTES = 512 * 1024
MAX_STDIN_BYTES = 1024 * 1024
MAX_ARGUMENT_BYTES = 128 * 1024
"""MAX_ARG_STRLEN of Linux (include/uapi/linux/binfmts.h): one string of argv or env, NUL included."""

_NOT_BUILT = (
    "python",
    "pipeline",
    "wait_for_inputs",
)
"""Fields of the contract that this version refuses rather than ignores."""

_NOT_OF_EXTERNAL = (
    "env",
    "working_directory",
    "stdin_data",
    "umask",
    "merge_stderr",
    "shared_work_directory",
    "retry",
    "requeue_on_interrupt",
    "rlimits",
    "nice",
    "user",
)
"""Fields that say how to start a process here, or to start it again."""

_NOT_OF_ATTACH = (
    "env",
    "working_directory",
    "stdin_data",
    "umask",
    "merge_stderr",
    "shared_work_directory",
    "announces_ready",
    "timeout_seconds",
    "retry",
    "requeue_on_interrupt",
    "idle_ttl_seconds",
    "resources",
    "rlimits",
    "nice",
    "user",
)
"""Fields that say how to start a process, or end it unasked: one that runs already is neither started nor ended by us."""

MAX_AFTER = 256

MAX_PID = 2**22
"""PID_MAX_LIMIT of 64-bit Linux (include/linux/threads.h)."""


def spec_from_message(message: task_pb2.TaskSpec) -> TaskSpec:
    """Check and convert. Raises `InvalidArgumentError` naming each bad field, `NotBuiltError` for what is not served yet."""
    set_fields = {descriptor.name for descriptor, _ in message.ListFields()}
    for name in _NOT_BUILT:
        if name in set_fields:
            raise NotBuiltError(f"spec.{name} is not built yet", metadata={"field": f"spec.{name}"})
    checks = Checks()
    # stdin_data has its own bound: it becomes a file, not part of the arguments.
    if message.ByteSize() - len(message.stdin_data) > MAX_SPEC_BYTES:
        checks.add("spec", f"is larger than {MAX_SPEC_BYTES} bytes")
        checks.done()
    if len(message.stdin_data) > MAX_STDIN_BYTES:
        checks.add("spec.stdin_data", f"is larger than {MAX_STDIN_BYTES} bytes; use a file")
    argv = message.command.argv
    if message.HasField("attach"):
        _check_attach(checks, message, set_fields)
    elif message.HasField("external"):
        _check_external(checks, message, set_fields)
    elif not argv or not argv[0]:
        checks.add("spec.command.argv", "must name a command")
    for index, argument in enumerate(argv):
        checks.text(f"spec.command.argv[{index}]", argument, most_bytes=MAX_ARGUMENT_BYTES - 1)
    for name in ("name", "project_id", "source", "tariff", "user"):
        checks.text(f"spec.{name}", getattr(message, name))
    checks.text("spec.queue", message.queue)
    checks.instant("spec.start_after_time", message.start_after_time)
    check_resources(checks, message.resources)
    if len(message.after) > MAX_AFTER:
        checks.add("spec.after", f"names {len(message.after)} tasks; at most {MAX_AFTER} are waited for")
    checks.environment("spec.env", message.env)
    for name, value in message.env.items():
        if len(name.encode()) + len(value.encode()) + 2 > MAX_ARGUMENT_BYTES:
            checks.add(f"spec.env[{name[:40]!r}]", f"is longer than {MAX_ARGUMENT_BYTES} bytes")
    checks.text("spec.working_directory", message.working_directory, most_bytes=4095)
    if message.working_directory and not os.path.isabs(message.working_directory):
        checks.add("spec.working_directory", "must be an absolute path")
    checks.string_map("spec.tags", message.tags)
    checks.string_map("spec.metadata", message.metadata)
    checks.seconds("spec.timeout_seconds", message.timeout_seconds)
    check_limits(checks, message)
    checks.seconds("spec.grace_period_seconds", message.grace_period_seconds)
    check_retry(checks, message.retry)
    checks.count("spec.total_count", message.total_count)
    checks.count("spec.total_size", message.total_size)
    if message.HasField("umask") and not 0 <= message.umask <= 0o777:
        checks.add("spec.umask", "must be from 0 to 0o777")
    checks.done()
    return _convert(message)


def _check_attach(checks: Checks, message: task_pb2.TaskSpec, set_fields: set[str]) -> None:
    if not 0 < message.attach.pid <= MAX_PID:
        checks.add("spec.attach.pid", f"must be from 1 to {MAX_PID}")
    for name in _NOT_OF_ATTACH:
        if name in set_fields:
            checks.add(f"spec.{name}", "cannot be set for a process that runs already")


def _check_external(checks: Checks, message: task_pb2.TaskSpec, set_fields: set[str]) -> None:
    checks.text("spec.external.kind", message.external.kind)
    for name in _NOT_OF_EXTERNAL:
        if name in set_fields:
            checks.add(f"spec.{name}", "cannot be set for work that runs elsewhere")
    if message.resources.enforce:
        checks.add("spec.resources.enforce", "cannot be done to work that runs elsewhere")


def _convert(message: task_pb2.TaskSpec) -> TaskSpec:
    attach = message.attach
    return TaskSpec(
        argv=tuple(message.command.argv),
        name=message.name,
        project_id=sys.intern(message.project_id),
        source=sys.intern(message.source),
        env=dict(message.env) if message.env else NOTHING,
        working_directory=message.working_directory,
        stdin_data=message.stdin_data,
        tags=dict(message.tags) if message.tags else NOTHING,
        metadata=dict(message.metadata) if message.metadata else NOTHING,
        timeout_seconds=message.timeout_seconds,
        grace_period_seconds=message.grace_period_seconds if message.HasField("grace_period_seconds") else DEFAULT_GRACE_SECONDS,
        queue=sys.intern(message.queue or DEFAULT_QUEUE),
        priority=message.priority,
        start_after_time=message.start_after_time,
        after=tuple(dict.fromkeys(message.after)),
        resources=resources_from_message(message),
        tariff=message.tariff,
        total_count=message.total_count,
        total_size=message.total_size,
        announces_ready=message.announces_ready,
        shared_work_directory=message.shared_work_directory,
        retry=retry_policy(message.retry),
        requeue_on_interrupt=message.requeue_on_interrupt,
        umask=message.umask if message.HasField("umask") else None,
        merge_stderr=message.merge_stderr,
        attach=Attach(attach.pid, attach.include_descendants) if message.HasField("attach") else None,
        external=External(message.external.kind) if message.HasField("external") else None,
        idle_ttl_seconds=message.idle_ttl_seconds,
        rlimits=dict(message.rlimits) if message.rlimits else NO_LIMITS,
        nice=message.nice if message.HasField("nice") else None,
        user=sys.intern(message.user),
    )


def decode_spec(data: bytes) -> TaskSpec:
    """Read back what `encode_spec` wrote; it was checked when it was accepted. Raises `ValueError` if it is something else."""
    public, sealed = split(data)
    try:
        spec = _convert(task_pb2.TaskSpec.FromString(public))
    except DecodeError as error:
        raise ValueError("not an encoded spec") from error
    return replace(spec, sealed=sealed) if sealed else spec


def encode_spec(spec: TaskSpec) -> bytes:
    """Deterministic serialization of the decoded spec; equal specs give equal bytes."""
    message = task_pb2.TaskSpec(
        name=spec.name,
        project_id=spec.project_id,
        source=spec.source,
        env=spec.env,
        working_directory=spec.working_directory,
        stdin_data=spec.stdin_data,
        tags=spec.tags,
        metadata=spec.metadata,
        timeout_seconds=spec.timeout_seconds,
        grace_period_seconds=spec.grace_period_seconds,
        queue=spec.queue,
        priority=spec.priority,
        start_after_time=spec.start_after_time,
        after=spec.after,
        tariff=spec.tariff,
        total_count=spec.total_count,
        total_size=spec.total_size,
        announces_ready=spec.announces_ready,
        shared_work_directory=spec.shared_work_directory,
        merge_stderr=spec.merge_stderr,
        idle_ttl_seconds=spec.idle_ttl_seconds,
        rlimits=spec.rlimits,
        nice=spec.nice,
        user=spec.user,
    )
    if spec.retry is not None:
        fill_retry(message.retry, spec.retry)
    message.requeue_on_interrupt = spec.requeue_on_interrupt
    if spec.umask is not None:
        message.umask = spec.umask
    if spec.attach is not None:
        message.attach.pid = spec.attach.pid
        message.attach.include_descendants = spec.attach.include_descendants
    elif spec.external is not None:
        message.external.kind = spec.external.kind
        message.external.SetInParent()
    else:
        message.command.argv.extend(spec.argv)
    fill_resources(message, spec.resources)
    encoded = message.SerializeToString(deterministic=True)
    return join(encoded, spec.sealed) if spec.sealed else encoded
