"""Open files below a directory whose contents belong to somebody else, and never anything outside it."""

import os

def open_beneath(directory: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Open the regular file at the relative `path` below `directory` for reading; return the descriptor, which is yours.

    Raises OSError: EXDEV for a path that leads outside (also an absolute one), ELOOP for a symbolic link anywhere in it, EISDIR
    for a directory, EINVAL for a device, pipe or socket, and what open(2) says else. ValueError for a NUL byte or an empty path.
    """
