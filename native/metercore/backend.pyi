"""Which source of process figures is used: chosen by self-test, chosen anew when one fails, or forced."""

from collections.abc import Iterator
from typing import Final, NamedTuple

NAMES: Final[dict[int, str]]
"""By number in MetricsSource of the contract."""

class Backend(NamedTuple):
    """Whether a source of process figures can be used here."""

    name: str
    works: bool
    reason: str
    """Why it does not work, or what it does."""

def source_of(name: str) -> int:
    """Return the number in MetricsSource of a back end's name; 0 for "auto". Raises ValueError."""

def name_of(source: int) -> str:
    """Return the name of a back end by its number in MetricsSource. Raises KeyError."""

def examine() -> Iterator[Backend]:
    """Test each source by our own process, best first; opens nothing that stays."""
