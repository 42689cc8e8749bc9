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
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from msgspec import Struct
from msgspec.structs import replace

from metercore.descriptors import set_limit
from taskmeter import __version__
from taskmeter.core.drain import drain, drained
from taskmeter.core.keyring import Keyring
from taskmeter.core.rates import Rates
from taskmeter.core.recovery import open_meters, recover
from taskmeter.core.reseal import reseal
from taskmeter.core.retention import keep_retention
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.schedules import Schedules
from taskmeter.core.service import Service
from taskmeter.errors import TaskmeterError, UnavailableError
from taskmeter.executors.accounts import load_accounts
from taskmeter.executors.capacity import HostCapacity
from taskmeter.executors.cgroups import Cgroups
from taskmeter.executors.local import LocalExecutor
from taskmeter.host import goes_down_with_us
from taskmeter.logs import configure_logging
from taskmeter.lost_store import Loss, lose, may_start_again, open_store, rebuild_store, start_again
from taskmeter.metering.meter import LocalMeter
from taskmeter.model.key import Rate
from taskmeter.model.task import LOCAL_NODE
from taskmeter.model.usage import Tariff
from taskmeter.rpc.admin_service import AdminServicer, ServerFacts
from taskmeter.rpc.auth import Authenticator
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.rpc.file_service import FileServicer
from taskmeter.rpc.gate import Gate
from taskmeter.rpc.item_service import ItemServicer
from taskmeter.rpc.methods import Activity, Router
from taskmeter.rpc.open_calls import OpenCalls
from taskmeter.rpc.queue_service import QueueServicer
from taskmeter.rpc.schedule_service import ScheduleServicer
from taskmeter.rpc.server import RpcServer
from taskmeter.rpc.socket_path import socket_path
from taskmeter.rpc.stream_events import EventStreams
from taskmeter.rpc.task_service import TaskServicer
from taskmeter.sealing import load_sealer
from taskmeter.settings import Settings, plain_text_on_the_network, reload_tariffs
from taskmeter.stores.audit_file import AuditFile
from taskmeter.stores.damage import Damage
from taskmeter.stores.keyfile import KeyFile
from taskmeter.stores.queuefile import queues_json
from taskmeter.stores.schedulefile import schedules_json
from taskmeter.stores.sqlite import SqliteStore

EXIT_REFUSED = 4
"""Another daemon holds the state directory, or the store cannot be used."""

SWITCH_INTERVAL_SECONDS = 0.0005
"""The store's writer thread gets the GIL back ten times sooner than by default, so that a busy loop cannot delay commits."""

AUTO_EXIT_CHECK_SECONDS = 5.0

GC_THRESHOLD = 10_000
"""New containers per young collection (default 700): a call makes dozens, and nearly all of them die by reference count."""

GPU_START_SECONDS = 5.0
"""How long a starting daemon waits for a driver of GPUs to answer; tasks that ask for GPUs wait longer."""

SIGNAL_SECONDS = 0.01
"""Within that the loop has handled a signal that was there before."""

OPEN_FILES_PER_TASK = 10
"""One says when its shim ends; up to four are kept for metering, which takes half of all."""
OPEN_FILES_RESERVE = 512

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


def _raise_open_files(max_running: int) -> tuple[int, int]:
    """Use as many descriptors as the hard limit allows, for metering; return the limits as they were, which tasks get.

    With the privilege for it, the hard limit is raised to what so many tasks need; else the meter keeps as many fewer files open.

    The soft limit is low for the sake of select(2), which programs that were not asked may still use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_running * OPEN_FILES_PER_TASK + OPEN_FILES_RESERVE
    for limit in (max(hard, needed) if hard != resource.RLIM_INFINITY else hard, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (OSError, ValueError) as error:  # no privilege; or above fs.nr_open, as RLIM_INFINITY may be
            log.debug("the limit of open files cannot be %d: %s", limit, error)
        else:
            break
    else:
        limit = soft
    for_tasks = max_running + OPEN_FILES_RESERVE
    if 0 <= limit < 2 * for_tasks:  # half of it, which the meter would take, is not enough for the tasks themselves
        set_limit(max(limit // 4, limit - for_tasks))
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


def _tls(settings: Settings) -> grpc.ServerCredentials | None:
    if not settings.tls_cert:
        return None
    from taskmeter.rpc.tls import Certificates, TlsFiles  # noqa: PLC0415  # ssl takes 15 ms that most daemons do not need

    client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
    return Certificates(TlsFiles(Path(settings.tls_cert), Path(settings.tls_key), client_ca)).credentials()


def _reload(settings: Settings, service: Service, keyring: Keyring) -> None:
    """Take up the keys, and the config file's tariffs for new tasks. A file that is not right changes nothing."""
    try:
        keyring.reload()
        log.info("%d keys besides the admin key", len(keyring.keys))
    except TaskmeterError as error:
        log.error("keys stay as they are: %s", error.message)
    try:
        before = replace(settings, tariffs={name: tariff for name, tariff in service.tariffs.items() if name})
        service.tariffs = _tariffs(reload_tariffs(before))
    except TaskmeterError as error:
        log.error("tariffs stay as they are: %s", error.message)
        return
    log.info("tariffs: %s", ", ".join(sorted({tariff.label for tariff in service.tariffs.values()})))


class _Parts(Struct):
    """What is built before anybody is served, in the order in which it is taken down, last first."""

    store: SqliteStore
    loss: Loss | None
    executor: LocalExecutor
    meter: LocalMeter
    service: Service
    keyring: Keyring
    schedules: Schedules


async def _build(settings: Settings) -> _Parts:
    state_dir = settings.state_dir
    accounts = load_accounts(settings.task_user, settings.task_users, state_dir)
    sealer = load_sealer(settings.encryption_key_file)
    key_file = KeyFile(state_dir)
    keyring = Keyring(key_file)
    codec = ProtoCodec()
    store, loss = open_store(state_dir, codec, settings.ballast_bytes, secure_delete=sealer is not None)
    open_files = _raise_open_files(settings.max_running)
    executor = LocalExecutor(state_dir, store_id=store.store_id, cgroup=settings.cgroup, accounts=accounts, open_files=open_files)
    await executor.start()
    meter = _meter(settings)
    scheduler = Scheduler(settings.max_running, settings.max_waiting, capacity=HostCapacity(meter.gpus))
    await asyncio.to_thread(meter.wait_for_gpus, GPU_START_SECONDS)
    service = Service(store=store, executor=executor, meter=meter, codec=codec, scheduler=scheduler, boot_id=_boot_id())
    service.report_key_secret = key_file.admin_key().encode()
    service.tariffs = _tariffs(settings)
    service.sealer = sealer
    service.queue_file = queues_json(state_dir)
    service.schedule_file = schedules_json(state_dir, codec)
    return _Parts(store, loss, executor, meter, service, keyring, Schedules(service, keyring))


def _rpc(settings: Settings, parts: _Parts, activity: Activity, audit: AuditFile | None, start_time: float) -> RpcServer:
    """Return the server, which listens but does not serve yet."""
    service, keyring, meter = parts.service, parts.keyring, parts.meter
    tls = _tls(settings)
    streams = EventStreams(service, settings.slow_consumer_seconds)
    facts = ServerFacts(
        version=__version__,
        node=LOCAL_NODE,
        start_time=start_time,
        state_directory=str(settings.state_dir),
        sample_rate_hz=settings.sample_rate_hz,
        cpu_source="cgroup" if parts.executor.cgroups.v2 or parts.executor.cgroups.v1_cpuacct else "",
        memory_source=_memory_source(parts.executor.cgroups),
        auto_started=settings.auto,
        retention=settings.retention.words,
    )
    server: RpcServer
    admin = AdminServicer(service, keyring, facts, lambda: server.targets, lambda: meter.backend)
    rate = Rate(settings.calls_per_second, settings.calls_burst) if settings.calls_per_second else None
    gate = Gate(
        Authenticator(keyring, Rates(rate), report_secret=service.report_key_secret, tenant_of=service.tenant_of),
        OpenCalls(keyring, settings.max_streams),
        audit,
        note_reads=settings.audit == "all",
    )
    server = RpcServer(
        Router(gate, activity),
        TaskServicer(service, streams),
        ItemServicer(service),
        FileServicer(service),
        QueueServicer(service),
        ScheduleServicer(parts.schedules),
        admin,
        streams,
    )
    server.listen_unix(socket_path(settings.state_dir))
    if settings.listen:
        if plain_text_on_the_network(settings):
            log.warning("listening on %s without TLS: whoever reads the traffic has the keys", settings.listen)
        server.listen_tcp(settings.listen, tls)
    service.environment = {"TASKMETER_TARGET": server.targets[0]}
    return server


async def _serve(settings: Settings) -> int:
    start_time = time.time()
    state_dir = settings.state_dir
    parts = await _build(settings)
    service = parts.service
    activity = Activity(time.monotonic)
    audit = None if settings.audit == "off" else AuditFile(state_dir, settings.audit_max_bytes)
    server = _rpc(settings, parts, activity, audit, start_time)

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping, told, number)
    loop.add_signal_handler(
        signal.SIGHUP, _reload, settings, service, parts.keyring
    )  # a terminal that closes does not end a daemon
    damage: list[Damage] = []
    parts.store.set_on_damage(partial(_on_damage, state_dir, damage, stopping))

    await _take_over(state_dir, service, parts.loss)
    parts.schedules.load()
    await server.start()
    gc.freeze()  # what was imported stays for ever: no collection needs to look at it
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()  # who started us may have put it off until here
    _announce(state_dir, server.targets, start_time)
    service.spawn(_after_start(service, parts.executor))
    keepers = (keep_retention(service, settings.retention), parts.schedules.keep(), service.ingest.keep())
    background = [loop.create_task(keeper) for keeper in keepers]
    if settings.auto:
        background.append(loop.create_task(_leave_when_idle(settings, parts, activity, stopping)))
    await stopping.wait()
    if not damage:  # else nothing can be stored, and a daemon that starts anew takes no work with it
        await _end_work_first(settings, service, stopping)

    for each in background:
        each.cancel()
    await server.stop()
    await service.settle_background(SETTLE_SECONDS)
    service.ingest.close()
    parts.meter.close()
    await parts.executor.close()
    await parts.store.close()
    if audit is not None:
        audit.close()
    if damage and not await _was_told(told):
        start_again(state_dir, damage[0])
    if damage:
        lose(state_dir, damage[0])  # for the next daemon, which builds it anew
    for left in (state_dir / "daemon.json", socket_path(state_dir)):
        try:
            left.unlink(missing_ok=True)
        except OSError as error:  # a disk that became read-only; clients find nobody at home either way
            log.warning("cannot remove %s: %s", left, error.strerror)
    return 0


def _stop(stopping: asyncio.Event, told: list[int], number: int) -> None:
    told.append(number)
    stopping.set()


async def _was_told(told: list[int]) -> bool:
    """Tell whether a signal has asked for the end so far. One that comes later ends the process at once, like a starting one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # not by the loop, which would forget what it has not handled yet
    await asyncio.sleep(SIGNAL_SECONDS)
    return bool(told)


async def _end_work_first(settings: Settings, service: Service, stopping: asyncio.Event) -> None:
    """Interrupt all tasks if the host goes down too; of a daemon that drains, store their ends. A second signal ends this."""
    drain_now = settings.drain_on_stop == "always"
    if settings.drain_on_stop == "auto" and not service.draining and service.live:
        drain_now = await asyncio.to_thread(goes_down_with_us)
    if drain_now and not service.draining:
        await drain(service, grace_seconds=None, reason="the host shuts down")
    if not service.draining:
        return
    count = len(service.scheduler.running)
    if count:
        log.info("draining: waiting for %d task%s to end; a second signal ends the daemon at once", count, "s"[: count > 1])
    stopping.clear()
    ended, told = asyncio.ensure_future(drained(service)), asyncio.ensure_future(stopping.wait())
    await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
    for task in ended.result() if ended.done() else ():
        pids = f", processes {' '.join(map(str, task.unkillable_pids))}" if task.unkillable_pids else ""
        log.error("drained but for task %s, which outlives its kill%s: the next daemon goes on with it", task.token, pids)
    for wait in (ended, told):
        wait.cancel()


async def _after_start(service: Service, executor: LocalExecutor) -> None:
    """What serving need not wait for."""
    await open_meters(service)
    executor.tidy()
    await reseal(service)


async def _take_over(state_dir: Path, service: Service, loss: Loss | None) -> None:
    """Go on with the tasks of the daemon before, whose store may be lost."""
    if loss is not None:
        await rebuild_store(state_dir, service, loss)
    await recover(service)


def _on_damage(state_dir: Path, damage: list[Damage], stopping: asyncio.Event, what: Damage) -> None:
    """Leave in order, to start again with a new database; unless that was tried just before."""
    if may_start_again(state_dir):
        damage.append(what)
        stopping.set()
    else:
        log.error("the database is damaged once more (%s): look at the disk, then restart the daemon; tasks run on", what.text)


def _announce(state_dir: Path, targets: list[str], start_time: float) -> None:
    """Write daemon.json in one step, then tell whoever started us."""
    facts = {"pid": os.getpid(), "version": __version__, "grpc": targets, "http": [], "start_time": start_time}
    staged = state_dir / "daemon.json.new"
    staged.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    os.replace(staged, state_dir / "daemon.json")
    try:
        os.write(1, f"ready {targets[0]}\n".encode())
    except BrokenPipeError:  # who started us has read the first one, and has gone
        pass


async def _leave_when_idle(settings: Settings, parts: _Parts, activity: Activity, stopping: asyncio.Event) -> None:
    """An auto-started daemon goes when it has had no live task, no schedule that goes on, and no call for long enough."""
    last_live = time.monotonic()
    while True:
        await asyncio.sleep(min(AUTO_EXIT_CHECK_SECONDS, settings.auto_exit_seconds / 4))
        now = time.monotonic()
        if parts.service.live or parts.schedules.any_active:
            last_live = now
        if min(activity.idle_seconds, now - last_live) >= settings.auto_exit_seconds:
            stopping.set()
            return
