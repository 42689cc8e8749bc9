"""The changing fields of TaskStatus as protobuf bytes, straight from a view (numbers: protos/taskmeter/v1)."""

from typing import Any

from metercore.tariff import Tariff

def encode_hot(
    values: dict[str, Any],
    tariff: Tariff,
    *,
    status: str = "",
    current_object: str = "",
    gpus: tuple[tuple[int, str, str, int | None, float | None], ...] = (),
    earlier: dict[str, Any] | None = None,
) -> bytes:
    """Encode the hot fields from the given values, named as in `Reading`; what is missing is 0, or absent if it may be.

    This is the oracle's way in: the sampler encodes its slots without Python. Texts are at most 500 bytes of UTF-8. `gpus` holds
    (index, uuid, name, memory_bytes, percent); `earlier` the integrals of earlier attempts.
    """
