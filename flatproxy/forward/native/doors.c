/* Who may connect, and who has to go for it: connections are counted and bounded in all and for each client.
 *
 * At a bound the connection that has been idle for longest makes room, so that idle ones cannot keep anybody out; where
 * none is idle one whose client has closed its half, and may be gone altogether; else the new one is closed. Nothing is
 * read or written here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"
#include "names.h"

enum { ACCEPTS_A_ROUND = 64 };

int streams_new(struct thread *thread) {
    const struct limits *limits = &thread->path->limits;
    struct streams *streams = calloc(1, sizeof *streams);
    if (!streams)
        return -1;
    thread->streams = streams;
    streams->waiting_end = &streams->waiting;
    streams->limit = limits->connections;
    streams->limit_a_client = limits->connections_a_client;
    streams->places = calloc(streams->limit, sizeof *streams->places);
    streams->chunk = malloc(CHUNK);
    return streams->places && streams->chunk ? 0 : -1;
}

void streams_free(struct thread *thread) {
    struct streams *streams = thread->streams;
    while (streams->oldest)
        connection_kill(streams->oldest);
    streams_settle(thread);
    free(streams->places);
    free(streams->chunk);
    free(streams);
    thread->streams = NULL;
}

bool streams_need_time(const struct thread *thread) {
    return thread->streams->count || thread->streams->paused;
}

static bool is_same_host(const struct client *one, const struct client *other) {
    size_t size, other_size;
    const uint8_t *host = address_host(&one->address, &size), *other_host = address_host(&other->address, &other_size);
    return size == other_size && !memcmp(host, other_host, size);
}

/* The connection to close for a new one; of this client's own, or with NULL of all. */
static struct connection *spare(const struct streams *streams, const struct client *client) {
    struct connection *idle = NULL, *half_closed = NULL;
    for (struct connection *each = streams->oldest; each; each = each->newer) {
        if (client && !is_same_host(&each->peer, client))
            continue;
        bool busy = each->waiting || each->asked_count;
        if (!busy && (!idle || each->active_at < idle->active_at))
            idle = each;
        if (each->half_closed && (!half_closed || each->active_at < half_closed->active_at))
            half_closed = each;
    }
    return idle ? idle : half_closed;
}

static bool evict(struct thread *thread, const struct client *client) {
    struct connection *longest = spare(thread->streams, client);
    if (!longest) {
        count(&thread->counts.tcp_refused);
        return false;
    }
    count(&thread->counts.tcp_evicted);
    connection_kill(longest);
    return true;
}

static uint32_t count_of_host(const struct streams *streams, const struct client *client) {
    uint32_t same = 0;
    for (const struct connection *each = streams->oldest; each; each = each->newer)
        same += is_same_host(&each->peer, client);
    return same;
}

static uint16_t bucket_of(const struct client *client) {
    size_t size;
    const uint8_t *host = address_host(&client->address, &size);
    return octets_hash(host, size) % HOST_BUCKETS;
}

/* Makes room for one more of a client; false where that cannot be done. */
static bool has_room(struct thread *thread, const struct client *client, uint16_t bucket) {
    const struct streams *streams = thread->streams;
    /* The bucket may count other hosts, too: only where it is full they are told apart. */
    if (streams->by_host[bucket] >= streams->limit_a_client &&
        count_of_host(streams, client) >= streams->limit_a_client && !evict(thread, client))
        return false;
    return streams->count < streams->limit || evict(thread, NULL);
}

static void enter(struct streams *streams, struct connection *connection) {
    do /* there is room: it was made before */
        streams->last_place = (streams->last_place + 1) % streams->limit;
    while (streams->places[streams->last_place]);
    connection->place = streams->last_place;
    streams->places[connection->place] = connection;
    connection->serial = ++streams->serials;
    connection->older = streams->newest;
    if (streams->newest)
        streams->newest->newer = connection;
    else
        streams->oldest = connection;
    streams->newest = connection;
    streams->by_host[connection->host_bucket]++;
    streams->count++;
    count_set(&connection->thread->counts.tcp_connections, streams->count);
}

void connection_kill(struct connection *connection) {
    struct streams *streams = connection->thread->streams;
    if (connection->dead)
        return;
    connection->dead = true;
    link_close(connection);
    close(connection->client.watch.fd);
    connection->client.watch.fd = -1;
    if (connection->older)
        connection->older->newer = connection->newer;
    else
        streams->oldest = connection->newer;
    if (connection->newer)
        connection->newer->older = connection->older;
    else
        streams->newest = connection->older;
    streams->places[connection->place] = NULL;
    streams->by_host[connection->host_bucket]--;
    streams->count--;
    count_set(&connection->thread->counts.tcp_connections, streams->count);
    connection->next_dead = streams->dead;
    streams->dead = connection;
}

static void admit(struct thread *thread, int fd, const struct client *client, uint16_t bucket) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection) {
        connection->client.watch = (struct watch){WATCH_CLIENT, fd};
        connection->client.events = EPOLLIN;
        connection->client.connection = connection;
        connection->link.watch = (struct watch){WATCH_LINK, -1};
        connection->link.connection = connection;
        connection->thread = thread;
        connection->peer = *client;
        connection->host_bucket = bucket;
        connection->active_at = thread->now;
        connection->asked_end = &connection->asked;
    }
    if (!connection || thread_watch(thread, &connection->client.watch, EPOLLIN)) {
        free(connection);
        close(fd);
        return;
    }
    enter(thread->streams, connection);
}

/* Leaves a door alone until the next tick: a connection that cannot be accepted would wake the thread for ever. */
static void pause_door(struct thread *thread, struct listener *door) {
    struct epoll_event event = {.events = 0, .data.ptr = &door->watch};
    epoll_ctl(thread->epoll, EPOLL_CTL_MOD, door->watch.fd, &event);
    door->paused = thread->streams->paused = true;
}

void doors_open(struct thread *thread) {
    if (!thread->streams->paused)
        return;
    thread->streams->paused = false;
    for (struct listener *door = thread->listeners; door; door = door->next) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &door->watch};
        if (door->paused && door->watch.fd >= 0)
            epoll_ctl(thread->epoll, EPOLL_CTL_MOD, door->watch.fd, &event);
        door->paused = false;
    }
}

void streams_accept(struct thread *thread, struct listener *door) {
    for (int accepted = 0; accepted < ACCEPTS_A_ROUND && door->watch.fd >= 0; accepted++) {
        struct client client = {0};
        socklen_t size = sizeof client.address;
        int fd = accept4(door->watch.fd, &client.address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_door(thread, door);
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        client.address_size = (uint8_t)size;
        uint16_t bucket = bucket_of(&client);
        if (has_room(thread, &client, bucket))
            admit(thread, fd, &client, bucket);
        else
            close(fd);
    }
}
