"""What the launcher's thread does for one request; for Cython only, see request.pxd."""
