/* Queries over UDP: from clients, to nameservers, and back. No connection may live here, and no rule of who may ask.
 *
 * A message stays where the kernel put it until the round ends: a forwarded one leaves from there, under another ID. */
#include "datagram.h"

#include <errno.h>
#include <string.h>

#include "outbox.h"

enum { REST_BATCHES = 256 };

static void servfail(struct thread *thread, struct listener *listener, const struct client *client,
                     const uint8_t *query, size_t size) {
    uint8_t *out = scratch_take(thread, ERROR_ROOM);
    outbox_put_reply(thread, listener, client, out, servfail_make(thread, query, size, out));
}

/* The socket to send from: another one after so many queries, and in each round. */
static struct upstream_socket *draw(struct thread *thread, struct part *part, unsigned server) {
    struct upstream_socket *drawn = thread->drawn;
    if (!drawn || drawn->part != part || drawn->server != server || thread->drawn_count >= QUERIES_A_PORT) {
        drawn = thread->drawn = part_draw(part, server, &thread->chance);
        thread->drawn_count = 0;
    }
    thread->drawn_count++;
    return drawn;
}

static bool has_room(struct thread *thread, unsigned server) {
    return count_of(&thread->part->counts[server].pending) < thread->path->limits.pending;
}

/* Sends an admitted query to a server of those in force. `message` may be written to, and must stay. */
static void send_query(struct thread *thread, struct query *query, unsigned server, uint8_t *message) {
    struct part *part = thread->part;
    struct upstream_socket *socket = draw(thread, part, server);
    uint16_t id;
    do
        id = chance_secret(&thread->chance);
    while (pending_find(&thread->pending, socket, id));
    pending_link(&thread->pending, query, socket, id, thread->now);
    query->tried = (uint16_t)(query->tried | 1u << server);
    part->pending++;
    count(&part->counts[server].pending);
    count(&part->counts[server].udp_sent);
    write16(message, id);
    outbox_put_query(thread, query, message);
}

/* Forwards a plain query; `message` may be written to, and must stay until the round ends. */
static void forward(struct thread *thread, struct listener *listener, const struct client *client, uint8_t *message,
                    size_t size, size_t end) {
    const struct limits *limits = &thread->path->limits;
    int server = thread->part ? servers_next(thread->part->servers, BY_DATAGRAM, 0) : -1;
    struct query *query = NULL;
    if (server < 0) {
        servfail(thread, listener, client, message, size);
        return;
    }
    bool greedy = thread->pending.count >= limits->pending / 2 &&
                  pending_share(&thread->pending, client) >= limits->pending_share;
    if (!greedy && has_room(thread, (unsigned)server))
        query = pending_admit(&thread->pending, message, size, client);
    if (!query) {
        count(&thread->counts.overloaded);
        servfail(thread, listener, client, message, size);
        return;
    }
    query->listener = listener;
    query->end = (uint16_t)end;
    send_query(thread, query, (unsigned)server, message);
}

static void unlink_query(struct thread *thread, struct query *query) {
    struct part *part = query->socket->part;
    _Atomic uint64_t *pending = &part->counts[query->socket->server].pending;
    count_set(pending, count_of(pending) - 1);
    part->pending--;
    pending_unlink(&thread->pending, query);
}

/* Asks the next server, or says SERVFAIL. */
static void give_up(struct thread *thread, struct query *query) {
    struct part *part = query->socket->part;
    count_latest(&part->counts[query->socket->server].udp_silent_since, query->sent_at);
    unlink_query(thread, query);
    if (part != thread->part)
        query->tried = 0; /* other nameservers are in force since */
    int server = thread->part ? servers_next(thread->part->servers, BY_DATAGRAM, query->tried) : -1;
    if (server >= 0 && has_room(thread, (unsigned)server)) {
        uint8_t *copy = scratch_take(thread, query->size);
        memcpy(copy, query_octets(query), query->size);
        send_query(thread, query, (unsigned)server, copy);
        return;
    }
    if (server >= 0)
        count(&thread->counts.overloaded);
    servfail(thread, query->listener, &query->client, query_octets(query), query->size);
    pending_release(&thread->pending, query);
}

static struct parcel parcel_of(enum handed_kind kind, struct listener *listener, const struct client *client,
                               const uint8_t *message, size_t size) {
    return (struct parcel){.kind = kind, .listener = listener, .client = client, .message = message, .size = size};
}

static void hand_over_query(struct thread *thread, enum handed_kind kind, struct listener *listener,
                            const struct client *client, const uint8_t *message, size_t size) {
    struct parcel parcel = parcel_of(kind, listener, client, message, size);
    if (hand_over(thread, &parcel))
        return;
    count(&thread->counts.overloaded);
    servfail(thread, listener, client, message, size);
}

static void answer(struct thread *thread, struct listener *listener, const struct client *client, uint8_t *message,
                   size_t size) {
    size_t made = 0;
    uint8_t *out = scratch_take(thread, MAX_UDP_SIZE);
    switch (answer_query(&thread->judgement, &thread->policy, message, size, true, thread->now,
                         chance_turn(&thread->chance), out, &made)) {
    case ANSWERED:
        scratch_give_back(thread, MAX_UDP_SIZE - made);
        count(&thread->counts.udp_flattened);
        outbox_put_reply(thread, listener, client, out, made);
        break;
    case SAYS_NOTHING:
        scratch_give_back(thread, MAX_UDP_SIZE);
        count(&thread->counts.udp_flattened);
        forward(thread, listener, client, message, size, thread->judgement.question.end);
        break;
    case TO_HAND_OVER:
        scratch_give_back(thread, MAX_UDP_SIZE);
        hand_over_query(thread, HANDED_COLD, listener, client, message, size);
    }
}

/* Whether a rate limit lets a judged query pass; else it was seen to. */
static bool within_rates(struct thread *thread, struct listener *listener, const struct client *client,
                         const uint8_t *message, size_t size) {
    struct rates *rates = atomic_load(&thread->path->rates);
    enum verdict verdict = thread->judgement.verdict;
    if (!rates || verdict == VERDICT_DROP || verdict == VERDICT_HAND_OVER)
        return true;
    size_t host_size;
    const uint8_t *host = address_host(&client->address, &host_size);
    enum excess excess = rates_take(rates, host, host_size, verdict != VERDICT_FORWARD, thread->now);
    if (excess == EXCESS_NONE)
        return true;
    count(&thread->counts.limited);
    if (excess == EXCESS_SLIP) {
        uint8_t *out = scratch_take(thread, ERROR_ROOM);
        outbox_put_reply(thread, listener, client, out, truncated_make(out, message, size));
    }
    return false;
}

static void take_query(struct thread *thread, struct listener *listener, const struct client *client, uint8_t *message,
                       size_t size) {
    size_t host_size;
    const uint8_t *host = address_host(&client->address, &host_size);
    struct judgement *judgement = &thread->judgement;
    judge(judgement, &thread->policy, message, size, host, host_size);
    if (!within_rates(thread, listener, client, message, size))
        return;
    switch (judgement->verdict) {
    case VERDICT_DROP:
        count(&thread->counts.udp_dropped);
        count(&thread->counts.malformed);
        break;
    case VERDICT_REFUSE: {
        uint8_t *out = scratch_take(thread, ERROR_ROOM);
        count(&thread->counts.udp_refused);
        outbox_put_reply(thread, listener, client, out, error_make(out, message, size, RCODE_REFUSED, EDE_NONE));
        break;
    }
    case VERDICT_FORWARD:
        count(&thread->counts.udp_forwarded);
        forward(thread, listener, client, message, size, judgement->question.end);
        break;
    case VERDICT_ANSWER:
        answer(thread, listener, client, message, size);
        break;
    case VERDICT_HAND_OVER:
        hand_over_query(thread, HANDED_QUERY, listener, client, message, size);
    }
}

/* Receives a batch behind what this round holds already; how many, and where they begin. */
static int receive(struct thread *thread, int fd, bool from_clients, bool with_destination, unsigned *first) {
    if (ROOM - thread->room_used < BATCH / 4) {
        outbox_flush(thread);
        thread->room_used = 0;
    }
    *first = thread->room_used;
    unsigned count = ROOM - *first < BATCH ? ROOM - *first : BATCH;
    for (unsigned place = *first; place < *first + count; place++) {
        struct msghdr *header = &thread->received[place].msg_hdr;
        header->msg_name = from_clients ? &thread->received_from[place] : NULL;
        header->msg_namelen = from_clients ? sizeof thread->received_from[place] : 0;
        header->msg_control = with_destination ? thread->received_control[place] : NULL;
        header->msg_controllen = with_destination ? CONTROL_ROOM : 0;
    }
    int got = recvmmsg(fd, thread->received + *first, count, MSG_DONTWAIT, NULL);
    if (got > 0)
        thread->room_used += (unsigned)got;
    return got;
}

static int read_batch(struct thread *thread, struct listener *listener) {
    unsigned first;
    int got = receive(thread, listener->watch.fd, true, listener->tells_destination, &first);
    struct client client = {0};
    for (int number = 0; number < got; number++) {
        struct mmsghdr *received = &thread->received[first + (unsigned)number];
        client_take(&client, &received->msg_hdr);
        take_query(thread, listener, &client, received->msg_hdr.msg_iov->iov_base, received->msg_len);
    }
    return got;
}

void datagrams_read_clients(struct thread *thread, struct listener *listener) {
    if (listener->reading)
        read_batch(thread, listener);
}

void datagrams_read_rest(struct thread *thread, struct listener *listener) {
    for (int batch = 0; batch < REST_BATCHES && read_batch(thread, listener) > 0; batch++)
        ;
}

static void deliver(struct thread *thread, struct query *query, uint8_t *reply, size_t size) {
    const uint8_t *asked = query_octets(query);
    count_latency(&thread->counts, &query->socket->part->counts[query->socket->server], thread->now - query->sent_at);
    memcpy(reply, asked, 2);
    bool landed = false;
    if (may_land(&thread->policy, reply, size, asked, query->end)) {
        struct parcel parcel = parcel_of(HANDED_LANDING, query->listener, &query->client, asked, query->size);
        parcel.came = reply;
        parcel.came_size = size;
        landed = hand_over(thread, &parcel);
    }
    if (!landed)
        outbox_put_reply(thread, query->listener, &query->client, reply, size);
    unlink_query(thread, query);
    pending_release(&thread->pending, query);
}

/* Nobody listens there, says the host: nothing that this socket waits for will come. */
static void refused(struct thread *thread, const struct upstream_socket *socket) {
    for (struct query *query = pending_oldest(&thread->pending), *newer; query; query = newer) {
        newer = pending_newer(&thread->pending, query);
        if (query->socket == socket)
            give_up(thread, query);
    }
    outpost_tell(&thread->path->outpost); /* whoever judges health is to look now */
}

void datagrams_read_server(struct thread *thread, struct upstream_socket *socket) {
    struct server_counts *counts = &socket->part->counts[socket->server];
    unsigned first;
    int got = receive(thread, socket->watch.fd, false, false, &first);
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        refused(thread, socket);
    for (int number = 0; number < got; number++) {
        struct mmsghdr *received = &thread->received[first + (unsigned)number];
        uint8_t *reply = received->msg_hdr.msg_iov->iov_base;
        size_t size = received->msg_len;
        struct query *query = NULL;
        if (size >= HEADER)
            query = pending_find(&thread->pending, socket, (uint16_t)read16(reply));
        if (!query || !reply_answers(reply, size, query_octets(query), query->end)) {
            count(&counts->udp_mismatched);
            continue;
        }
        count(&counts->udp_answered);
        count_latest(&counts->udp_heard_at, thread->now);
        if ((reply[3] & 0x0F) != RCODE_SERVFAIL)
            count_latest(&counts->udp_well_at, thread->now);
        else
            count(&counts->servfails);
        deliver(thread, query, reply, size);
    }
}

void datagrams_take_back(struct thread *thread, struct handed *handed) {
    if (handed->back == BACK_FORWARD) {
        size_t end = asks_one_question(handed->octets) ? question_end(handed->octets, handed->size) : 0;
        if (!end) { /* by its question its reply would be known */
            servfail(thread, handed->listener, &handed->client, handed->octets, handed->size);
            return;
        }
        uint8_t *copy = scratch_take(thread, handed->size);
        memcpy(copy, handed->octets, handed->size);
        forward(thread, handed->listener, &handed->client, copy, handed->size, end);
    } else if (handed->back == BACK_REPLY) {
        uint8_t *copy = scratch_take(thread, handed->reply_size);
        memcpy(copy, handed->reply, handed->reply_size);
        outbox_put_reply(thread, handed->listener, &handed->client, copy, handed->reply_size);
    }
}

static void send_again(struct thread *thread, struct query *query) {
    uint8_t *copy = scratch_take(thread, query->size);
    memcpy(copy, query_octets(query), query->size);
    write16(copy, query->id);
    count(&query->socket->part->counts[query->socket->server].udp_sent);
    outbox_put_query(thread, query, copy);
}

void datagrams_sweep(struct thread *thread) {
    struct query *query;
    bool overdue = false;
    while ((query = pending_oldest(&thread->pending))) {
        struct part *part = query->socket->part;
        if (query->sent_at >= thread->now - part->servers->timeout)
            break;
        count(&part->counts[query->socket->server].udp_timeouts);
        overdue = true;
        give_up(thread, query);
    }
    if (overdue)
        outpost_tell(&thread->path->outpost);
    /* With no other server to turn to, what waited for half of the timeout is sent once more (RFC 1035 section 4.2.1).
     */
    while (thread->part &&
           (query = pending_half_overdue(&thread->pending, thread->now - thread->part->servers->timeout / 2)))
        if (servers_has_one(query->socket->part->servers))
            send_again(thread, query);
}
