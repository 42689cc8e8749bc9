"""CRC-32 as in IEEE 802.3 and zlib: reflected polynomial 0xEDB88320, start and end inverted. And CRC-32C, of RFC 3720."""

from _typeshed import ReadableBuffer

def crc32(data: ReadableBuffer) -> int:
    """Return the CRC-32 of a contiguous buffer."""

def crc32c(data: ReadableBuffer) -> int:
    """Return the CRC-32C of a contiguous buffer."""
