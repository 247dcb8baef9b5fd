/* A client's connection: its messages in, replies out, and when it is read from, held back and closed.
 *
 * Whoever reads too slowly stops the other side from sending: nothing is buffered without bound. What is written is
 * gathered and leaves when the round ends. Who may connect is in doors.c, what goes to a nameserver in link.c. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"
#include "outbox.h"

static bool is_busy(const struct connection *connection) {
    return connection->waiting || connection->asked_count;
}

static bool pipeline_is_full(const struct connection *connection) {
    const struct limits *limits = &connection->thread->path->limits;
    return connection->asked_count + connection->waiting >= limits->pipeline ||
           connection->asked_octets >= limits->pipeline_octets;
}

static bool is_held(const struct connection *connection) {
    return connection->finishing || connection->client.full || connection->link.full || pipeline_is_full(connection);
}

void connection_mark(struct connection *connection) {
    struct streams *streams = connection->thread->streams;
    if (connection->changed || connection->dead)
        return;
    connection->changed = true;
    connection->next_changed = streams->changed;
    streams->changed = connection;
}

void connection_watch(struct connection *connection, struct side *side, uint32_t events) {
    if (side->watch.fd < 0 || side->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = &side->watch};
    if (epoll_ctl(connection->thread->epoll, EPOLL_CTL_MOD, side->watch.fd, &event))
        connection_kill(connection);
    side->events = events;
}

bool side_drain(struct side *side, uint32_t bound) {
    while (side->watch.fd >= 0 && buffer_size(&side->out)) {
        ssize_t sent =
            send(side->watch.fd, buffer_begin(&side->out), buffer_size(&side->out), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                return false;
            break;
        }
        buffer_consume(&side->out, (size_t)sent);
    }
    side->full = buffer_size(&side->out) >= bound || (side->full && buffer_size(&side->out));
    return true;
}

void connection_respond(struct connection *connection, const uint8_t *message, size_t size) {
    struct thread *thread = connection->thread;
    if (connection->dead)
        return;
    connection->active_at = thread->now;
    count_rcode(&thread->counts, message, size);
    if (!buffer_append_framed(&connection->client.out, message, size)) {
        connection_kill(connection);
        return;
    }
    if (buffer_size(&connection->client.out) >= thread->path->limits.output)
        connection->client.full = true;
    connection_mark(connection);
}

static bool hand_over_message(struct connection *connection, struct parcel *parcel) {
    parcel->client = &connection->peer;
    parcel->connection = connection->serial;
    parcel->place = connection->place;
    if (!hand_over(connection->thread, parcel))
        return false;
    connection->waiting++;
    return true;
}

void connection_land(struct connection *connection, const struct asked *asked, const uint8_t *reply, size_t size) {
    struct parcel parcel = {
        .kind = HANDED_LANDING, .message = asked->octets, .size = asked->size, .came = reply, .came_size = size};
    if (!hand_over_message(connection, &parcel))
        connection_respond(connection, reply, size);
}

static void hand_over_query(struct connection *connection, enum handed_kind kind, const uint8_t *message, size_t size) {
    struct thread *thread = connection->thread;
    struct parcel parcel = {.kind = kind, .message = message, .size = size};
    if (hand_over_message(connection, &parcel))
        return;
    uint8_t out[ERROR_ROOM];
    count(&thread->counts.overloaded);
    connection_respond(connection, out, servfail_make(thread, message, size, out));
}

static void answer(struct connection *connection, const uint8_t *message, size_t size) {
    struct thread *thread = connection->thread;
    size_t made = 0;
    uint8_t *out = scratch_take(thread, MAX_MESSAGE);
    enum outcome outcome = answer_query(&thread->judgement, &thread->policy, message, size, false, thread->now,
                                        chance_turn(&thread->chance), out, &made);
    scratch_give_back(thread, MAX_MESSAGE);
    if (outcome == TO_HAND_OVER) {
        hand_over_query(connection, HANDED_COLD, message, size);
        return;
    }
    count(&thread->counts.tcp_flattened);
    if (outcome == ANSWERED)
        connection_respond(connection, out, made);
    else
        link_ask(connection, message, size, thread->judgement.question.end);
}

static void refuse(struct connection *connection, const uint8_t *message, size_t size) {
    uint8_t out[ERROR_ROOM];
    count(&connection->thread->counts.tcp_refused_queries);
    connection_respond(connection, out, error_make(out, message, size, RCODE_REFUSED, EDE_NONE));
}

static bool exceeds_rate(struct thread *thread, const uint8_t *host, size_t host_size) {
    struct rates *rates = atomic_load(&thread->path->rates);
    if (!rates || rates_take(rates, host, host_size, false, thread->now) == EXCESS_NONE)
        return false;
    count(&thread->counts.limited);
    return true;
}

static void take_query(struct connection *connection, const uint8_t *message, size_t size) {
    struct thread *thread = connection->thread;
    struct judgement *judgement = &thread->judgement;
    size_t host_size;
    const uint8_t *host = address_host(&connection->peer.address, &host_size);
    connection->active_at = thread->now;
    judge(judgement, &thread->policy, message, size, host, host_size);
    if (judgement->verdict == VERDICT_FORWARD && exceeds_rate(thread, host, host_size))
        judgement->verdict = VERDICT_REFUSE;
    switch (judgement->verdict) {
    case VERDICT_DROP:
        count(&thread->counts.tcp_dropped);
        count(&thread->counts.malformed);
        break;
    case VERDICT_REFUSE:
        refuse(connection, message, size);
        break;
    case VERDICT_FORWARD:
        count(&thread->counts.tcp_forwarded);
        link_ask(connection, message, size, judgement->question.end);
        break;
    case VERDICT_ANSWER:
        answer(connection, message, size);
        break;
    case VERDICT_HAND_OVER:
        hand_over_query(connection, HANDED_QUERY, message, size);
    }
}

/* Takes whole messages until the connection is held; how many octets that were. */
static size_t take_messages(struct connection *connection, const uint8_t *octets, size_t size) {
    uint32_t bound = connection->thread->path->limits.output;
    size_t taken = 0;
    while (size - taken >= 2 && !connection->dead) {
        size_t message = read16(octets + taken);
        if (size - taken - 2 < message)
            break;
        if (connection->client.full && !side_drain(&connection->client, bound)) {
            connection_kill(connection);
            break;
        }
        if (is_held(connection))
            break;
        take_query(connection, octets + taken + 2, message);
        taken += 2 + message;
    }
    return taken;
}

static void take_kept(struct connection *connection) {
    struct buffer *in = &connection->client.in;
    if (buffer_size(in))
        buffer_consume(in, take_messages(connection, buffer_begin(in), buffer_size(in)));
}

static void read_client(struct connection *connection) {
    struct streams *streams = connection->thread->streams;
    struct buffer *in = &connection->client.in;
    ssize_t got = recv(connection->client.watch.fd, streams->chunk, CHUNK, MSG_DONTWAIT);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            connection_kill(connection);
        return;
    }
    if (!got) {
        connection->half_closed = true;
        return;
    }
    size_t taken = buffer_size(in) ? 0 : take_messages(connection, streams->chunk, (size_t)got);
    if (connection->dead)
        return;
    if (!buffer_append(in, streams->chunk + taken, (size_t)got - taken))
        connection_kill(connection);
    else if (!taken)
        take_kept(connection);
}

void streams_event(struct thread *thread, struct watch *watch, uint32_t events) {
    (void)thread;
    struct side *side = (struct side *)watch;
    struct connection *connection = side->connection;
    if (connection->dead)
        return;
    if (watch->kind == WATCH_LINK) {
        if (watch->fd >= 0) /* else it was closed in this round */
            link_event(connection, events);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        connection_kill(connection);
    } else if (events & EPOLLIN && !connection->half_closed) {
        read_client(connection);
    }
    connection_mark(connection);
}

void streams_take_back(struct thread *thread, struct handed *handed) {
    struct connection *connection = thread->streams->places[handed->place];
    if (!connection || connection->serial != handed->connection)
        return; /* the client has gone */
    connection->waiting--;
    connection_mark(connection);
    if (handed->back == BACK_REPLY) {
        connection_respond(connection, handed->reply, handed->reply_size);
    } else if (handed->back == BACK_FORWARD) {
        size_t end = asks_one_question(handed->octets) ? question_end(handed->octets, handed->size) : 0;
        link_ask(connection, handed->octets, handed->size, end);
    }
}

/* Sends what both sides can take. */
static void drain(struct connection *connection) {
    uint32_t bound = connection->thread->path->limits.output;
    bool was_full = connection->client.full;
    if (!connection->dead && connection->link_state == LINK_OPEN && !side_drain(&connection->link, bound))
        link_lost(connection);
    if (!connection->dead && !side_drain(&connection->client, bound))
        connection_kill(connection);
    if (was_full && !connection->client.full)
        connection->active_at = connection->thread->now; /* the client has taken all */
}

static uint32_t wanted(const struct side *side, bool read) {
    return (read ? (uint32_t)EPOLLIN : 0) | (buffer_size(&side->out) ? (uint32_t)EPOLLOUT : 0);
}

/* Sends what was gathered, goes on with what was held back, and says what to wait for next. */
static void settle(struct connection *connection) {
    struct side *client = &connection->client, *link = &connection->link;
    size_t kept;
    drain(connection);
    do { /* sending may make room for more of what was kept */
        kept = buffer_size(&client->in);
        if (!connection->dead)
            take_kept(connection);
        drain(connection);
    } while (!connection->dead && buffer_size(&client->in) < kept && !is_held(connection));
    if ((connection->half_closed || connection->thread->draining) && !is_busy(connection) && !is_held(connection))
        connection->finishing = true;
    if (connection->finishing && !buffer_size(&client->out))
        connection_kill(connection);
    if (connection->dead)
        return;
    buffer_trim(&client->in);
    buffer_trim(&client->out);
    buffer_trim(&link->out);
    connection_watch(connection, client, wanted(client, !connection->half_closed && !is_held(connection)));
    if (!connection->dead && connection->link_state == LINK_OPEN)
        connection_watch(connection, link, wanted(link, !client->full));
}

void streams_settle(struct thread *thread) {
    struct streams *streams = thread->streams;
    do {
        while (streams->changed) {
            struct connection *connection = streams->changed;
            streams->changed = connection->next_changed;
            connection->changed = false;
            if (!connection->dead)
                settle(connection);
        }
        dial_waiting(thread);
    } while (streams->changed);
    while (streams->dead) { /* events of this round may have named them until now */
        struct connection *connection = streams->dead;
        streams->dead = connection->next_dead;
        buffer_free(&connection->client.in);
        buffer_free(&connection->client.out);
        buffer_free(&connection->link.in);
        buffer_free(&connection->link.out);
        free(connection);
    }
}

void streams_sweep(struct thread *thread) {
    const struct limits *limits = &thread->path->limits;
    for (struct connection *connection = thread->streams->oldest, *newer; connection; connection = newer) {
        newer = connection->newer;
        link_sweep(connection);
        int64_t quiet = thread->now - connection->active_at;
        if (!connection->dead && (quiet > limits->stalled || (quiet > limits->idle && !is_busy(connection))))
            connection_kill(connection);
        if (thread->draining)
            connection_mark(connection);
    }
}
