"""What a task was given in arguments, environment and input: sealed before it is stored, opened only to run it."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from taskmeter.core.service import Service
from taskmeter.errors import PreconditionError
from taskmeter.model.task import Task, TaskSpec


def seal(service: Service, spec: TaskSpec, token: str, tenant: str) -> TaskSpec:
    """Return the spec as it is kept; the same one where there are no keys, or nothing to hide."""
    if service.sealer is None or spec.sealed or not (spec.argv or spec.env or spec.stdin_data):
        return spec
    sealed = service.sealer.seal(service.codec.encode_secrets(spec), token, tenant)
    return replace(spec, argv=(), env={}, stdin_data=b"", sealed=sealed)


def unseal(service: Service, task: Task) -> TaskSpec:
    """Return the spec with all that the task was given. Raises `PreconditionError` UNSUPPORTED_HERE without its key."""
    spec = task.spec
    if not spec.sealed:
        return spec
    if service.sealer is None:
        raise PreconditionError(
            f"what task {task.token} was given is encrypted, and this daemon has no keys",
            reason="UNSUPPORTED_HERE",
            hint="start the daemon with its encryption_key_file; the task stays as it is",
        )
    secret = service.sealer.open(spec.sealed, task.token, task.tenant)
    return replace(service.codec.with_secrets(spec, secret), sealed=b"")


def spec_hash(service: Service, encoded: bytes) -> bytes:
    """Hash an encoded spec as a new task keeps it; keyed if there are keys."""
    return service.sealer.hashes(encoded)[0] if service.sealer else hashlib.sha256(encoded).digest()


def is_hash_of(service: Service, found: bytes, encoded: bytes) -> bool:
    """Tell whether `found` is the hash of this spec, by any key or, from before there were keys, by none."""
    return found == hashlib.sha256(encoded).digest() or (service.sealer is not None and found in service.sealer.hashes(encoded))
