/* The packet path under everything at once, for a sanitizer: threads, clients that send sound and broken messages over
 * UDP and TCP, a nameserver that answers, mangles and says nothing, and a policy that publishes as fast as it can.
 *
 * `stress SECONDS`; says what was done, and ends with 1 where some part of it was not. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "path.h"

enum { THREADS = 2, CLIENTS = 3, STREAM_EVERY = 50 };

static const uint8_t EXAMPLE[] = "\7example\3com";
static const uint8_t FLAGGED[] = "\1\2\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1";
static const uint8_t WWW[] = "\1\2\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1";
static _Atomic bool over;
static _Atomic long answers, stream_answers;
static uint16_t port, server_port;

static void must(bool holds, const char *what) {
    if (holds)
        return;
    perror(what);
    abort();
}

static union address at(uint16_t where) {
    union address address = {.ipv4 = {.sin_family = AF_INET, .sin_port = htons(where)}};
    address.ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int bound(int kind, uint16_t where) {
    union address address = at(where);
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    must(fd >= 0, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, &address.any, sizeof address.ipv4)) {
        close(fd);
        return -1; /* the port that another socket chose is taken for this kind */
    }
    must(kind == SOCK_DGRAM || !listen(fd, 64), "listen");
    return fd;
}

static uint16_t port_of(int fd) {
    union address address;
    socklen_t size = sizeof address;
    must(!getsockname(fd, &address.any, &size), "getsockname");
    return ntohs(address.ipv4.sin_port);
}

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t message_of(uint8_t *out, uint64_t *state) {
    bool flagged = next(state) & 1;
    size_t size = (flagged ? sizeof FLAGGED : sizeof WWW) - 1;
    memcpy(out, flagged ? FLAGGED : WWW, size);
    if (next(state) % 5 == 0)
        out[next(state) % size] = (uint8_t)next(state);
    return size;
}

/* One connection: whole, cut, half-closed, reset, read or not. */
static void converse(uint64_t *state) {
    uint8_t out[2048], in[512];
    union address address = at(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t used = 0;
    uint64_t mood = next(state);
    if (!connect(fd, &address.any, sizeof address.ipv4)) {
        for (unsigned number = 0; number < 1 + mood % 8; number++) {
            size_t size = message_of(out + used + 2, state);
            write16(out + used, (unsigned)size);
            used += size + 2;
        }
        send(fd, out, mood & 16 ? used - 3 : used, MSG_NOSIGNAL);
        if (mood & 32)
            shutdown(fd, SHUT_WR);
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (mood & 64 && poll(&waiting, 1, 20) > 0 && recv(fd, in, sizeof in, MSG_DONTWAIT) > 0)
            atomic_fetch_add(&stream_answers, 1);
        if (mood & 128)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    }
    close(fd);
}

static void *client(void *argument) {
    uint64_t state = (uint64_t)(uintptr_t)argument * 77777 + 1;
    union address address = at(port);
    uint8_t out[64], in[2048];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(!connect(fd, &address.any, sizeof address.ipv4), "connect");
    for (long turn = 1; !atomic_load(&over); turn++) {
        send(fd, out, message_of(out, &state), MSG_DONTWAIT);
        while (recv(fd, in, sizeof in, MSG_DONTWAIT) > 0)
            atomic_fetch_add(&answers, 1);
        if (turn % 32 == 0)
            usleep(500);
        if (turn % STREAM_EVERY == 0)
            converse(&state);
    }
    close(fd);
    return NULL;
}

/* Makes a reply of a query in its place: sometimes it lands on the flagged name, sometimes it answers nothing. */
static size_t reply_of(uint8_t *message, size_t size, long turn) {
    static const uint8_t alias[] = "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x10";
    message[2] |= FLAG_QR;
    if (turn % 3 == 0) {
        message[7] = 1;
        memcpy(message + size, alias, sizeof alias - 1);
        size += sizeof alias - 1;
    }
    if (turn % 11 == 0)
        message[13] ^= 1;
    return size;
}

static void *nameserver(void *argument) {
    int fd = *(int *)argument;
    uint8_t message[2048];
    for (long turn = 1; !atomic_load(&over); turn++) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        union address from;
        socklen_t size = sizeof from;
        if (poll(&waiting, 1, 10) <= 0)
            continue;
        ssize_t got = recvfrom(fd, message, 1024, MSG_DONTWAIT, &from.any, &size);
        if (got >= HEADER && turn % 7)
            sendto(fd, message, reply_of(message, (size_t)got, turn), MSG_DONTWAIT, &from.any, size);
    }
    return NULL;
}

static void *stream_nameserver(void *argument) {
    int door = *(int *)argument;
    for (long turn = 1; !atomic_load(&over); turn++) {
        struct pollfd waiting = {.fd = door, .events = POLLIN};
        uint8_t message[4096];
        int fd = poll(&waiting, 1, 10) > 0 ? accept4(door, NULL, NULL, SOCK_CLOEXEC) : -1;
        waiting.fd = fd;
        while (fd >= 0 && turn % 5 && poll(&waiting, 1, 5) > 0) {
            ssize_t got = recv(fd, message, 2, MSG_WAITALL);
            size_t size = got == 2 ? read16(message) : 0;
            if (!size || size > 1024 || recv(fd, message + 2, size, MSG_WAITALL) != (ssize_t)size)
                break;
            size = reply_of(message + 2, size, turn);
            write16(message, (unsigned)size);
            send(fd, message, turn % 4 ? size + 2 : 7, MSG_NOSIGNAL);
        }
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

static struct form *form_of(int64_t until) {
    static const uint8_t record[] = "\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1";
    struct form *form = form_new(1, 16);
    must(form, "form");
    form->stage[0] = (struct stage){
        .until = until, .counts_to = until, .ttl = 1, .extended = EDE_NONE, .plain = {0, 16, 1, 0, 1, 16}};
    memcpy(form_octets(form), record, 16);
    return form;
}

static void publish(struct path *path, struct answer *answer) {
    struct table *table = table_new(1, 1);
    struct zones *zones = zones_new(1);
    must(table && zones, "table");
    table->access.everyone = true;
    table->rules[0] = (struct rule){.count = 1};
    table->rule_count = table->typed_count = 1;
    answer_keep(answer);
    table->typed[0] = (struct typed){TYPE_A, answer};
    must(!names_fill(&table->flagged, EXAMPLE, sizeof EXAMPLE, NULL, 1), "names");
    must(!names_fill(&table->served, EXAMPLE, sizeof EXAMPLE, NULL, 1), "names");
    must(!names_fill(&zones->apexes, EXAMPLE, sizeof EXAMPLE, NULL, 1), "names");
    zones_set(zones, 0, zone_new(DNSSEC_FORWARD, EXAMPLE, sizeof EXAMPLE));
    path_publish(path, table);
    path_publish_zones(path, zones);
}

static struct servers *serve(struct path *path) {
    union address addresses[2] = {at(server_port), at(server_port)};
    socklen_t sizes[2] = {sizeof addresses[0].ipv4, sizeof addresses[1].ipv4};
    struct servers *servers = servers_new(addresses, sizes, 2, THREADS, 4, SECOND / 5, false);
    must(servers && !path_use_servers(path, servers), "servers");
    return servers;
}

static void listen_on(struct path *path, struct listener **listeners) {
    for (unsigned number = 0; number < THREADS; number++) {
        listeners[number] = path_listen(path, number, bound(SOCK_DGRAM, port), false, number % 2);
        must(listeners[number], "listen");
    }
}

static long take(struct path *path) {
    long taken = 0;
    uint8_t out[ERROR_ROOM];
    for (struct letter *letter = outpost_take(&path->outpost), *following; letter; letter = following, taken++) {
        following = letter->next;
        struct handed *handed = (struct handed *)letter;
        size_t size = error_make(out, handed->octets, handed->size, RCODE_REFUSED, EDE_NONE);
        if (taken % 3 == 0 && handed->listener && !handed->listener->closing) {
            client_send(handed->listener->watch.fd, &handed->client, out, size);
            handed_free(handed);
        } else {
            handed_return(handed, taken % 3 == 1 ? BACK_REPLY : BACK_FORWARD, out, taken % 3 == 1 ? size : 0);
        }
    }
    return taken;
}

static struct path *make_path(void) {
    struct limits limits = {.pending = 256,
                            .pending_share = 200,
                            .connections = 16,
                            .connections_a_client = 12,
                            .pipeline = 4,
                            .pipeline_octets = 4096,
                            .output = 4096,
                            .handed = 64,
                            .handed_octets = 1 << 20,
                            .setting_up = 2,
                            .idle = SECOND / 5,
                            .stalled = SECOND,
                            .transfer_begins = SECOND,
                            .transfer_pauses = SECOND,
                            .settled = SECOND / 20};
    struct path *path = path_new(THREADS, &limits);
    must(path, "path");
    return path;
}

static int report(const struct path *path, long published, long taken) {
    uint64_t all[8] = {0};
    for (unsigned number = 0; number < THREADS; number++) {
        const struct counts *counts = &path->threads[number]->counts;
        const uint64_t each[] = {count_of(&counts->udp_forwarded),
                                 count_of(&counts->udp_flattened),
                                 count_of(&counts->tcp_forwarded),
                                 count_of(&counts->tcp_flattened),
                                 count_of(&counts->handed_over),
                                 count_of(&counts->rcodes[RCODE_SERVFAIL]),
                                 count_of(&counts->tcp_evicted) + count_of(&counts->tcp_refused),
                                 published > 0};
        for (int which = 0; which < 8; which++)
            all[which] += each[which];
    }
    printf("answers %ld over UDP, %ld over TCP; forwarded %lu and %lu, flattened %lu and %lu, SERVFAIL %lu, "
           "evicted %lu; handed over %lu, taken %ld; published %ld\n",
           atomic_load(&answers), atomic_load(&stream_answers), all[0], all[2], all[1], all[3], all[5], all[6], all[4],
           taken, published);
    bool whole = atomic_load(&answers) && atomic_load(&stream_answers) && taken;
    for (int which = 0; which < 8; which++)
        whole = whole && (all[which] || which == 6); /* a quiet machine evicts nobody */
    return whole ? 0 : 1;
}

int main(int count_arguments, char **arguments) {
    int64_t end = monotonic_ns() + (count_arguments > 1 ? atoi(arguments[1]) : 5) * SECOND;
    names_seed(99);
    struct path *path = make_path();
    struct answer *answer = answer_new();
    struct listener *listeners[THREADS], *former[THREADS];
    int server, server_door;
    do {
        server = bound(SOCK_DGRAM, 0);
        must(server >= 0, "bind");
        server_port = port_of(server);
        server_door = bound(SOCK_STREAM, server_port);
        if (server_door < 0)
            close(server);
    } while (server_door < 0);
    int first = bound(SOCK_STREAM, 0);
    port = port_of(first);
    listen_on(path, listeners);
    must(path_listen(path, 0, first, true, false) && path_listen(path, 1, bound(SOCK_STREAM, port), true, false),
         "listen");
    publish(path, answer);
    servers_release(serve(path));
    must(!path_start(path), "start");
    pthread_t running[CLIENTS + 2];
    pthread_create(&running[0], NULL, nameserver, &server);
    pthread_create(&running[1], NULL, stream_nameserver, &server_door);
    for (uintptr_t number = 0; number < CLIENTS; number++)
        pthread_create(&running[2 + number], NULL, client, (void *)(number + 1));
    long published = 0, taken = 0;
    for (; monotonic_ns() < end; published++) {
        answer_set(answer, published % 4 ? form_of(monotonic_ns() + SECOND * (published % 3)) : NULL);
        if (published % 3 == 0)
            publish(path, answer);
        if (published % 50 == 0)
            path_publish_rates(path, published % 100 ? NULL : rates_new(1000, 2, 1000));
        if (published % 200 == 0)
            servers_release(serve(path));
        if (published % 500 == 0) { /* others listen before these are left: no query is lost */
            memcpy(former, listeners, sizeof former);
            listen_on(path, listeners);
            for (unsigned number = 0; number < THREADS; number++)
                must(!path_leave(path, former[number]) && !path_close(path, former[number]), "leave");
        }
        taken += take(path);
        usleep(200);
    }
    atomic_store(&over, true);
    for (int number = 0; number < CLIENTS + 2; number++)
        pthread_join(running[number], NULL);
    must(!path_drain(path), "drain");
    for (int64_t patience = monotonic_ns() + 3 * SECOND; path_under_way(path) && monotonic_ns() < patience;) {
        taken += take(path);
        usleep(5000);
    }
    must(!path_under_way(path), "something is still under way");
    path_stop(path);
    int failed = report(path, published, taken);
    path_free(path);
    answer_release(answer);
    must(!reclaim(), "something is still retired");
    close(server);
    close(server_door);
    return failed;
}
