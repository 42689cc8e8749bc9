"""Metering of attempts on this host: the core's port `Meter` on the native sampler."""

from taskmeter.metering.meter import LocalMeter

__all__ = ["LocalMeter"]
