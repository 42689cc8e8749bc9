/* Numbers to text and back, CRC-32, clocks: what the shim needs of a C library, without stdio or malloc. */
#ifndef TASKMETER_SHIM_TEXT_H
#define TASKMETER_SHIM_TEXT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320), four bits at a time: a table of 64 bytes instead of 1 kB. */
static uint32_t crc32_of(const void *data, size_t size)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const unsigned char *byte = data;
    uint32_t crc = ~0u;
    while (size--) {
        crc ^= *byte++;
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}

/* Append `text`, or `number` in decimal, at `to`; return the new end. The caller knows that there is room. */
static char *put_text(char *to, const char *text)
{
    return stpcpy(to, text);
}

static char *put_number(char *to, uint64_t number)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *to++ = digits[--count];
    *to = 0;
    return to;
}

/* Parse a decimal number at *text and move *text past it; false when there is no digit. */
static bool take_number(const char **text, uint64_t *number)
{
    const char *p = *text;
    uint64_t value = 0;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    *text = p;
    *number = value;
    return true;
}

/* Read a small file into `buffer` and end it with NUL; -1 when it cannot be read. */
static ssize_t read_small(int dir, const char *path, char *buffer, size_t size)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, buffer, size - 1);
    close(fd);
    if (got >= 0)
        buffer[got] = 0;
    return got;
}

/* Find the number that follows `name` and blanks in `text`, at the start of a line. */
static bool find_number(const char *text, const char *name, uint64_t *number)
{
    size_t length = strlen(name);
    while (text) {
        if (!strncmp(text, name, length)) {
            text += length;
            while (*text == ' ' || *text == '\t')
                text++;
            return take_number(&text, number);
        }
        text = strchr(text, '\n');
        if (text)
            text++;
    }
    return false;
}

#endif
