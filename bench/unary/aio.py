"""GetTaskStatus with grpc.aio: `aio.py asyncio|uvloop ready|built KEY SOCKET CERTIFICATE PRIVATE_KEY`.

Serves the unix socket, a TCP port in plain text and one with TLS; prints "ready PLAIN_PORT TLS_PORT". `built`: the message is
made of an object's values at every call, as bench/baseline.py does; `ready`: bytes that were made once, and no message is parsed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.baseline import PATH, TOKEN, OneKey, Task, message
from taskmeter.core.keyring import Keyring
from taskmeter.rpc.auth import Authenticator
from taskmeter.v1 import task_service_pb2

Request = task_service_pb2.GetTaskStatusRequest
Response = task_service_pb2.GetTaskStatusResponse


def built(authenticator: Authenticator) -> Any:
    """The handler that one writes first."""
    tasks = {TOKEN: Task()}

    async def get_task_status(request: Request, context: Any) -> Response:
        authenticator.permit(PATH, authenticator.holder(context.invocation_metadata()))
        return Response(status=message(tasks[request.token]))

    return grpc.unary_unary_rpc_method_handler(
        get_task_status, request_deserializer=Request.FromString, response_serializer=Response.SerializeToString
    )


def ready(authenticator: Authenticator) -> Any:
    """The least that a handler can do and still ask who calls."""
    answers = {Request(token=TOKEN).SerializeToString(): Response(status=message(Task())).SerializeToString()}

    async def get_task_status(request: bytes, context: Any) -> bytes:
        authenticator.permit(PATH, authenticator.holder(context.invocation_metadata()))
        return answers[request]

    return grpc.unary_unary_rpc_method_handler(get_task_status)


async def serve(kind: str, key: str, socket: str, pair: tuple[bytes, bytes]) -> None:
    authenticator = Authenticator(Keyring(OneKey(key)))
    handler = {"built": built, "ready": ready}[kind](authenticator)
    server = grpc.aio.server(options=(("grpc.max_concurrent_streams", 10_000),))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("taskmeter.v1.TaskService", {"GetTaskStatus": handler}),)
    )
    server.add_insecure_port(f"unix:{socket}")
    plain = server.add_insecure_port("127.0.0.1:0")
    credentials = grpc.ssl_server_credentials([pair])
    tls = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print("ready", plain, tls, flush=True)
    await server.wait_for_termination()


def main(loop: str, kind: str, key: str, socket: str, certificate: str, private_key: str) -> None:
    pair = Path(private_key).read_bytes(), Path(certificate).read_bytes()
    serving: Coroutine[Any, Any, None] = serve(kind, key, socket, pair)
    (uvloop.run if loop == "uvloop" else asyncio.run)(serving)


if __name__ == "__main__":
    main(*sys.argv[1:])
