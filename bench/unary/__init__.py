"""Unary calls, by the thousand: what one core of the daemon answers, and what others do."""
