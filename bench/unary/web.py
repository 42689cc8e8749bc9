"""The same status as JSON: FastAPI on uvicorn with uvloop and httptools, a model that is validated and encoded per call.

`web.py KEY SOCKET CERTIFICATE PRIVATE_KEY` serves the unix socket, a TCP port in plain text and one with TLS; prints
"ready PLAIN_PORT TLS_PORT".
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
import uvloop
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from bench.baseline import PATH, TOKEN, OneKey, Task
from taskmeter.core.keyring import Keyring
from taskmeter.errors import TaskmeterError
from taskmeter.rpc.auth import Authenticator
from tests.waiting import wait_until_async


class Status(BaseModel):
    """What a client gets."""

    token: str
    name: str
    project_id: str
    source: str
    state: int
    create_time: float
    start_time: float
    total_count: int
    completed_count: int
    failed_count: int
    total_size: int
    completed_size: int
    failed_size: int
    rate_count: int
    rate_size: int
    rate_count_per_second: float
    rate_size_per_second: float
    eta_seconds: float
    eta_low_seconds: float
    eta_high_seconds: float
    status: str
    current_object: str
    metrics: dict[str, float | int]
    tokens: dict[str, float | int | str]
    tags: dict[str, str]
    metadata: dict[str, str]
    node: str
    pid: int
    timings: dict[str, float]
    seq: int
    work_summary: str


def model(task: Task) -> Status:
    """Fill it as `bench.baseline.message` fills the message."""
    return Status(
        token=task.token,
        name=task.name,
        project_id=task.project_id,
        source=task.source,
        state=task.state,
        create_time=task.times[0],
        start_time=task.times[1],
        total_count=task.counts[0],
        completed_count=task.counts[1],
        failed_count=task.counts[2],
        total_size=task.sizes[0],
        completed_size=task.sizes[1],
        failed_size=task.sizes[2],
        rate_count=round(task.rates[0]),
        rate_size=round(task.rates[1]),
        rate_count_per_second=task.rates[0],
        rate_size_per_second=task.rates[1],
        eta_seconds=task.eta[0],
        eta_low_seconds=task.eta[1],
        eta_high_seconds=task.eta[2],
        status=task.status,
        current_object=task.current_object,
        metrics=task.metrics,
        tokens=task.tokens,
        tags=task.tags,
        metadata=task.metadata,
        node="local",
        pid=4711,
        timings={"queue_seconds": 0.001, "start_seconds": 0.009, "run_seconds": 20.0},
        seq=1234,
        work_summary="python solve.py --case wing",
    )


def application(key: str) -> FastAPI:
    """One route behind the key."""
    authenticator = Authenticator(Keyring(OneKey(key)))
    tasks = {TOKEN: Task()}
    app = FastAPI()

    async def permitted(request: Request) -> None:
        try:
            caller = authenticator.holder([("authorization", request.headers.get("authorization", ""))])
            authenticator.permit(PATH, caller)
        except TaskmeterError as error:
            raise HTTPException(401) from error

    @app.get("/tasks/{token}", dependencies=[Depends(permitted)])
    async def get_task_status(token: str) -> Status:
        return model(tasks[token])

    return app


async def main(key: str, path: str, certificate: str, private_key: str) -> None:
    app = application(key)
    plain, secure = (socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2))
    common: dict[str, Any] = {"log_level": "error", "access_log": False, "http": "httptools", "lifespan": "off"}
    servers = [
        (uvicorn.Server(uvicorn.Config(app, uds=path, **common)), None),
        (uvicorn.Server(uvicorn.Config(app, **common)), [plain]),
        (uvicorn.Server(uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=private_key, **common)), [secure]),
    ]
    serving = [asyncio.ensure_future(server.serve(sockets=sockets)) for server, sockets in servers]
    await wait_until_async(lambda: all(server.started for server, _ in servers), "uvicorn serves")
    print("ready", plain.getsockname()[1], secure.getsockname()[1], flush=True)
    await asyncio.gather(*serving)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
