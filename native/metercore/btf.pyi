"""BTF, the kernel's description of its own types: where the members of its structures are."""

KINDS: dict[str, int]

class Btf:
    """Types of a kernel, from `parse` or `load`; one made otherwise is empty."""

    @property
    def type_count(self) -> int:
        """How many types there are, void included."""

    def id(self, name: str, kind: str) -> int:
        """Return the id of the first type of that name and kind, one of KINDS. Raises KeyError when there is none."""

    def offset(self, structure: str, path: str) -> int:
        """Return where in the structure the member is, in bytes; as `field`."""

    def field(self, structure: str, path: str) -> tuple[int, int]:
        """Return (offset, size) of a member in bytes.

        The path is that of C: "se.sum_exec_runtime", "rss_stat[1].count"; members without a name are looked through. Raises
        KeyError when there is no such member, ValueError for bit fields, bad paths and types that make no sense.
        """

    def enumerator(self, name: str) -> int:
        """Return the value of the first enumerator of that name, in whichever enum. Raises KeyError when there is none."""

def parse(data: bytes) -> Btf:
    """Parse BTF. Raises ValueError when it is malformed, of the other byte order, or newer than this parser."""

def load(path: str = "/sys/kernel/btf/vmlinux") -> Btf:
    """Read and parse a file of BTF. Raises OSError, and ValueError as `parse`."""
