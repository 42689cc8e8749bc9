"""One native thread that makes attempt directories and cgroups and spawns shims; it never takes the GIL."""

PREPARE: int
LAUNCH: int
REMOVE_CGROUPS: int
STEPS: tuple[str, ...]
"""What a result's step was about, by its number."""

class Launcher:
    """A queue of requests to the native thread; each is answered once by `results`, in the order they were made.

    To be used from one thread. Request ids are the caller's own.
    """

    def __init__(self, shim_path: bytes) -> None:
        """Start the thread. Raises OSError when there are no descriptors or threads left."""

    def fileno(self) -> int:
        """Return the eventfd that becomes readable when results are there. Raises ValueError when there never was one."""

    def prepare(self, request_id: int, directory: bytes, spec: bytes, traversable: bool) -> None:
        """Make the attempt directory with all above it, 0700 (0711 if `traversable`), and write `spec` into it."""

    def launch(
        self,
        request_id: int,
        directory: bytes,
        block: bytes,
        cgroup_v2: bytes,
        cgroup_v1: tuple[bytes, ...],
        stdin_data: bytes | None,
        shared_work: bool,
        ids: tuple[int, int] | None,
    ) -> None:
        """Make the task's directory, records and cgroups and spawn the shim with `block` on descriptor 3.

        A cgroup that cannot be made is taken out of the block; the result's step is then "cgroup", without an error.
        `shared_work`: task/work links to ../../work, beside the attempts. `ids`: (uid, gid) that shall own task/.
        """

    def remove_cgroups(self, request_id: int, cgroup_v2: bytes, cgroup_v1: tuple[bytes, ...]) -> None:
        """Remove these directories; EBUSY when something lives in one of them. b"" and () mean none."""

    def results(self) -> list[tuple[int, int, int, int, int, int]]:
        """Take what is done: (request id, kind, errno or 0, step, pid or 0, pidfd or -1). Never waits."""

    def close(self) -> None:
        """Finish what was asked, then end the thread. Results not yet taken are lost; what was spawned runs on."""
