/* Subscribers for bench/fanout: read at the least cost, so that the server is measured.
 *
 *   reader PROTOCOL ADDRESS CONNECTIONS STREAMS STALLED RECORDS [KEY REQUEST_HEX]
 *
 * ADDRESS is unix:PATH or tcp:PORT. Opens STREAMS streams that are read, spread over CONNECTIONS connections, and STALLED more, on
 * as many connections again, whose windows are never opened again (gRPC alone). Prints "open MILLISECONDS" when every stream has
 * begun. Writes records to the file RECORDS until its stdin closes: what one stream got in one look at its socket, by mark.
 */
#include "reader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 4096, LOOK = 256 };

struct record { uint64_t time_ns, mark; uint32_t stream, events; };

static const struct protocol *const protocols[] = {&grpc, &etcd, &nats, &redis_pubsub, &redis_stream, &sse, &websocket};
static struct record last; /* not yet written: more of the same may follow */
static uint64_t look_ns;
static uint32_t waiting;
static FILE *records;

struct stream *streams;
const char *key = "";
const uint8_t *request;
size_t request_bytes;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *what) { perror(what); exit(1); }

void send_all(int fd, const void *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) fail("send");
        data = (const uint8_t *)data + sent;
        size -= (size_t)sent;
    }
}

void begin(uint32_t index) {
    if (!streams[index].begun) streams[index].begun = 1, waiting--;
}

static void write_last(void) {
    if (last.events) fwrite(&last, sizeof last, 1, records);
    last.events = 0;
}

void note(uint32_t index, uint64_t mark, uint32_t events) {
    if (!events) return;
    if (last.events && last.mark == mark && last.stream == index && last.time_ns == look_ns) {
        last.events += events;
        return;
    }
    write_last();
    last = (struct record){look_ns, mark, index, events};
}

void stamped(uint32_t index, const uint8_t *data, size_t size) {
    uint64_t stamp = 0;
    for (size_t i = 0; i < STAMP_DIGITS && i < size; i++) stamp = stamp << 4 | (data[i] <= '9' ? data[i] - '0' : data[i] - 'a' + 10);
    note(index, stamp, 1);
}

static int connected(const char *address) {
    int fd;
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        strncpy(to.sun_path, address + 5, sizeof to.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        while (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) {
            if (errno != EAGAIN) fail("connect"); /* the listener's backlog is full */
            usleep(200);
        }
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address + 4)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    if (fd < 0) fail("socket");
    return fd;
}

static void serve(const struct protocol *protocol, struct connection *c) {
    ssize_t got = recv(c->fd, c->in + c->filled, BUFFER_BYTES - c->filled, 0);
    if (got <= 0) { fprintf(stderr, "the server closed a connection\n"); exit(1); }
    look_ns = now_ns();
    c->filled += (size_t)got;
    size_t used = protocol->take(c, c->in, c->filled);
    if (!used && c->filled == BUFFER_BYTES) { fprintf(stderr, "a message is too long\n"); exit(1); }
    memmove(c->in, c->in + used, c->filled -= used);
}

static void watch(int poller, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

int main(int argc, char **argv) {
    static struct connection connections[MOST_CONNECTIONS];
    static uint8_t bytes[512];
    const struct protocol *protocol = NULL;
    struct rlimit files;
    if (argc != 7 && argc != 9) { fprintf(stderr, "reader PROTOCOL ADDRESS CONNECTIONS STREAMS STALLED RECORDS [KEY REQUEST_HEX]\n"); return 2; }
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (!strcmp(protocols[i]->name, argv[1])) protocol = protocols[i];
    if (!protocol) { fprintf(stderr, "no protocol %s\n", argv[1]); return 2; }
    if (!getrlimit(RLIMIT_NOFILE, &files)) files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    if (argc == 9) {
        key = argv[7], request = bytes, request_bytes = strlen(argv[8]) / 2;
        for (size_t i = 0; i < request_bytes && i < sizeof bytes; i++) sscanf(argv[8] + 2 * i, "%2hhx", &bytes[i]);
    }
    uint32_t each = (uint32_t)atoi(argv[3]), read_count = (uint32_t)atoi(argv[4]), stalled = (uint32_t)atoi(argv[5]);
    if (each * protocol->most_streams < read_count) each = read_count;
    uint32_t count = stalled ? 2 * each : each, opened = 0;
    records = fopen(argv[6], "wb");
    streams = calloc(read_count + stalled, sizeof *streams);
    waiting = read_count + stalled;
    int poller = epoll_create1(0);
    if (!records || !each || count > MOST_CONNECTIONS || poller < 0) fail(argv[6]);
    uint64_t start_ns = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        uint32_t all = i < each ? read_count : stalled, place = i % each;
        c->streams = all / each + (place < all % each);
        c->first = opened;
        c->fd = connected(argv[2]);
        c->in = malloc(BUFFER_BYTES);
        protocol->open(c, i >= each);
        opened += c->streams;
        watch(poller, c->fd, i);
    }
    watch(poller, 0, MOST_CONNECTIONS);
    for (int said = 0, closed = 0; !closed;) {
        struct epoll_event found[LOOK];
        int ready = epoll_wait(poller, found, LOOK, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            char ignored[16];
            if (found[i].data.u32 < MOST_CONNECTIONS) serve(protocol, &connections[found[i].data.u32]);
            else closed = read(0, ignored, sizeof ignored) <= 0;
        }
        if (!said && !waiting) {
            said = printf("open %.1f\n", (double)(now_ns() - start_ns) / 1e6);
            fflush(stdout);
        }
    }
    write_last();
    return fclose(records) != 0;
}
