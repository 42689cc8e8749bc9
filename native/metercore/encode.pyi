"""The changing fields of TaskStatus as protobuf bytes, straight from a view (numbers: protos/taskmeter/v1)."""

def encode_hot(
    values: dict[str, float],
    *,
    status: str = "",
    current_object: str = "",
    memory_byte_ns2: int = 0,
    earlier_cpu_ns: int = 0,
    earlier_memory_byte_ns2: int = 0,
    tariff: str = "",
    per_core_hour: float = 0.0,
    per_gib_hour: float = 0.0,
) -> bytes:
    """Encode the hot fields from the given values, named as in `Reading`; what is missing is 0, or absent if it may be.

    This is the oracle's way in: the sampler encodes its slots without Python. Texts are at most 500 bytes of UTF-8.
    """
