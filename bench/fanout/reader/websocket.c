/* WebSocket (RFC 6455): frames of a server are not masked. An event is one message; in a message of several each has a line. */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void open_websocket(struct connection *c, int stalled) {
    static const char asked[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    (void)stalled;
    send_all(c->fd, asked, sizeof asked - 1);
}

static size_t take_websocket(struct connection *c, const uint8_t *data, size_t size) {
    size_t at = 0;
    if (!streams[c->first].begun) {
        const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
        if (!end) return 0;
        if (size < 12 || memcmp(data, "HTTP/1.1 101", 12)) { fprintf(stderr, "no WebSocket: %.12s\n", data); exit(1); }
        begin(c->first);
        at = (size_t)(end + 4 - data);
    }
    while (size - at >= 2) {
        const uint8_t *f = data + at;
        size_t head = 2, length = f[1] & 0x7f;
        if (length == 126) {
            if (size - at < 4) break;
            length = (size_t)f[2] << 8 | f[3], head = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            length = 0, head = 10;
            for (int i = 2; i < 10; i++) length = length << 8 | f[i];
        }
        if (size - at < head + length) break;
        if ((f[0] & 0x0f) == 8) { fprintf(stderr, "the server closed a WebSocket\n"); exit(1); }
        for (const uint8_t *event = f + head, *end = event + length; event < end;) {
            const uint8_t *next = memchr(event, '\n', (size_t)(end - event));
            if (!next) next = end;
            stamped(c->first, event, (size_t)(next - event));
            event = next + 1;
        }
        at += head + length;
    }
    return at;
}

const struct protocol websocket = {"websocket", 1, open_websocket, take_websocket};
