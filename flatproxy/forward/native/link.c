/* What a client connection has under way with the nameserver, over one connection after another (see dial.c).
 *
 * It keeps what was asked until it is answered, so that a nameserver that closes between queries costs nothing, and
 * one that closes in the middle of an answer costs SERVFAIL, never half a message. Messages keep their IDs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"

static bool is_transfer(const struct asked *asked) {
    unsigned type = asked->end ? read16(asked->octets + asked->end - 4) : 0;
    return type == TYPE_AXFR || type == TYPE_IXFR;
}

/* Takes out a query that `link` leads to. */
static void forget(struct connection *connection, struct asked **link) {
    struct asked *asked = *link;
    *link = asked->next;
    if (!asked->next)
        connection->asked_end = link;
    connection->asked_count--;
    connection->asked_octets -= asked->size;
    free(asked);
}

void link_fail(struct connection *connection, struct asked **link) {
    uint8_t out[ERROR_ROOM];
    size_t made = servfail_make(connection->thread, (*link)->octets, (*link)->size, out);
    forget(connection, link);
    connection_respond(connection, out, made);
}

void link_close(struct connection *connection) {
    hang_up(connection);
    while (connection->asked)
        forget(connection, &connection->asked);
}

static void transmit(struct connection *connection, struct asked *asked) {
    asked->attempts++;
    count(&connection->part->counts[connection->server].tcp_sent);
    if (!buffer_append_framed(&connection->link.out, asked->octets, asked->size))
        connection_kill(connection);
    else if (buffer_size(&connection->link.out) >= connection->thread->path->limits.output)
        connection->link.full = true;
}

void link_ask(struct connection *connection, const uint8_t *message, size_t size, size_t end) {
    struct asked *asked = malloc(sizeof *asked + size);
    if (!asked) {
        uint8_t out[ERROR_ROOM];
        count(&connection->thread->counts.overloaded);
        connection_respond(connection, out, servfail_make(connection->thread, message, size, out));
        return;
    }
    *asked = (struct asked){.sent_at = connection->thread->now, .size = (uint16_t)size, .end = (uint16_t)end};
    memcpy(asked->octets, message, size);
    *connection->asked_end = asked;
    connection->asked_end = &asked->next;
    connection->asked_count++;
    connection->asked_octets += (uint32_t)size;
    if (connection->link_state == LINK_OPEN)
        transmit(connection, asked);
    else if (connection->link_state == LINK_CLOSED)
        dial(connection);
    connection_mark(connection);
}

/* Whether a message is the reply; later ones of a transfer may lack the question (RFC 5936 section 2.2). */
static bool is_answered_by(const struct asked *asked, const uint8_t *came, size_t size) {
    if (size < HEADER || memcmp(came, asked->octets, 2) || !(came[2] & FLAG_QR) ||
        (came[2] ^ asked->octets[2]) & FLAG_OPCODE)
        return false;
    if (!asked->end || (asked->begun && !read16(came + 4)))
        return true;
    return reply_answers(came, size, asked->octets, asked->end);
}

static void came(struct connection *connection, const uint8_t *message, size_t size) {
    struct thread *thread = connection->thread;
    struct server_counts *counts = &connection->part->counts[connection->server];
    struct asked **link = &connection->asked;
    settle_link(connection);
    while (*link && !is_answered_by(*link, message, size))
        link = &(*link)->next;
    struct asked *asked = *link;
    if (!asked) {
        count(&counts->tcp_mismatched);
        return;
    }
    count(&counts->tcp_answered);
    count_latest(&counts->tcp_heard_at, thread->now);
    if ((message[3] & 0x0F) != RCODE_SERVFAIL)
        count_latest(&counts->tcp_well_at, thread->now);
    else
        count(&counts->servfails);
    bool goes_on = is_transfer(asked) && !(message[3] & 0x0F);
    if (!goes_on)
        count_latency(&thread->counts, counts, thread->now - asked->sent_at);
    if (asked->end && may_land(&thread->policy, message, size, asked->octets, asked->end))
        connection_land(connection, asked, message, size);
    else
        connection_respond(connection, message, size);
    if (connection->dead)
        return; /* and nothing is asked any more */
    if (goes_on) {
        asked->begun = true;
        asked->sent_at = thread->now;
    } else {
        forget(connection, link);
    }
}

static size_t take_messages(struct connection *connection, const uint8_t *octets, size_t size) {
    size_t taken = 0;
    while (size - taken >= 2 && !connection->dead && size - taken - 2 >= read16(octets + taken)) {
        size_t message = read16(octets + taken);
        came(connection, octets + taken + 2, message);
        taken += 2 + message;
    }
    return taken;
}

static void read_link(struct connection *connection) {
    uint8_t *chunk = connection->thread->streams->chunk;
    struct buffer *in = &connection->link.in;
    ssize_t got = recv(connection->link.watch.fd, chunk, CHUNK, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        link_lost(connection);
        return;
    }
    size_t size = (size_t)got;
    bool kept = buffer_size(in);
    if (kept && !buffer_append(in, chunk, size)) {
        connection_kill(connection);
        return;
    }
    size_t taken = take_messages(connection, kept ? buffer_begin(in) : chunk, kept ? buffer_size(in) : size);
    if (connection->dead)
        return;
    if (kept)
        buffer_consume(in, taken);
    else if (!buffer_append(in, chunk + taken, size - taken))
        connection_kill(connection);
    buffer_trim(in);
}

/* Begins a connection with who the client is, where the nameserver is to be told. */
static void tell_client(struct connection *connection) {
    uint8_t header[PROXY_ROOM];
    union address asked = {0};
    socklen_t size = sizeof asked;
    if (!connection->part->servers->tells_client)
        return;
    if (getsockname(connection->client.watch.fd, &asked.any, &size) ||
        !buffer_append(&connection->link.out, header, proxy_make(header, &connection->peer, &asked, true)))
        connection_kill(connection);
}

void link_connected(struct connection *connection) {
    connection->link_state = LINK_OPEN;
    connection->opened_at = connection->thread->now;
    connection->tried = 0;
    tell_client(connection);
    for (struct asked *asked = connection->asked, *next; asked && !connection->dead; asked = next) {
        next = asked->next;
        transmit(connection, asked);
    }
    connection_mark(connection);
}

void link_event(struct connection *connection, uint32_t events) {
    if (connection->link_state == LINK_OPEN) {
        if (events & EPOLLIN || (events & (EPOLLHUP | EPOLLERR) && !connection->client.full))
            read_link(connection);
        else if (events & (EPOLLHUP | EPOLLERR))
            link_lost(connection);
        return;
    }
    int reason = 0;
    socklen_t size = sizeof reason;
    getsockopt(connection->link.watch.fd, SOL_SOCKET, SO_ERROR, &reason, &size);
    if (reason || !(events & EPOLLOUT)) {
        note_silence(connection->thread, connection->part, connection->server, connection->dialled_at);
        hang_up(connection);
        dial(connection);
    } else {
        link_connected(connection);
    }
}

void link_lost(struct connection *connection) {
    hang_up(connection);
    for (struct asked **link = &connection->asked; !connection->dead && *link;) {
        if ((*link)->begun) {
            /* Part of a transfer is with the client: whether it was the last part only the client can tell. */
            forget(connection, link);
            connection->finishing = true;
        } else if ((*link)->attempts >= ATTEMPTS) {
            link_fail(connection, link);
        } else {
            link = &(*link)->next;
        }
    }
    if (connection->asked && !connection->dead)
        dial(connection);
    connection_mark(connection);
}

void link_sweep(struct connection *connection) {
    struct thread *thread = connection->thread;
    const struct limits *limits = &thread->path->limits;
    if (!thread->part)
        return;
    dial_sweep(connection);
    if (connection->client.full)
        return; /* what is overdue may be waiting here */
    int64_t timeout = thread->part->servers->timeout;
    int64_t begins = timeout > limits->transfer_begins ? timeout : limits->transfer_begins;
    for (struct asked **link = &connection->asked; !connection->dead && *link;) {
        struct asked *asked = *link;
        int64_t quiet = thread->now - asked->sent_at;
        if (asked->begun && quiet > limits->transfer_pauses) {
            forget(connection, link);
            connection_mark(connection);
        } else if (!asked->begun && quiet > (is_transfer(asked) ? begins : timeout)) {
            if (connection->link_state == LINK_OPEN) {
                count(&connection->part->counts[connection->server].tcp_timeouts);
                note_silence(thread, connection->part, connection->server, asked->sent_at);
            }
            link_fail(connection, link);
        } else {
            link = &asked->next;
        }
    }
}
