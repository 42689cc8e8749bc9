"""The CPU total of a tree that has no cgroup, by its members."""
