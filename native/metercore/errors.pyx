# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The one place where an errno of native code becomes an exception."""

import os


cdef object raise_errno(int error, object path):
    """Raise the subclass of OSError that Python has for `error`; never returns."""
    raise OSError(error, os.strerror(error), path)
