"""A program that uses a real GPU through the driver alone: run it as a child, with no CUDA toolkit needed.

It reads one command per line and answers each with a line: `allocate BYTES`, `free`, `spin SECONDS` (keeps the GPU busy for
that long, on one thread of one multiprocessor), and ends with its input.
"""

from __future__ import annotations

import ctypes
import sys
from time import monotonic

SPIN_NS = 20_000_000
"""How long one kernel runs: far less than what a watchdog allows, far more than a launch costs."""

SPIN_PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 duration)
{
    .reg .u64 %wanted, %begin, %now;
    .reg .pred %again;
    ld.param.u64 %wanted, [duration];
    mov.u64 %begin, %globaltimer;
more:
    mov.u64 %now, %globaltimer;
    sub.u64 %now, %now, %begin;
    setp.lt.u64 %again, %now, %wanted;
    @%again bra more;
    ret;
}
\0"""


class Cuda:
    """A context on the first GPU."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
        self.address = ctypes.c_uint64()

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the driver; raise OSError with its code."""
        code = getattr(self.library, name)(*arguments)
        if code:
            raise OSError(f"{name}: CUDA error {code}")

    def allocate(self, size_bytes: int) -> None:
        self.call("cuMemAlloc_v2", ctypes.byref(self.address), ctypes.c_size_t(size_bytes))

    def free(self) -> None:
        self.call("cuMemFree_v2", self.address)

    def spin(self, seconds: float) -> None:
        module, function, wanted = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64(SPIN_NS)
        arguments = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(wanted), ctypes.c_void_p))
        self.call("cuModuleLoadData", ctypes.byref(module), SPIN_PTX)
        self.call("cuModuleGetFunction", ctypes.byref(function), module, b"spin")
        end = monotonic() + seconds
        while monotonic() < end:
            self.call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
            self.call("cuCtxSynchronize")


def main() -> None:
    """Obey standard input."""
    cuda = Cuda()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *argument = line.split()
        if command == "allocate":
            cuda.allocate(int(argument[0]))
        elif command == "free":
            cuda.free()
        else:
            print("spinning", flush=True)
            cuda.spin(float(argument[0]))
        print("done", flush=True)


if __name__ == "__main__":
    main()
