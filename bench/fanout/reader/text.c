/* Protocols of text: NATS, Redis (RESP 2), server-sent events. An event begins with its stamp. */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(struct connection *c, const char *text) { send_all(c->fd, text, strlen(text)); }

/* Return what follows a line's end, or NULL if it has not come yet. */
static const uint8_t *line_end(const uint8_t *at, const uint8_t *end) {
    const uint8_t *found = memchr(at, '\n', (size_t)(end - at));
    return found ? found + 1 : NULL;
}

static void open_nats(struct connection *c, int stalled) {
    (void)stalled;
    say(c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"protocol\":1}\r\nSUB ev 1\r\nPING\r\n");
}

static size_t take_nats(struct connection *c, const uint8_t *data, size_t size) {
    const uint8_t *at = data, *end = data + size, *next;
    while (at < end && (next = line_end(at, end))) {
        if (!memcmp(at, "MSG", 3)) { /* MSG subject sid bytes */
            const uint8_t *digit = next - 2;
            while (digit[-1] != ' ') digit--;
            size_t bytes = strtoul((const char *)digit, NULL, 10);
            if ((size_t)(end - next) < bytes + 2) break;
            stamped(c->first, next, bytes);
            next += bytes + 2;
        } else if (!memcmp(at, "PING", 4)) {
            say(c, "PONG\r\n");
        } else if (!memcmp(at, "PONG", 4)) {
            begin(c->first);
        } else if (*at == '-') {
            fprintf(stderr, "NATS: %.*s", (int)(next - at), at);
            exit(1);
        }
        at = next;
    }
    return (size_t)(at - data);
}

static void open_pubsub(struct connection *c, int stalled) {
    (void)stalled;
    say(c, "SUBSCRIBE ev\r\n");
}

static void read_on(struct connection *c) {
    char command[128];
    snprintf(command, sizeof command, "XREAD COUNT 1000 BLOCK 0 STREAMS ev %s\r\n", c->last_id);
    say(c, command);
}

static void open_stream(struct connection *c, int stalled) {
    (void)stalled;
    strcpy(c->last_id, "$");
    say(c, "PING\r\n"); /* its answer says that it is served; what comes before XREAD is not asked for */
    read_on(c);
}

/* An element is whole; the arrays that it completes are, too. */
static void element(struct connection *c) {
    while (c->depth && !--c->left[c->depth - 1]) c->depth--;
}

static size_t take_resp(struct connection *c, const uint8_t *data, size_t size) {
    const uint8_t *at = data, *end = data + size, *next;
    while (at < end && (next = line_end(at, end))) {
        long count = strtol((const char *)at + 1, NULL, 10);
        int kind = *at, was_deep = c->depth;
        if (kind == '$' && count >= 0) {
            if (end - next < count + 2) break;
            if (count > STAMP_DIGITS + 32) stamped(c->first, next, (size_t)count);
            else if (memchr(next, '-', (size_t)count)) snprintf(c->last_id, sizeof c->last_id, "%.*s", (int)count, next);
            next += count + 2;
        } else if (kind == '*' && count > 0) {
            if (c->depth == (int)(sizeof c->left / sizeof *c->left)) fail("nested too deep");
            c->left[c->depth++] = (int)count;
            at = next;
            continue;
        } else if (kind == '-') {
            fprintf(stderr, "Redis: %.*s", (int)(next - at), at);
            exit(1);
        }
        element(c);
        if (!c->depth && *c->last_id && was_deep) read_on(c);
        if (!c->depth) begin(c->first); /* PONG, or that it is subscribed */
        at = next;
    }
    return (size_t)(at - data);
}

static void open_sse(struct connection *c, int stalled) {
    (void)stalled;
    say(c, "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
}

static size_t take_sse(struct connection *c, const uint8_t *data, size_t size) {
    const uint8_t *at = data, *end = data + size, *next;
    for (; at < end && (next = line_end(at, end)); at = next) {
        if (next - at > STAMP_DIGITS + 6 && !memcmp(at, "data: ", 6)) stamped(c->first, at + 6, (size_t)(next - at - 6));
        else if (*at == ':') begin(c->first); /* a comment opens the stream */
    }
    return (size_t)(at - data);
}

const struct protocol nats = {"nats", 1, open_nats, take_nats}, sse = {"sse", 1, open_sse, take_sse},
                      redis_pubsub = {"redis-pubsub", 1, open_pubsub, take_resp},
                      redis_stream = {"redis-stream", 1, open_stream, take_resp};
