"""Meter a process tree from any program: `metercore` alone, without the daemon and without gRPC.

    python examples/meter_tree.py [PID]

Without a PID it meters a shell that it starts itself. The five lines are those of `watch`.
"""

from __future__ import annotations

import subprocess
import sys

import metercore

WORK = "for n in 1 2 3; do (head -c 300M /dev/zero | sha256sum) & done; wait"


def watch(pid: int) -> metercore.Reading:
    with metercore.ProcessMeter(pid) as meter:  # CPU counts from here on
        for reading in meter.watch(interval_seconds=0.25):  # until the process ends
            mib = reading.memory_bytes / 2**20  # of the whole tree; pages that are shared count once
            print(f"{reading.cpu_cores:5.2f} cores  {mib:7.1f} MiB  {reading.process_count:3} processes")
        return meter.close()  # what is known in the end


def main() -> None:
    if len(sys.argv) > 1:
        final = watch(int(sys.argv[1]))
    else:
        with subprocess.Popen(["/bin/sh", "-c", WORK], stdout=subprocess.DEVNULL) as shell:
            final = watch(shell.pid)
    tokens = metercore.Tokens(cpu_ns=final.cpu_ns, memory_byte_ns2=final.memory_byte_ns2)
    price = metercore.Tariff("example", 1).price(tokens)
    print(f"{final.cpu_ns / 1e9:.2f} s of CPU, at most {final.peak_memory_bytes / 2**20:.1f} MiB: {price.total:.4f} tokens")
    machine = metercore.SystemMeter().sample()
    print(f"load {machine.load_1_minute}, {machine.process_count} processes on {machine.online_count} processors")


if __name__ == "__main__":
    main()
