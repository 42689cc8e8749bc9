/* gRPC over HTTP/2: StreamEvents of ours, Watch of etcd. Headers are not decoded: a stream that ends is a failure. */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, END_STREAM = 1, END_HEADERS = 4, ACK = 1 };

typedef void message_taker(uint32_t index, const uint8_t *at, size_t size);

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
    if (size > 126) fail("a header is too long");
    *at++ = (uint8_t)size;
    memcpy(at, value, size);
    return at + size;
}

static uint8_t *header(uint8_t *at, const char *name, const char *value) {
    *at++ = 0; /* literal, not indexed, new name */
    return text(text(at, name), value);
}

static void open_connection(struct connection *c, int stalled) {
    uint8_t out[128], *at = out;
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

static void open_stream(struct connection *c, uint32_t place, const char *path, const uint8_t *message, size_t size, int end) {
    uint8_t out[2048], block[1024], *at = block;
    char bearer[128];
    uint32_t id = 2 * place + 1;
    snprintf(bearer, sizeof bearer, "Bearer %s", key);
    *at++ = 0x83, *at++ = 0x86, *at++ = 0x04; /* POST, http, :path */
    at = text(at, path);
    *at++ = 0x01; /* :authority */
    at = text(at, "localhost");
    at = header(header(at, "te", "trailers"), "content-type", "application/grpc");
    if (*key) at = header(at, "authorization", bearer);
    size_t block_bytes = (size_t)(at - block);
    at = head(out, block_bytes, HEADERS, END_HEADERS, id);
    memcpy(at, block, block_bytes);
    at = head(at + block_bytes, size + 5, DATA, end, id);
    *at++ = 0;
    at = number(at, (uint32_t)size);
    if (size) memcpy(at, message, size);
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

static void feed(uint32_t index, const uint8_t *data, size_t size, message_taker *taker) {
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
        taker(index, data + 5, length);
        data += length + 5;
    }
    size = (size_t)(end - data);
    if (size > s->room) s->part = realloc(s->part, s->room = 2 * size);
    memmove(s->part, data, size);
    s->part_bytes = size;
}

static size_t take_frames(struct connection *c, const uint8_t *data, size_t filled, message_taker *taker) {
    size_t at = 0;
    uint8_t out[32];
    while (filled - at >= 9) {
        const uint8_t *f = data + at;
        size_t size = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t id = (uint32_t)(f[5] & 0x7f) << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
        if (filled - at < size + 9) break;
        if (f[3] == DATA) {
            c->unacknowledged += size;
            feed(c->first + (id - 1) / 2, f + 9, size, taker);
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
    if (c->unacknowledged > 1 << 28) {
        number(head(out, 4, WINDOW_UPDATE, 0, 0), (uint32_t)c->unacknowledged);
        send_all(c->fd, out, 13);
        c->unacknowledged = 0;
    }
    return at;
}

/* A StreamEventsResponse: count field 1, read field 3. */
static void take_events(uint32_t index, const uint8_t *at, size_t size) {
    const uint8_t *end = at + size;
    uint64_t seq = 0;
    uint32_t events = 0;
    while (at < end) {
        uint64_t tag, value;
        at = varint(at, end, &tag);
        at = varint(at, end, &value);
        if (tag == 0x0a) events++;
        if (tag == 0x18) seq = value;
        if ((tag & 7) == 2) at += value;
    }
    begin(index);
    note(index, seq, events);
}

/* Return the value of a field that is a message or bytes, and its size; the rest is skipped. */
static const uint8_t *field(const uint8_t *at, const uint8_t *end, uint64_t wanted, uint64_t *size) {
    while (at < end) {
        uint64_t tag;
        at = varint(at, end, &tag);
        at = varint(at, end, size);
        if (tag == wanted) return at;
        if ((tag & 7) == 2) at += *size;
    }
    return NULL;
}

/* A WatchResponse of etcdserverpb/rpc.proto: 3 created, 4 canceled, 11 events, an mvccpb.Event's 2 kv, and of that 5 value. */
static void take_watch(uint32_t index, const uint8_t *at, size_t size) {
    const uint8_t *end = at + size;
    while (at < end) {
        uint64_t tag, value, inner;
        at = varint(at, end, &tag);
        at = varint(at, end, &value);
        if (tag == 0x18 && value) begin(index);
        if (tag == 0x20 && value) { fprintf(stderr, "etcd cancelled a watch\n"); exit(1); }
        if (tag == 0x5a) {
            const uint8_t *kv = field(at, at + value, 0x12, &inner);
            const uint8_t *stamp = kv ? field(kv, kv + inner, 0x2a, &inner) : NULL;
            if (stamp) stamped(index, stamp, inner);
        }
        if ((tag & 7) == 2) at += value;
    }
}

static void open_grpc(struct connection *c, int stalled) {
    open_connection(c, stalled);
    for (uint32_t k = 0; k < c->streams; k++)
        open_stream(c, k, "/taskmeter.v1.TaskService/StreamEvents", request, request_bytes, END_STREAM);
}

static size_t take_grpc(struct connection *c, const uint8_t *data, size_t size) { return take_frames(c, data, size, take_events); }

static void open_etcd(struct connection *c, int stalled) {
    /* WatchRequest{create_request{key "ev/", range_end "ev0"}} */
    static const uint8_t create[] = {0x0a, 10, 0x0a, 3, 'e', 'v', '/', 0x12, 3, 'e', 'v', '0'};
    open_connection(c, stalled);
    for (uint32_t k = 0; k < c->streams; k++) open_stream(c, k, "/etcdserverpb.Watch/Watch", create, sizeof create, 0);
}

static size_t take_etcd(struct connection *c, const uint8_t *data, size_t size) { return take_frames(c, data, size, take_watch); }

const struct protocol grpc = {"grpc", 1000, open_grpc, take_grpc}, etcd = {"etcd", 1000, open_etcd, take_etcd};
