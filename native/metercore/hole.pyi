"""Gives the disk space of a part of a file back; its size and all offsets stay."""

def punch_hole(descriptor: int, offset: int, length: int) -> None:
    """Make `length` bytes from `offset` a hole, which reads as zeros. Both in bytes; whole blocks are freed.

    Raises OSError: EOPNOTSUPP where the file system cannot, EINVAL for a length below 1, EBADF for a file not open for writing.
    """
