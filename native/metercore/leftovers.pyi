"""Stops, then kills, every process of an attempt whose shim has died."""

def kill_leftovers(
    cgroups: tuple[bytes, ...], name: bytes, marks: tuple[bytes, bytes], command_line: bytes, patience_seconds: float = 5.0
) -> int:
    """Kill what is left of an attempt; returns how many processes were killed. Blocks, without the GIL, until nobody lives.

    cgroups: paths of its cgroup.procs files, at most eight; `name`: the name of its cgroups, which a process in one of them or
    below has in /proc/PID/cgroup. Without cgroups its processes are those that have both `marks` (NAME=VALUE) in the environment
    they were exec'ed with, or `command_line` as theirs, and all that descend from these; those whose environment may not be
    read are found by their parents only. patience_seconds: 0 to 3600, how long to go on while new ones keep coming or some do
    not die.

    Raises ValueError for other arguments, OSError ENOMEM after having killed whom it knew.
    """
