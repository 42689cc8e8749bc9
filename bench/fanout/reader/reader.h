/* Subscribers for bench/fanout: what the protocols share. */
#ifndef READER_H
#define READER_H

#include <stddef.h>
#include <stdint.h>

enum { BUFFER_BYTES = 1 << 18, STAMP_DIGITS = 16 };

struct stream { uint8_t *part; size_t part_bytes, room; int begun; };

struct connection {
    int fd;
    uint8_t *in;
    size_t filled;
    uint64_t unacknowledged; /* HTTP/2: bytes since the last WINDOW_UPDATE */
    uint32_t first, streams; /* which streams live on it; all protocols but HTTP/2 have one */
    int left[8], depth;      /* RESP: elements that open arrays still miss */
    char last_id[48];        /* Redis streams: of the newest entry */
};

struct protocol {
    const char *name;
    uint32_t most_streams; /* on one connection */
    void (*open)(struct connection *c, int stalled);
    size_t (*take)(struct connection *c, const uint8_t *data, size_t size); /* returns how many bytes it has used up */
};

extern const struct protocol grpc, etcd, nats, redis_pubsub, redis_stream, sse, websocket;
extern struct stream *streams;
extern const char *key;          /* gRPC: the key */
extern const uint8_t *request;   /* gRPC: the request's message */
extern size_t request_bytes;

void begin(uint32_t index);                                      /* a stream has begun */
void note(uint32_t index, uint64_t mark, uint32_t events);       /* events have arrived; mark: seq, or stamp in ns */
void stamped(uint32_t index, const uint8_t *data, size_t size);  /* an event has arrived that begins with its stamp */
void send_all(int fd, const void *data, size_t size);
void fail(const char *what) __attribute__((noreturn));

#endif
