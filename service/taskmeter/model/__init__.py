"""Frozen values of the domain; imports nothing but the standard library and does no I/O."""
