"""The composition root: builds everything, serves, and takes it down in order. Tasks are not touched by any of it.

Start: lock the state directory → store → executor → meter → recovery → listeners → daemon.json → the `ready` line.
Stop: listeners → background work → meter (bills are on disk) → executor → store → daemon.json → lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskmeter import __version__
from taskmeter.core.recovery import recover
from taskmeter.core.retention import keep_retention
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.service import Service
from taskmeter.errors import TaskmeterError, UnavailableError
from taskmeter.executors.cgroups import Cgroups
from taskmeter.executors.local import LocalExecutor
from taskmeter.logs import configure_logging
from taskmeter.metering.meter import LocalMeter
from taskmeter.model.task import LOCAL_NODE
from taskmeter.model.usage import Tariff
from taskmeter.rpc.admin_service import AdminServicer, ServerFacts
from taskmeter.rpc.auth import Authenticator, ensure_admin_key
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.file_service import FileServicer
from taskmeter.rpc.methods import Activity, Router
from taskmeter.rpc.server import RpcServer
from taskmeter.rpc.socket_path import socket_path
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.rpc.task_service import TaskServicer
from taskmeter.settings import Settings, reload_tariffs
from taskmeter.stores.sqlite import SqliteStore

EXIT_REFUSED = 4
"""Another daemon holds the state directory, or the store cannot be used."""

SWITCH_INTERVAL_SECONDS = 0.0005
"""The store's writer thread gets the GIL back ten times sooner than by default, so that a busy loop cannot delay commits."""

AUTO_EXIT_CHECK_SECONDS = 5.0

GC_THRESHOLD = 10_000
"""New containers per young collection (default 700): a call makes dozens, and nearly all of them die by reference count."""

SETTLE_SECONDS = 5.0
"""How long a stopping daemon waits for launches and commits under way."""


log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Run a daemon until SIGTERM or SIGINT; return its exit code."""
    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    try:
        lock = _lock_state_dir(settings.state_dir)
        try:
            return _run(_serve(settings))
        finally:
            os.close(lock)
    except TaskmeterError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
        return EXIT_REFUSED


def _run(main: Any) -> int:
    try:
        import uvloop  # noqa: PLC0415  # optional: asyncio serves too, 1.3 times slower under grpc.aio
    except ImportError:
        return asyncio.run(main)  # type: ignore[no-any-return]
    return uvloop.run(main)  # type: ignore[no-any-return]


def _lock_state_dir(state_dir: Path) -> int:
    """Make the state directory and lock it for this process's life. Raises `UnavailableError` if another daemon has it."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        problem = f"cannot use the state directory {state_dir}: {error.strerror}"
        raise UnavailableError(problem, hint="choose another --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise UnavailableError(
            f"a daemon with pid {holder} already serves {state_dir}", hint="use it, or choose another --state-dir"
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _memory_source(cgroups: Cgroups) -> str:
    """Tell what new tasks' memory is made of: a memory cgroup of either version, else their processes' shares."""
    if cgroups.v1_memory or (cgroups.v2 and Path(cgroups.v2, "memory.stat").exists()):
        return "cgroup"
    return "pss"


def _raise_open_files() -> tuple[int, int]:
    """Use as many descriptors as the hard limit allows, for metering; return the limits as they were, which tasks get.

    The soft limit is low for the sake of select(2), which programs that were not asked may still use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # such as RLIM_INFINITY above fs.nr_open
        log.debug("the limit of open files stays at %d: %s", soft, error)
    return soft, hard


def _meter(settings: Settings) -> LocalMeter:
    try:
        return LocalMeter(
            hz=settings.sample_rate_hz,
            backend=settings.meter_backend,
            measure_uss=settings.measure_uss,
            gpu="off" if settings.gpu == "off" else "auto",
        )
    except OSError as error:
        raise UnavailableError(
            f"the meter cannot use {settings.meter_backend}: {error.strerror or error}",
            reason="UNSUPPORTED_HERE",
            hint="`taskmeter doctor` says what works here; --meter-backend auto chooses",
        ) from error


def _tariffs(settings: Settings) -> dict[str, Tariff]:
    return {**settings.tariffs, "": settings.tariffs[settings.tariff]}


def _reload(settings: Settings, service: Service) -> None:
    """Take up the config file's tariffs for tasks accepted from now on. A file that is not right changes nothing."""
    try:
        before = replace(settings, tariffs={name: tariff for name, tariff in service.tariffs.items() if name})
        service.tariffs = _tariffs(reload_tariffs(before))
    except TaskmeterError as error:
        log.error("tariffs stay as they are: %s", error.message)
        return
    log.info("tariffs: %s", ", ".join(sorted({tariff.label for tariff in service.tariffs.values()})))


async def _serve(settings: Settings) -> int:
    start_time = time.time()
    state_dir = settings.state_dir
    key = ensure_admin_key(state_dir / "admin.key")
    codec = ProtoCodec()
    store = SqliteStore(state_dir / "taskmeter.db", codec, settings.ballast_bytes)
    executor = LocalExecutor(state_dir, store_id=store.store_id, cgroup=settings.cgroup, open_files=_raise_open_files())
    await executor.start()
    meter = _meter(settings)
    scheduler = Scheduler(settings.max_running, settings.max_waiting)
    service = Service(store=store, executor=executor, meter=meter, codec=codec, scheduler=scheduler, boot_id=_boot_id())
    service.report_key_secret = key.encode()
    service.tariffs = _tariffs(settings)

    activity = Activity(time.monotonic)
    streams = EventStreams(service)
    facts = ServerFacts(
        version=__version__,
        node=LOCAL_NODE,
        start_time=start_time,
        state_directory=str(state_dir),
        sample_rate_hz=settings.sample_rate_hz,
        cpu_source="cgroup" if executor.cgroups.v2 or executor.cgroups.v1_cpuacct else "",
        memory_source=_memory_source(executor.cgroups),
        auto_started=settings.auto,
        retention=settings.retention.words,
    )
    server: RpcServer
    admin = AdminServicer(service, facts, lambda: server.targets, lambda: meter.backend)
    server = RpcServer(
        Router(Authenticator(key), activity), TaskServicer(service, streams), FileServicer(service), admin, streams
    )
    path = socket_path(state_dir)
    server.listen_unix(path)
    if settings.listen:
        server.listen_tcp(settings.listen)
    service.environment = {"TASKMETER_TARGET": server.targets[0]}

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, settings, service)  # a terminal that closes does not end a daemon

    await recover(service)
    await server.start()
    gc.freeze()  # what was imported stays for ever: no collection needs to look at it
    gc.set_threshold(GC_THRESHOLD)
    _announce(state_dir, server.targets, start_time)
    retention = loop.create_task(keep_retention(service, settings.retention))
    watcher = loop.create_task(_leave_when_idle(settings, service, activity, stopping)) if settings.auto else None
    await stopping.wait()

    if watcher is not None:
        watcher.cancel()
    retention.cancel()
    await server.stop()
    await service.settle_background(SETTLE_SECONDS)
    meter.close()
    await executor.close()
    await store.close()
    for left in (state_dir / "daemon.json", path):
        try:
            left.unlink(missing_ok=True)
        except OSError as error:  # a disk that became read-only; clients find nobody at home either way
            log.warning("cannot remove %s: %s", left, error.strerror)
    return 0


def _announce(state_dir: Path, targets: list[str], start_time: float) -> None:
    """Write daemon.json in one step, then tell whoever started us."""
    facts = {"pid": os.getpid(), "version": __version__, "grpc": targets, "http": [], "start_time": start_time}
    staged = state_dir / "daemon.json.new"
    staged.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    os.replace(staged, state_dir / "daemon.json")
    sys.stdout.write(f"ready {targets[0]}\n")
    sys.stdout.flush()


async def _leave_when_idle(settings: Settings, service: Service, activity: Activity, stopping: asyncio.Event) -> None:
    """An auto-started daemon goes when it has had no live task and no call for long enough."""
    last_live = time.monotonic()
    while True:
        await asyncio.sleep(min(AUTO_EXIT_CHECK_SECONDS, settings.auto_exit_seconds / 4))
        now = time.monotonic()
        if service.live:
            last_live = now
        if min(activity.idle_seconds, now - last_live) >= settings.auto_exit_seconds:
            stopping.set()
            return
