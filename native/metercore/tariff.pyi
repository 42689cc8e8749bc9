"""What the integrals cost: named, versioned prices in tokens. A change of prices never changes the integrals."""

from collections.abc import Mapping
from typing import NamedTuple

from metercore.tokens import Tokens

class Price(NamedTuple):
    """Tokens by what they are for; total is the sum of the parts as they are, from left to right."""

    cpu: float
    memory: float
    gpu_memory: float
    gpu_time: float
    custom: dict[str, float]
    total: float

class Tariff:
    """Say what a core-hour, a GiB-hour, a GPU-second and a unit of the work's own cost, in tokens.

    tokens = integral × price ÷ unit, computed in double from the exact integrals, rounding each part by less than 1 in 1e15
    and before no sum. The defaults are 1020 per core-hour, 100 per GiB-hour, 2140 per GiB-hour of GPU memory; 100 tokens
    are 1.00 of a currency. Immutable; equal by value. Raises ValueError, with the field's name, for a price that is negative or
    not finite, a name or version that is empty, a label NAME-VERSION of more than 128 bytes, more than 16 custom prices, and
    a custom name of more than 23 bytes.

    >>> tariff = Tariff("gold", 2, per_core_hour=3600.0, custom={"pages": 0.5})
    >>> tariff.label
    'gold-2'
    >>> from metercore.tokens import Tokens
    >>> price = tariff.price(Tokens(cpu_ns=2 * 10**9, counts={"pages": 3, "unpriced": 9}))
    >>> price.cpu, price.custom, price.total
    (2.0, {'pages': 1.5}, 3.5)
    """

    def __init__(
        self,
        name: str,
        version: int | str,
        *,
        per_core_hour: float = 1020.0,
        per_gib_hour: float = 100.0,
        per_gpu_gib_hour: float = 2140.0,
        per_gpu_second: float = 0.0,
        custom: Mapping[str, float] | None = None,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def label(self) -> str:
        """NAME-VERSION, as statuses and bills show it."""
    @property
    def per_core_hour(self) -> float:
        """Tokens per hour of one CPU core."""
    @property
    def per_gib_hour(self) -> float:
        """Tokens per hour of 2**30 bytes of memory."""
    @property
    def per_gpu_gib_hour(self) -> float:
        """Tokens per hour of 2**30 bytes of GPU memory."""
    @property
    def per_gpu_second(self) -> float:
        """Tokens per second of one GPU in use."""
    @property
    def custom(self) -> dict[str, float]:
        """Tokens per unit of the counters that have a price, a copy."""
    def price(self, tokens: Tokens) -> Price:
        """Return what `tokens` has added up costs, part by part; counters without a price cost nothing."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
