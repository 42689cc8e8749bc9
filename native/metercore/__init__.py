"""Metering of process trees in native code: a sampler thread, counters shared with the work, and exact numerics.

    import metercore
    with metercore.ProcessMeter(pid) as meter:
        for reading in meter.watch(interval_seconds=1.0):
            print(reading.cpu_percent, reading.memory_bytes, reading.process_count)

Knows nothing of tasks' states, stores or wires beyond the encoded status fields, and never imports `taskmeter`. Names load when
they are first used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from metercore.backend import Backend
    from metercore.bpf import BpfTable
    from metercore.counter import Counter
    from metercore.epochs import WindowPeak
    from metercore.eta import Eta
    from metercore.gpu import GpuMonitor
    from metercore.itemlog import ItemLog
    from metercore.itemread import ItemLogReader
    from metercore.limit import CpuLimit
    from metercore.peak import Peak
    from metercore.processmeter import ProcessMeter
    from metercore.rate import Rate
    from metercore.reading import Reading
    from metercore.report import ReportBlock
    from metercore.sampler import Sampler
    from metercore.systemmeter import SystemMeter, SystemReading
    from metercore.tariff import Price, Tariff
    from metercore.tokens import Tokens
    from metercore.window import RateWindow

__all__ = [
    "Backend",
    "BpfTable",
    "Counter",
    "CpuLimit",
    "Eta",
    "GpuMonitor",
    "ItemLog",
    "ItemLogReader",
    "Peak",
    "Price",
    "ProcessMeter",
    "Rate",
    "RateWindow",
    "Reading",
    "ReportBlock",
    "Sampler",
    "SystemMeter",
    "SystemReading",
    "Tariff",
    "Tokens",
    "WindowPeak",
]

_HOME = {
    "Backend": "backend",
    "BpfTable": "bpf",
    "Counter": "counter",
    "CpuLimit": "limit",
    "Eta": "eta",
    "GpuMonitor": "gpu",
    "ItemLog": "itemlog",
    "ItemLogReader": "itemread",
    "Peak": "peak",
    "Price": "tariff",
    "ProcessMeter": "processmeter",
    "Rate": "rate",
    "RateWindow": "window",
    "Reading": "reading",
    "ReportBlock": "report",
    "Sampler": "sampler",
    "SystemMeter": "systemmeter",
    "SystemReading": "systemmeter",
    "Tariff": "tariff",
    "Tokens": "tokens",
    "WindowPeak": "epochs",
}


if not TYPE_CHECKING:  # else any name would pass

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
