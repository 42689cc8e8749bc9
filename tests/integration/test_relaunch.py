"""G3, G5: an attempt that has not been launched yet is not taken for one whose supervisor died, as the one before it had one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from taskmeter.core.ports import Launch
from taskmeter.core.recovery import recover
from taskmeter.core.scheduler import Scheduler
from taskmeter.core.service import Service
from taskmeter.core.start_task import start_task
from taskmeter.core.terminate import terminate
from taskmeter.errors import UnavailableError
from taskmeter.executors.local import LocalExecutor
from taskmeter.metering.meter import LocalMeter
from taskmeter.model.retry import RetryPolicy
from taskmeter.model.state import Outcome, State
from taskmeter.model.task import DEFAULT_TENANT, TaskSpec
from taskmeter.rpc.convert import ProtoCodec
from taskmeter.stores.sqlite import SqliteStore
from tests.waiting import wait_until_async

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Scarce(LocalExecutor):
    """Has no descriptor left when the second attempt is to be launched for the first time."""

    refused = False

    async def launch(self, launch: Launch) -> None:
        if launch.attempt == 1 and not self.refused:
            self.refused = True
            raise UnavailableError("no descriptors are left to start a task with", reason="STORE_UNAVAILABLE")
        await super().launch(launch)


async def test_a_stop_before_the_second_attempt_is_launched_is_a_stop_and_no_failure(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t.db", ProtoCodec(), ballast_bytes=0)
    executor = Scarce(tmp_path, store_id=f"test-{store.store_id}")
    await executor.start()
    meter, scheduler = LocalMeter(gpu="off"), Scheduler(10, 10)
    service = Service(store=store, executor=executor, meter=meter, codec=ProtoCodec(), scheduler=scheduler, boot_id=BOOT_ID)
    try:
        await recover(service)
        token, _ = await start_task(service, TaskSpec(argv=("false",), retry=RetryPolicy(max_retries=5)), DEFAULT_TENANT)
        entry = service.live[token]
        await wait_until_async(lambda: executor.refused, "its second attempt could not be launched")
        assert (entry.task.attempt, entry.task.state) == (1, State.STARTING)
        assert not await terminate(service, token, DEFAULT_TENANT)
        await wait_until_async(lambda: entry.task.ended, "it has ended")
        assert (entry.task.attempt, entry.task.outcome) == (1, Outcome.CANCELLED), entry.task.exit_message
    finally:
        await asyncio.sleep(0)
        await service.settle_background(5.0)
        meter.close()
        await executor.close()
        await store.close()
