/* A client connection's own connection to the nameserver: to which one it leads, and when it is opened.
 *
 * Few are set up at a time, since a nameserver's listen queue may be short: the others wait, first come, first served.
 * What is asked over it is in link.c. */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"

void note_silence(struct thread *thread, struct part *part, unsigned server, int64_t since) {
    count_latest(&part->counts[server].tcp_silent_since, since);
    outpost_tell(&thread->path->outpost);
}

static void wait_for_turn(struct connection *connection) {
    struct streams *streams = connection->thread->streams;
    connection->link_state = LINK_WAITING;
    connection->next_waiting = NULL;
    streams->has_turns = true; /* perhaps */
    *streams->waiting_end = connection;
    streams->waiting_end = &connection->next_waiting;
}

static void wait_no_longer(struct connection *connection) {
    struct streams *streams = connection->thread->streams;
    struct connection **link = &streams->waiting;
    while (*link != connection)
        link = &(*link)->next_waiting;
    *link = connection->next_waiting;
    if (!*link)
        streams->waiting_end = link;
}

void settle_link(struct connection *connection) {
    if (!connection->setting_up)
        return;
    connection->setting_up = false;
    connection->part->setting_up[connection->server]--;
    connection->thread->streams->has_turns = true;
}

void hang_up(struct connection *connection) {
    settle_link(connection);
    if (connection->link.watch.fd >= 0)
        close(connection->link.watch.fd);
    connection->link.watch.fd = -1;
    if (connection->link_state == LINK_WAITING)
        wait_no_longer(connection);
    if (connection->link_state != LINK_CLOSED)
        connection->part->links--;
    connection->link_state = LINK_CLOSED;
    connection->part = NULL; /* which may be closed from now on */
    connection->link.full = false;
    buffer_clear(&connection->link.in);
    buffer_clear(&connection->link.out);
}

static bool has_turn(const struct connection *connection) {
    return connection->part->setting_up[connection->server] < connection->thread->path->limits.setting_up;
}

/* Begins to connect, and goes on at once where that took no time, as on this machine; false where it fails at once. */
static bool connect_link(struct connection *connection) {
    struct thread *thread = connection->thread;
    const struct servers *servers = connection->part->servers;
    const union address *address = &servers->address[connection->server];
    int on = 1, fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof on);
    connection->link.watch.fd = fd;
    bool open = !connect(fd, &address->any, servers->address_size[connection->server]);
    connection->link.events = open ? EPOLLIN : EPOLLOUT;
    if ((!open && errno != EINPROGRESS) || thread_watch(thread, &connection->link.watch, connection->link.events)) {
        close(fd);
        connection->link.watch.fd = -1;
        return false;
    }
    connection->dialled_at = thread->now;
    connection->setting_up = true;
    connection->part->setting_up[connection->server]++;
    if (open)
        link_connected(connection);
    return true;
}

void dial(struct connection *connection) {
    struct thread *thread = connection->thread;
    struct part *part = thread->part;
    if (connection->adoptions != thread->adoptions)
        connection->tried = 0; /* other nameservers are in force since */
    connection->adoptions = thread->adoptions;
    int server = connection->asked && part ? servers_next(part->servers, BY_STREAM, connection->tried) : -1;
    if (server >= 0) {
        connection->tried |= 1u << server;
        connection->part = part;
        connection->server = (unsigned)server;
        part->links++;
        wait_for_turn(connection);
        return;
    }
    connection->tried = 0;
    while (connection->asked && !connection->dead)
        link_fail(connection, &connection->asked);
}

/* Whether a new connection would not wait where this one does. */
static bool waits_in_vain(const struct connection *connection) {
    const struct part *part = connection->part;
    unsigned others = connection->tried & ~(1u << connection->server);
    return part != connection->thread->part ||
           servers_next(part->servers, BY_STREAM, others) != (int)connection->server;
}

void dial_sweep(struct connection *connection) {
    struct thread *thread = connection->thread;
    if (connection->link_state == LINK_WAITING && waits_in_vain(connection)) {
        connection->tried &= ~(1u << connection->server);
        hang_up(connection);
        dial(connection);
    } else if (connection->link_state == LINK_DIALLED &&
               thread->now - connection->dialled_at > thread->part->servers->timeout) {
        note_silence(thread, connection->part, connection->server, connection->dialled_at);
        hang_up(connection);
        dial(connection);
    } else if (connection->link_state == LINK_OPEN &&
               thread->now - connection->opened_at > thread->path->limits.settled) {
        settle_link(connection);
    }
}

static struct connection *next_with_turn(const struct streams *streams) {
    struct connection *connection = streams->waiting;
    while (connection && !has_turn(connection))
        connection = connection->next_waiting;
    return connection;
}

void dial_waiting(struct thread *thread) {
    struct streams *streams = thread->streams;
    if (!streams->has_turns)
        return;
    streams->has_turns = false;
    for (struct connection *connection; (connection = next_with_turn(streams));) {
        wait_no_longer(connection);
        connection->link_state = LINK_DIALLED;
        if (connect_link(connection))
            continue;
        note_silence(thread, connection->part, connection->server, thread->now);
        hang_up(connection);
        dial(connection);
    }
}
