# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""BTF, the kernel's description of its own types: where the members of its structures are.

The format is that of Documentation/bpf/btf.rst and include/uapi/linux/btf.h. Nothing in the bytes is believed: every type is
walked once and found to lie within its section before any is looked at, lookups check ids and names as they meet them, and
loops that only damage can make end at a limit. What is newer than this file is refused (-EOPNOTSUPP), not guessed.
"""

from libc.errno cimport EFBIG, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, errno
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from metercore._c.linux cimport O_CLOEXEC, O_RDONLY, c_open, close, read
from metercore.errors cimport raise_errno

cdef uint16_t MAGIC = 0xEB9F
cdef uint8_t VERSION = 1
cdef uint32_t HEADER_BYTES = 24
cdef uint32_t TYPE_BYTES = 12
# A distribution's kernel has 5 to 10 MB.
cdef size_t MAX_BYTES = 134217728
cdef uint8_t LAST_KIND = BTF_ENUM64
# Bits of btf_type.info that have no meaning yet.
cdef uint32_t RESERVED_INFO = 0x60FF0000
# No kernel nests qualifiers or anonymous members nearly as deep, nor has this many members to look through for one name.
cdef int MAX_DEPTH = 32
cdef uint32_t MAX_MEMBERS = 65536


# ---------------------------------------------------------------------------------------------------------- sections


cdef uint32_t c_word(const uint8_t *at) noexcept nogil:
    """A 32-bit number that may stand unaligned."""
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef uint64_t c_extra_bytes(uint8_t kind, uint32_t count) noexcept nogil:
    """How many bytes follow the twelve of a type."""
    if kind == BTF_INT or kind == BTF_VAR or kind == BTF_DECL_TAG:
        return 4
    if kind == BTF_ARRAY:
        return 12
    if kind == BTF_STRUCT or kind == BTF_UNION or kind == BTF_DATASEC or kind == BTF_ENUM64:
        return <uint64_t>count * 12
    if kind == BTF_ENUM or kind == BTF_FUNC_PROTO:
        return <uint64_t>count * 8
    return 0


cdef int c_walk(c_Btf *btf, uint32_t at, uint32_t end) noexcept nogil:
    """Note where each type stands; refuse the section if they do not fill it exactly."""
    cdef uint32_t room = (end - at) // TYPE_BYTES + 1
    cdef uint32_t info
    cdef uint8_t kind
    cdef uint64_t next_at
    btf.places = <uint32_t *>malloc(room * sizeof(uint32_t))
    if btf.places == NULL:
        return -ENOMEM
    btf.places[0] = 0
    btf.type_count = 1
    while at < end:
        if end - at < TYPE_BYTES:
            return -EINVAL
        info = c_word(btf.data + at + 4)
        kind = (info >> 24) & 0x1F
        if info & RESERVED_INFO or kind > LAST_KIND:
            return -EOPNOTSUPP
        if kind == 0:
            return -EINVAL
        next_at = <uint64_t>at + TYPE_BYTES + c_extra_bytes(kind, info & 0xFFFF)
        if next_at > end:
            return -EINVAL
        btf.places[btf.type_count] = at
        btf.type_count += 1
        at = <uint32_t>next_at
    return 0


cdef int c_adopt(c_Btf *btf, uint8_t *data, size_t size) noexcept nogil:
    """Parse `data`, from malloc, which now belongs to `btf`; 0 or -errno, with nothing left to free."""
    cdef uint16_t magic
    cdef uint64_t header, types_at, types_end, strings_at, strings_end
    cdef int error
    memset(btf, 0, sizeof(c_Btf))
    btf.data = data
    error = -EINVAL
    if size >= HEADER_BYTES and size <= MAX_BYTES:
        memcpy(&magic, data, 2)
        header = c_word(data + 4)
        types_at = header + c_word(data + 8)
        types_end = types_at + c_word(data + 12)
        strings_at = header + c_word(data + 16)
        strings_end = strings_at + c_word(data + 20)
        if magic == 0x9FEB or (magic == MAGIC and (data[2] != VERSION or data[3] != 0)):
            error = -EOPNOTSUPP  # of a machine with the other byte order, or of another version
        elif magic == MAGIC and HEADER_BYTES <= header and types_end <= size and strings_at < strings_end <= size:
            # Every name ends within the section if its last byte does.
            if data[strings_at] == 0 and data[strings_end - 1] == 0:
                btf.strings_at = <uint32_t>strings_at
                btf.strings_bytes = <uint32_t>(strings_end - strings_at)
                error = c_walk(btf, <uint32_t>types_at, <uint32_t>types_end)
    if error != 0:
        c_btf_free(btf)
    return error


cdef int c_btf_parse(c_Btf *btf, const uint8_t *data, size_t size) noexcept nogil:
    """Parse a copy of `data`; 0, -EINVAL when it is malformed, -EOPNOTSUPP when it is not understood, -ENOMEM."""
    cdef uint8_t *copy = <uint8_t *>malloc(size + 1)
    if copy == NULL:
        memset(btf, 0, sizeof(c_Btf))
        return -ENOMEM
    memcpy(copy, data, size)
    return c_adopt(btf, copy, size)


cdef int c_btf_load(c_Btf *btf, const char *path) noexcept nogil:
    """Read and parse a file such as /sys/kernel/btf/vmlinux; 0 or -errno, as c_btf_parse."""
    cdef uint8_t *data = NULL
    cdef uint8_t *more
    cdef size_t size = 0
    cdef size_t room = 0
    cdef ssize_t got
    cdef int error = 0
    cdef int descriptor
    memset(btf, 0, sizeof(c_Btf))
    descriptor = c_open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0:
        return -errno
    while error == 0:
        if size == room:
            room = room * 2 if room else 8388608
            more = <uint8_t *>realloc(data, room) if room <= MAX_BYTES else NULL
            if more == NULL:
                error = -EFBIG if room > MAX_BYTES else -ENOMEM
                break
            data = more
        got = read(descriptor, data + size, room - size)
        if got < 0:
            error = -errno
        elif got == 0:
            break
        else:
            size += <size_t>got
    close(descriptor)
    if error != 0:
        free(data)
        return error
    return c_adopt(btf, data, size)


cdef void c_btf_free(c_Btf *btf) noexcept nogil:
    free(btf.data)
    free(btf.places)
    memset(btf, 0, sizeof(c_Btf))


# ------------------------------------------------------------------------------------------------------------- types


cdef bint c_is_named(const c_Btf *btf, uint32_t name_at, const char *name, size_t size) noexcept nogil:
    cdef const uint8_t *text = btf.data + btf.strings_at + name_at
    if <uint64_t>name_at + size >= btf.strings_bytes:
        return 0
    return memcmp(text, name, size) == 0 and text[size] == 0


cdef uint8_t c_kind(const c_Btf *btf, uint32_t id_) noexcept nogil:
    return (c_word(btf.data + btf.places[id_] + 4) >> 24) & 0x1F


cdef int64_t c_resolve(const c_Btf *btf, uint32_t id_) noexcept nogil:
    """The type behind typedefs and qualifiers; -EINVAL for void, unknown ids and circles."""
    cdef int _depth
    cdef uint8_t kind
    for _depth in range(MAX_DEPTH):
        if id_ == 0 or id_ >= btf.type_count:
            return -EINVAL
        kind = c_kind(btf, id_)
        if kind != BTF_TYPEDEF and not BTF_VOLATILE <= kind <= BTF_RESTRICT and kind != BTF_TYPE_TAG:
            return id_
        id_ = c_word(btf.data + btf.places[id_] + 8)
    return -EINVAL


cdef int64_t c_size(const c_Btf *btf, uint32_t id_, int depth) noexcept nogil:
    """The size in bytes of a resolved type; -EINVAL when it has none."""
    cdef const uint8_t *at = btf.data + btf.places[id_]
    cdef uint8_t kind = c_kind(btf, id_)
    cdef int64_t element, size
    if kind == BTF_PTR:
        return sizeof(void *)
    if kind == BTF_ARRAY:
        element = c_resolve(btf, c_word(at + TYPE_BYTES))
        if element < 0 or depth >= MAX_DEPTH:
            return -EINVAL
        size = c_size(btf, <uint32_t>element, depth + 1)
        # Both factors are below 2**32, and a product of no 32 bits is no size of the kernel's.
        if size < 0 or <uint64_t>size * c_word(at + TYPE_BYTES + 8) > 0xFFFFFFFFu:
            return -EINVAL
        return size * c_word(at + TYPE_BYTES + 8)
    if kind == BTF_FUNC or kind == BTF_FUNC_PROTO or kind == BTF_VAR or kind == BTF_DECL_TAG or kind == 7:
        return -EINVAL
    return c_word(at + 8)


cdef int64_t c_btf_id(const c_Btf *btf, const char *name, uint8_t kind) noexcept nogil:
    """The id of the first type of that name and kind, or -ENOENT."""
    cdef size_t size = strlen(name)
    cdef uint32_t id_
    for id_ in range(1, btf.type_count):
        if c_kind(btf, id_) == kind and c_is_named(btf, c_word(btf.data + btf.places[id_]), name, size):
            return id_
    return -ENOENT


cdef int c_btf_enumerator(const c_Btf *btf, const char *name, int64_t *value) noexcept nogil:
    """The value of the first enumerator of that name, in whichever enum; 0 or -ENOENT."""
    cdef size_t size = strlen(name)
    cdef const uint8_t *at
    cdef uint32_t id_, n
    cdef uint8_t kind
    for id_ in range(1, btf.type_count):
        kind = c_kind(btf, id_)
        if kind != BTF_ENUM and kind != BTF_ENUM64:
            continue
        at = btf.data + btf.places[id_]
        for n in range(c_word(at + 4) & 0xFFFF):
            if kind == BTF_ENUM and c_is_named(btf, c_word(at + TYPE_BYTES + n * 8), name, size):
                value[0] = <int32_t>c_word(at + TYPE_BYTES + n * 8 + 4)
                return 0
            if kind == BTF_ENUM64 and c_is_named(btf, c_word(at + TYPE_BYTES + n * 12), name, size):
                memcpy(value, at + TYPE_BYTES + n * 12 + 4, 8)
                return 0
    return -ENOENT


# ------------------------------------------------------------------------------------------------------------ members


cdef struct c_Search:
    const char *name
    size_t name_size
    uint32_t looked_at       # members so far
    uint64_t offset_bits
    uint32_t type_id


cdef int c_member(const c_Btf *btf, uint32_t id_, uint64_t base_bits, int depth, c_Search *search) noexcept nogil:
    """Look for a member, also in those without a name; 0, -ENOENT, -EINVAL, or -EOPNOTSUPP for a bit field."""
    cdef const uint8_t *at = btf.data + btf.places[id_]
    cdef uint32_t info = c_word(at + 4)
    cdef const uint8_t *member = at + TYPE_BYTES
    cdef uint64_t bits
    cdef int64_t inner
    cdef int found
    cdef uint32_t _n
    if depth >= MAX_DEPTH:
        return -EINVAL
    for _n in range(info & 0xFFFF):
        search.looked_at += 1
        if search.looked_at > MAX_MEMBERS:
            return -EINVAL
        bits = c_word(member + 8)
        if c_is_named(btf, c_word(member), search.name, search.name_size):
            if info >> 31:  # kind_flag: the upper eight bits are the width of a bit field
                if bits >> 24:
                    return -EOPNOTSUPP
                bits &= 0xFFFFFF
            search.offset_bits = base_bits + bits
            search.type_id = c_word(member + 4)
            return 0
        if c_word(member) == 0:
            inner = c_resolve(btf, c_word(member + 4))
            if inner > 0 and BTF_STRUCT <= c_kind(btf, <uint32_t>inner) <= BTF_UNION:
                found = c_member(btf, <uint32_t>inner, base_bits + (bits & 0xFFFFFF if info >> 31 else bits), depth + 1, search)
                if found != -ENOENT:
                    return found
        member += 12
    return -ENOENT


cdef int c_btf_field(const c_Btf *btf, const char *structure, const char *path, c_Field *field) noexcept nogil:
    """Find a member by a path such as "se.sum_exec_runtime" or "rss_stat[1].count".

    0; -ENOENT when there is no such structure or member; -EOPNOTSUPP for bit fields; -EINVAL for a path or types that make no
    sense.
    """
    cdef c_Search search
    cdef uint64_t offset_bits = 0
    cdef uint64_t index
    cdef const char *at = path
    cdef const uint8_t *type_at
    cdef int64_t id_ = c_btf_id(btf, structure, BTF_STRUCT)
    cdef int64_t size
    cdef int error
    if id_ < 0:
        return -ENOENT
    search.looked_at = 0
    while True:
        search.name = at
        while at[0] != 0 and at[0] != c'.' and at[0] != c'[':
            at += 1
        search.name_size = <size_t>(at - search.name)
        if search.name_size == 0:
            return -EINVAL
        if not BTF_STRUCT <= c_kind(btf, <uint32_t>id_) <= BTF_UNION:
            return -ENOENT
        error = c_member(btf, <uint32_t>id_, offset_bits, 0, &search)
        if error != 0:
            return error
        offset_bits = search.offset_bits
        id_ = c_resolve(btf, search.type_id)
        while id_ > 0 and at[0] == c'[':
            type_at = btf.data + btf.places[id_]
            if c_kind(btf, <uint32_t>id_) != BTF_ARRAY:
                return -ENOENT
            index = 0
            at += 1
            if at[0] == c']':
                return -EINVAL
            while c'0' <= at[0] <= c'9':
                if index < 100000000:  # more is beyond any array anyway
                    index = index * 10 + <uint64_t>(at[0] - c'0')
                at += 1
            if at[0] != c']':
                return -EINVAL
            at += 1
            if index >= c_word(type_at + TYPE_BYTES + 8):
                return -ENOENT
            id_ = c_resolve(btf, c_word(type_at + TYPE_BYTES))
            size = c_size(btf, <uint32_t>id_, 0) if id_ > 0 else -EINVAL
            if size < 0 or index * <uint64_t>size > 0xFFFFFFFFu:
                return -EINVAL
            offset_bits += index * <uint64_t>size * 8
        if id_ < 0:
            return -EINVAL
        if at[0] == 0:
            break
        if at[0] != c'.':
            return -EINVAL
        at += 1
    size = c_size(btf, <uint32_t>id_, 0)
    if size < 0 or offset_bits & 7 or offset_bits >> 35:
        return -EINVAL
    field.offset_bytes = <uint32_t>(offset_bits >> 3)
    field.size_bytes = <uint32_t>size
    field.type_id = <uint32_t>id_
    field.kind = c_kind(btf, <uint32_t>id_)
    return 0


# ------------------------------------------------------------------------------------------------------------- Python


KINDS = {
    "int": BTF_INT,
    "struct": BTF_STRUCT,
    "union": BTF_UNION,
    "enum": BTF_ENUM,
    "typedef": BTF_TYPEDEF,
    "func": BTF_FUNC,
    "enum64": BTF_ENUM64,
}


cdef bytes c_name(str text):
    """The text as C sees it; a NUL within is in no name."""
    cdef bytes encoded = text.encode()
    if memchr(<const char *>encoded, 0, <size_t>len(encoded)) != NULL:
        raise KeyError(text)
    return encoded


cdef object c_raise(int error, object what):
    if error == -ENOENT:
        raise KeyError(what)
    if error == -EINVAL:
        raise ValueError(f"malformed BTF, or no path of members: {what}")
    if error == -EOPNOTSUPP:
        raise ValueError(f"BTF of a kind that is not understood: {what}")
    raise_errno(-error, what)


cdef class Btf:
    """Types of a kernel."""

    def __dealloc__(self):
        c_btf_free(&self.c)

    @property
    def type_count(self):
        """How many types there are, void included."""
        return self.c.type_count

    def id(self, str name not None, str kind not None):
        """Return the id of the first type of that name and kind."""
        cdef int64_t id_
        if kind not in KINDS:
            raise ValueError(f"no kind of named type: {kind}")
        id_ = c_btf_id(&self.c, c_name(name), KINDS[kind])
        if id_ < 0:
            raise KeyError(name)
        return id_

    def offset(self, str structure not None, str path not None):
        """Return where in the structure the member is, in bytes."""
        return self.field(structure, path)[0]

    def field(self, str structure not None, str path not None):
        """Return (offset, size) of a member in bytes."""
        cdef c_Field field
        cdef int error = c_btf_field(&self.c, c_name(structure), c_name(path), &field)
        if error != 0:
            c_raise(error, f"{structure}.{path}")
        return field.offset_bytes, field.size_bytes

    def enumerator(self, str name not None):
        """Return the value of the first enumerator of that name."""
        cdef int64_t value
        if c_btf_enumerator(&self.c, c_name(name), &value) != 0:
            raise KeyError(name)
        return value


def parse(bytes data not None):
    """Parse BTF."""
    cdef Btf btf = Btf()
    cdef int error = c_btf_parse(&btf.c, data, <size_t>len(data))
    if error != 0:
        c_raise(error, f"{len(data)} bytes")
    return btf


def load(str path="/sys/kernel/btf/vmlinux"):
    """Read and parse a file of BTF."""
    cdef Btf btf = Btf()
    cdef int error = c_btf_load(&btf.c, c_name(path))
    if error != 0:
        if error == -ENOENT:
            raise_errno(ENOENT, path)
        c_raise(error, path)
    return btf
