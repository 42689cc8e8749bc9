# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The meter page of an attempt: two slots with a CRC each, so that what was billed survives any death (layout: _c/meter.h)."""

from libc.errno cimport ENODATA, errno
from libc.stddef cimport size_t
from libc.string cimport memcpy, memset

from metercore._c.linux cimport (
    O_CLOEXEC,
    O_CREAT,
    O_NOFOLLOW,
    O_RDWR,
    c_open,
    c_stat,
    close,
    fstat,
    posix_fallocate,
    pwrite,
)
from metercore._c.meter cimport TM_METER_BYTES, TM_METER_MAGIC, TM_METER_SLOT_BYTES, TM_METER_VERSION, tm_meter
from metercore.crc cimport c_crc32
from metercore.descriptors cimport c_may_keep, c_read_path
from metercore.errors cimport raise_errno
from metercore.tokens cimport c_wide_int


cdef extern from *:
    """
    #define TM_METER_CRC_BYTES offsetof(struct tm_meter, crc)
    """
    size_t TM_METER_CRC_BYTES


cdef void c_boot_id(char *forty_bytes) noexcept nogil:
    """Read the id of this boot of the machine, NUL padded."""
    memset(forty_bytes, 0, 40)
    c_read_path(b"/proc/sys/kernel/random/boot_id", forty_bytes, 36)


cdef bint c_valid(const tm_meter *slot) noexcept nogil:
    if slot.magic != TM_METER_MAGIC or slot.version != TM_METER_VERSION:
        return 0
    return slot.crc == c_crc32(slot, TM_METER_CRC_BYTES)


cdef bint c_meter_newest(const char *page, size_t size, tm_meter *result) noexcept nogil:
    """Copy the valid slot with the higher serial; 0 when neither is valid."""
    cdef const tm_meter *slot
    cdef bint found = 0
    cdef int n
    for n in range(2):
        if size < <size_t>n * TM_METER_SLOT_BYTES + sizeof(tm_meter):
            break
        slot = <const tm_meter *>(page + n * <int>TM_METER_SLOT_BYTES)
        if c_valid(slot) and (not found or slot.serial > result.serial):
            memcpy(result, slot, sizeof(tm_meter))
            found = 1
    return found


cdef void c_seal(tm_meter *meter) noexcept nogil:
    meter.magic = TM_METER_MAGIC
    meter.version = TM_METER_VERSION
    meter.serial += 1
    meter.crc = c_crc32(meter, TM_METER_CRC_BYTES)


cdef int c_write_slot(int descriptor, tm_meter *meter) noexcept nogil:
    """Give the meter the next serial and write it over the older slot; 0 or -errno."""
    c_seal(meter)
    if pwrite(descriptor, meter, sizeof(tm_meter), <long>(meter.serial & 1) * TM_METER_SLOT_BYTES) < 0:
        return -errno
    return 0


cdef int c_meter_store(int *descriptor, const char *path, tm_meter *meter) noexcept nogil:
    """Write the next slot, through a kept descriptor if there is room for one; 0 or -errno.

    Written, not mapped: a store into a mapping whose page cannot be had (a full disk under copy on write, a truncated file)
    is SIGBUS and would end the daemon, where a write only fails. It survives kill -9 just as well.
    """
    cdef c_stat facts
    cdef int error
    if descriptor[0] < 0:
        descriptor[0] = c_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        if descriptor[0] < 0:
            return -errno
        if fstat(descriptor[0], &facts) == 0 and facts.st_size < <long>TM_METER_BYTES:
            posix_fallocate(descriptor[0], 0, TM_METER_BYTES)  # now, while there is room on the disk; else the write will say
        if not c_may_keep():
            error = c_write_slot(descriptor[0], meter)
            close(descriptor[0])
            descriptor[0] = -1
            return error
    return c_write_slot(descriptor[0], meter)


cdef int c_meter_read(const char *path, tm_meter *result) noexcept nogil:
    """Read the newest valid slot; 0, or -errno (-ENODATA: neither slot is valid)."""
    cdef char[4096] page
    cdef ssize_t got = c_read_path(path, page, TM_METER_BYTES)
    if got < 0:
        return <int>got
    return 0 if c_meter_newest(page, <size_t>got, result) else -ENODATA


cdef int c_meter_write(const char *path, tm_meter *meter) noexcept nogil:
    """Write the next slot in one go, as for an attempt that is settled; 0 or -errno."""
    cdef int error
    cdef int descriptor = c_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    if descriptor < 0:
        return -errno
    error = c_write_slot(descriptor, meter)
    close(descriptor)
    return error


cdef object c_known(unsigned long long value):
    return None if value == <unsigned long long>-1 else value


cdef object c_meter_dict(const tm_meter *meter):
    return {
        "serial": meter.serial,
        "boot_id": meter.boot_id[:36].split(b"\0", 1)[0].decode("ascii", "replace"),
        "first_monotonic_ns": meter.first_monotonic_ns,
        "last_monotonic_ns": meter.last_monotonic_ns,
        "last_realtime_ns": meter.last_realtime_ns,
        "cpu_ns": meter.cpu_ns,
        "memory_byte_ns2": c_wide_int(meter.memory_byte_ns2_low, meter.memory_byte_ns2_high),
        "memory_bytes": meter.memory_bytes,
        "peak_memory_bytes": meter.peak_memory_bytes,
        "peak_cpu_cores": meter.peak_cpu_cores,
        "io_read_bytes": c_known(meter.io_read_bytes),
        "io_write_bytes": c_known(meter.io_write_bytes),
        "voluntary_switch_count": c_known(meter.voluntary_switch_count),
        "involuntary_switch_count": c_known(meter.involuntary_switch_count),
        "minor_fault_count": c_known(meter.minor_fault_count),
        "major_fault_count": c_known(meter.major_fault_count),
        "gpu_memory_byte_ns2": c_wide_int(meter.gpu_memory_byte_ns2_low, meter.gpu_memory_byte_ns2_high),
        "gpu_memory_bytes": c_known(meter.gpu_memory_bytes),
        "peak_gpu_memory_bytes": c_known(meter.peak_gpu_memory_bytes),
        "gpu_ns": meter.gpu_ns,
        "peak_gpu_percent": meter.peak_gpu_percent if meter.peak_gpu_percent >= 0.0 else None,
        "sample_count": meter.sample_count,
        "cpu_source": meter.cpu_source,
        "memory_source": meter.memory_source,
        "had_gap": bool(meter.had_gap),
    }


def read_meter(str path not None):
    """Return the newest valid slot of a meter page as a dict of its fields. Raises OSError; ENODATA: no slot is valid."""
    cdef tm_meter meter
    cdef bytes encoded = path.encode("utf-8", "surrogateescape")
    cdef int error = c_meter_read(encoded, &meter)
    if error != 0:
        raise_errno(-error, path)
    return c_meter_dict(&meter)
