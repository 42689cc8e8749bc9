/* Subscribers for bench/fanout: gRPC streams over HTTP/2 on a unix socket, read at the least cost so that the server is measured.
 *
 *   reader SOCKET KEY PATH REQUEST_HEX CONNECTIONS STREAMS STALLED RECORDS
 *
 * Opens STREAMS streams that are read, spread over CONNECTIONS connections, and STALLED more, on as many connections again, whose
 * windows are never opened again. Prints "open MILLISECONDS" when every stream has had its first message. Writes one record per
 * message to the file RECORDS until its stdin closes. Headers are not decoded: what a stream ends with is only counted.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8, END_STREAM = 1, END_HEADERS = 4, ACK = 1 };
enum { MOST_CONNECTIONS = 2048, BUFFER_BYTES = 1 << 18 };

struct record { uint64_t time_ns, seq; uint32_t stream, events; };
struct stream { uint8_t *part; size_t part_bytes, room; int begun; };
struct connection { int fd; uint8_t *in; size_t filled; uint64_t unacknowledged; uint32_t first, streams; };

static struct stream *streams;
static uint32_t waiting;
static FILE *records;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void send_all(int fd, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) die("send");
        data += sent;
        size -= (size_t)sent;
    }
}

static uint8_t *head(uint8_t *at, size_t size, int type, int flags, uint32_t id) {
    const uint8_t bytes[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type, (uint8_t)flags,
                              (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    memcpy(at, bytes, 9);
    return at + 9;
}

static uint8_t *number(uint8_t *at, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) *at++ = (uint8_t)(value >> shift);
    return at;
}

static uint8_t *text(uint8_t *at, const char *value) {
    size_t size = strlen(value);
    if (size > 126) die("a header is too long");
    *at++ = (uint8_t)size;
    memcpy(at, value, size);
    return at + size;
}

static uint8_t *header(uint8_t *at, const char *name, const char *value) {
    *at++ = 0; /* literal, not indexed, new name */
    return text(text(at, name), value);
}

static void open_connection(struct connection *c, const char *path, int stalled) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint8_t out[128], *at = out;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    c->in = malloc(BUFFER_BYTES);
    memcpy(at, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    at = head(at + 24, stalled ? 0 : 6, SETTINGS, 0, 0);
    if (!stalled) {
        *at++ = 0, *at++ = 4; /* INITIAL_WINDOW_SIZE */
        at = number(at, 0x7fffffff);
    }
    at = head(at, 4, WINDOW_UPDATE, 0, 0);
    at = number(at, 0x7fffffff - 65535);
    send_all(c->fd, out, (size_t)(at - out));
}

static void open_stream(struct connection *c, uint32_t index, const char *key, const char *path, const uint8_t *request, size_t size) {
    uint8_t out[2048], block[1024], *at = block;
    char bearer[128];
    uint32_t id = 2 * index + 1;
    snprintf(bearer, sizeof bearer, "Bearer %s", key);
    *at++ = 0x83, *at++ = 0x86, *at++ = 0x04; /* POST, http, :path */
    at = text(at, path);
    *at++ = 0x01; /* :authority */
    at = text(at, "localhost");
    at = header(header(header(at, "te", "trailers"), "content-type", "application/grpc"), "authorization", bearer);
    size_t block_bytes = (size_t)(at - block);
    at = head(out, block_bytes, HEADERS, END_HEADERS, id);
    memcpy(at, block, block_bytes);
    at = head(at + block_bytes, size + 5, DATA, END_STREAM, id);
    *at++ = 0;
    at = number(at, (uint32_t)size);
    memcpy(at, request, size);
    send_all(c->fd, out, (size_t)(at + size - out));
}

static const uint8_t *varint(const uint8_t *at, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; at < end && shift < 64; shift += 7) {
        *value |= (uint64_t)(*at & 0x7f) << shift;
        if (*at++ < 0x80) break;
    }
    return at;
}

/* A StreamEventsResponse: count field 1, read field 3. */
static void take(uint32_t index, const uint8_t *at, size_t size) {
    const uint8_t *end = at + size;
    struct record r = {now_ns(), 0, index, 0};
    while (at < end) {
        uint64_t tag, value;
        at = varint(at, end, &tag);
        at = varint(at, end, &value);
        if (tag == 0x0a) r.events++;
        if (tag == 0x18) r.seq = value;
        if ((tag & 7) == 2) at += value;
    }
    if (!streams[index].begun) streams[index].begun = 1, waiting--;
    fwrite(&r, sizeof r, 1, records);
}

static void feed(uint32_t index, const uint8_t *data, size_t size) {
    struct stream *s = &streams[index];
    if (s->part_bytes) {
        if (s->part_bytes + size > s->room) s->part = realloc(s->part, s->room = 2 * (s->part_bytes + size));
        memcpy(s->part + s->part_bytes, data, size);
        data = s->part;
        size = s->part_bytes += size;
    }
    const uint8_t *end = data + size;
    while (end - data >= 5) {
        size_t length = (size_t)data[1] << 24 | (size_t)data[2] << 16 | (size_t)data[3] << 8 | data[4];
        if ((size_t)(end - data) < length + 5) break;
        take(index, data + 5, length);
        data += length + 5;
    }
    size = (size_t)(end - data);
    if (size > s->room) s->part = realloc(s->part, s->room = 2 * size);
    memmove(s->part, data, size);
    s->part_bytes = size;
}

static void serve(struct connection *c) {
    ssize_t got = recv(c->fd, c->in + c->filled, BUFFER_BYTES - c->filled, 0);
    if (got <= 0) { fprintf(stderr, "the server closed a connection\n"); exit(1); }
    c->filled += (size_t)got;
    size_t at = 0;
    uint8_t out[32];
    while (c->filled - at >= 9) {
        const uint8_t *f = c->in + at;
        size_t size = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t id = (uint32_t)(f[5] & 0x7f) << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
        if (c->filled - at < size + 9) break;
        if (f[3] == DATA) {
            c->unacknowledged += size;
            feed(c->first + (id - 1) / 2, f + 9, size);
        } else if (f[3] == SETTINGS && !(f[4] & ACK)) {
            head(out, 0, SETTINGS, ACK, 0);
            send_all(c->fd, out, 9);
        } else if (f[3] == PING && !(f[4] & ACK)) {
            memcpy(head(out, 8, PING, ACK, 0), f + 9, 8);
            send_all(c->fd, out, 17);
        } else if (f[3] == HEADERS && f[4] & END_STREAM) {
            fprintf(stderr, "a stream ended\n");
            exit(1);
        }
        at += size + 9;
    }
    memmove(c->in, c->in + at, c->filled -= at);
    if (c->unacknowledged > 1 << 28) {
        number(head(out, 4, WINDOW_UPDATE, 0, 0), (uint32_t)c->unacknowledged);
        send_all(c->fd, out, 13);
        c->unacknowledged = 0;
    }
}

int main(int argc, char **argv) {
    static struct connection connections[MOST_CONNECTIONS];
    static struct pollfd polled[MOST_CONNECTIONS + 1];
    static uint8_t request[512];
    if (argc != 9) { fprintf(stderr, "reader SOCKET KEY PATH REQUEST_HEX CONNECTIONS STREAMS STALLED RECORDS\n"); return 2; }
    size_t request_bytes = strlen(argv[4]) / 2;
    for (size_t i = 0; i < request_bytes; i++) sscanf(argv[4] + 2 * i, "%2hhx", &request[i]);
    uint32_t each = (uint32_t)atoi(argv[5]), read_count = (uint32_t)atoi(argv[6]), stalled = (uint32_t)atoi(argv[7]);
    uint32_t count = stalled ? 2 * each : each, opened = 0;
    records = fopen(argv[8], "wb");
    streams = calloc(read_count + stalled, sizeof *streams);
    waiting = read_count + stalled;
    if (!records || !each || count > MOST_CONNECTIONS) die(argv[8]);
    uint64_t begin = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        uint32_t all = i < each ? read_count : stalled, place = i % each;
        c->streams = all / each + (place < all % each);
        c->first = opened;
        open_connection(c, argv[1], i >= each);
        for (uint32_t k = 0; k < c->streams; k++) open_stream(c, k, argv[2], argv[3], request, request_bytes);
        opened += c->streams;
        polled[i] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    }
    polled[count] = (struct pollfd){.fd = 0, .events = POLLIN};
    for (int said = 0;;) {
        if (poll(polled, count + 1, -1) < 0 && errno != EINTR) die("poll");
        for (uint32_t i = 0; i < count; i++)
            if (polled[i].revents) serve(&connections[i]);
        if (!said && !waiting) {
            said = printf("open %.1f\n", (double)(now_ns() - begin) / 1e6);
            fflush(stdout);
        }
        char ignored[16];
        if (polled[count].revents && read(0, ignored, sizeof ignored) <= 0) break;
    }
    return fclose(records) != 0;
}
