# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The newest framed events in one piece of memory, from which any number of readers copy what is theirs."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

cdef enum:
    EVENT_BYTES = 16  # of the smallest event we count on: how many fit into the index
    MOST_KIND = 63

cdef struct c_Event:
    int64_t seq
    uint32_t offset  # of its frame in the data
    uint32_t block  # ordinal of its block, from the oldest kept


cdef class EventRing:
    r"""The newest events of a sequence, as frames that are sent as they are.

    Memory is allocated once: `capacity_bytes` for frames and as much again for their index. When it is full the older half goes;
    an event larger than it is not kept, nor is anything before it.

    >>> ring = EventRing(4096)
    >>> ring.append(1, bytes([1, 4]), b"\n\x03one\n\x03two", "default", "a", {})
    >>> ring.append(3, bytes([1]), b"\n\x05three", "default", "b", {"colour": "red"})
    >>> ring.join(1, 100, 0b10, "default", frozenset(), {})
    (b'\n\x03one\n\x05three', 3, ('a', 'b'))
    >>> ring.join(1, 100, 0b10010, "default", frozenset({"a"}), {})
    (b'\n\x03one\n\x03two', 3, ('a',))
    """

    cdef char *data
    cdef c_Event *events
    cdef uint8_t *kinds
    cdef uint32_t room, size  # of the data
    cdef uint32_t most, count  # of the events
    cdef list owners  # per block: (tenant, token, tags)
    cdef int64_t newest

    def __cinit__(self, uint32_t capacity_bytes):
        if not 1024 <= capacity_bytes <= 1 << 30:
            raise ValueError("capacity_bytes must be from 1 KiB to 1 GiB")
        self.room = capacity_bytes
        self.most = capacity_bytes // EVENT_BYTES
        self.data = <char *>malloc(self.room)
        self.events = <c_Event *>malloc(self.most * sizeof(c_Event))
        self.kinds = <uint8_t *>malloc(self.most)
        self.owners = []
        if self.data == NULL or self.events == NULL or self.kinds == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)
        free(self.events)
        free(self.kinds)

    def __len__(self):
        return self.count

    @property
    def first_seq(self):
        """Seq of the oldest event kept; one more than the newest when there is none."""
        return self.events[0].seq if self.count else self.newest + 1

    @property
    def last_seq(self):
        """Seq of the newest event ever appended; 0 before that."""
        return self.newest

    @property
    def size_bytes(self):
        """Size of the frames kept."""
        return self.size

    cdef void c_drop(self, uint32_t dropped):
        # Forget the oldest events, and the blocks of which none is left.
        cdef uint32_t index, base, gone
        if dropped >= self.count:
            self.count = self.size = 0
            self.owners.clear()
            return
        base, gone = self.events[dropped].offset, self.events[dropped].block
        self.count -= dropped
        self.size -= base
        memmove(self.data, self.data + base, self.size)
        memmove(self.events, self.events + dropped, self.count * sizeof(c_Event))
        memmove(self.kinds, self.kinds + dropped, self.count)
        for index in range(self.count):
            self.events[index].offset -= base
            self.events[index].block -= gone
        del self.owners[:gone]

    cdef uint32_t c_find(self, int64_t seq) noexcept:
        # The first event of this seq or a later one.
        cdef uint32_t low = 0, high = self.count, middle
        while low < high:
            middle = (low + high) // 2
            if self.events[middle].seq < seq:
                low = middle + 1
            else:
                high = middle
        return low

    cdef uint32_t c_end(self, uint32_t index) noexcept:
        return self.events[index + 1].offset if index + 1 < self.count else self.size

    def append(self, int64_t first_seq, bytes kinds not None, bytes frames not None, str tenant not None, str token not None,
               dict tags not None):
        """Append a block: events of one task with consecutive seqs, the first of which is above every one before.

        `frames` are protobuf fields of wire type 2, joined, their tags of one byte; `kinds` has a number from 0 to 63 for each.
        Raises `ValueError` or `TypeError`, and then nothing has changed.
        """
        cdef Py_ssize_t number = PyBytes_GET_SIZE(kinds), place, begin = 0, size = PyBytes_GET_SIZE(frames)
        cdef uint64_t needed = <uint64_t>size
        cdef uint32_t dropped = 0, half, owner
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(frames)
        if number == 0:
            raise ValueError("there must be an event at least")
        if first_seq <= self.newest:
            raise ValueError("seqs must increase")
        for place in range(number):
            if <uint8_t>PyBytes_AS_STRING(kinds)[place] > MOST_KIND:
                raise ValueError("kinds are from 0 to 63")
            begin = c_frame_end(data, begin, size)
            if begin < 0:
                break
        if begin != size:
            raise ValueError("there must be one kind per frame")
        if needed > self.room or <uint64_t>number > self.most:
            self.c_drop(self.count)
            self.newest = first_seq + number - 1
            return
        if self.size + needed > self.room or self.count + <uint64_t>number > self.most:
            half = self.count // 2
            while dropped < self.count and (
                dropped < half or self.size - self.events[dropped].offset + needed > self.room
                or self.count - dropped + <uint64_t>number > self.most
            ):
                dropped += 1
            self.c_drop(dropped)
        owner = <uint32_t>len(self.owners)
        self.owners.append((tenant, token, tags))
        begin = 0
        memcpy(self.data + self.size, data, size)
        for place in range(number):
            self.events[self.count] = c_Event(first_seq + place, self.size + <uint32_t>begin, owner)
            self.kinds[self.count] = <uint8_t>PyBytes_AS_STRING(kinds)[place]
            self.count += 1
            begin = c_frame_end(data, begin, size)
        self.size += <uint32_t>size
        self.newest = first_seq + number - 1

    def join(self, int64_t from_seq, Py_ssize_t most_bytes, uint64_t kinds, str tenant not None, frozenset tokens not None,
             dict tags not None):
        """Return the frames that match from `from_seq` on, joined; the seq up to which they were looked at; tokens that had some.

        At most `most_bytes`, but one event at least. `kinds` has bit N set for kind N; `tokens` may be empty for any; a token is
        named also where none of its kinds matched. The caller sees to it that nothing at or after `from_seq` was dropped.
        """
        cdef uint32_t index = self.c_find(from_seq), start, stop, owner = <uint32_t>-1
        cdef Py_ssize_t taken = 0, size
        cdef int64_t reached = self.newest
        cdef bint wanted = False
        cdef bytes out
        cdef char *into
        cdef list touched = []
        start = index
        # First what there is: bytes are then made in their final size.
        while index < self.count:
            if self.events[index].block != owner:
                owner = self.events[index].block
                wanted = c_wants(<tuple>self.owners[owner], tenant, tokens, tags)
                if wanted:
                    touched.append((<tuple>self.owners[owner])[1])
            self.kinds[index] &= 0x7f
            if wanted and kinds >> self.kinds[index] & 1:
                size = self.c_end(index) - self.events[index].offset
                if taken and taken + size > most_bytes:
                    reached = self.events[index].seq - 1
                    break
                taken += size
                self.kinds[index] |= 0x80  # to be copied
            index += 1
        stop = index
        out = PyBytes_FromStringAndSize(NULL, taken)
        into = PyBytes_AS_STRING(out)
        for index in range(start, stop):
            if self.kinds[index] & 0x80:
                self.kinds[index] &= 0x7f
                size = self.c_end(index) - self.events[index].offset
                memcpy(into, self.data + self.events[index].offset, size)
                into += size
        return out, reached, tuple(touched)


cdef Py_ssize_t c_frame_end(const uint8_t *data, Py_ssize_t begin, Py_ssize_t size) noexcept nogil:
    # Where the frame ends that begins there; -1 if it does not end in time.
    cdef uint64_t length = 0
    cdef int shift = 0
    begin += 1  # its tag
    while begin < size and shift < 35:
        length |= <uint64_t>(data[begin] & 0x7f) << shift
        begin += 1
        if data[begin - 1] < 0x80:
            return begin + <Py_ssize_t>length if length <= <uint64_t>(size - begin) else -1
        shift += 7
    return -1


cdef bint c_wants(tuple owner, str tenant, frozenset tokens, dict tags) except -1:
    if owner[0] != tenant or (tokens and owner[1] not in tokens):
        return False
    if tags:
        for key, value in tags.items():
            if (<dict>owner[2]).get(key) != value:
                return False
    return True
