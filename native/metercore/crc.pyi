"""CRC-32 as in IEEE 802.3 and zlib: reflected polynomial 0xEDB88320, start and end inverted."""

from _typeshed import ReadableBuffer

def crc32(data: ReadableBuffer) -> int:
    """Return the CRC-32 of a contiguous buffer."""
