/* See outbox.h for what may live here. */
#include "outbox.h"

#include <errno.h>

/* Sends to one socket what `headers` hold; says how many the kernel did not take. */
static unsigned send_all(int fd, struct mmsghdr *headers, unsigned count) {
    unsigned done = 0, unsent = 0;
    bool again = true;
    while (done < count) {
        int sent = sendmmsg(fd, headers + done, count - done, MSG_DONTWAIT);
        if (sent > 0) {
            done += (unsigned)sent;
            again = true;
        } else if (errno == EINTR) {
            continue;
        } else if (again && errno == ECONNREFUSED) {
            again = false; /* what was refused is an earlier datagram of this socket: this one has yet to be tried */
        } else {
            done++;
            unsent++;
            again = true;
        }
    }
    return unsent;
}

static void flush_queries(struct thread *thread) {
    for (unsigned first = 0, next; first < thread->query_count; first = next) {
        next = first + 1;
        while (next < thread->query_count && thread->query_sockets[next] == thread->query_sockets[first])
            next++;
        send_all(thread->query_sockets[first]->watch.fd, thread->queries + first, next - first);
    }
    thread->query_count = 0;
    thread->drawn = NULL;
}

static void flush_listener(struct thread *thread, struct listener *listener) {
    unsigned unsent = send_all(listener->watch.fd, listener->out->headers, listener->out->count);
    listener->out->count = 0;
    if (unsent)
        count_set(&thread->counts.unsent, count_of(&thread->counts.unsent) + unsent);
}

void outbox_flush(struct thread *thread) {
    if (thread->query_count)
        flush_queries(thread);
    for (struct listener *listener = thread->listeners; listener; listener = listener->next) {
        if (listener->out && listener->out->count)
            flush_listener(thread, listener);
    }
    thread->scratch_used = 0;
}

void outbox_put_reply(struct thread *thread, struct listener *listener, const struct client *client, uint8_t *reply,
                      size_t size) {
    count_rcode(&thread->counts, reply, size);
    if (listener->watch.fd < 0) {
        count(&thread->counts.unsent);
        return;
    }
    struct outbox *out = listener->out;
    if (out->count == ROOM)
        flush_listener(thread, listener);
    unsigned place = out->count++;
    out->clients[place] = *client;
    out->parts[place] = (struct iovec){reply, size};
    struct msghdr *header = &out->headers[place].msg_hdr;
    header->msg_iov = &out->parts[place];
    header->msg_iovlen = 1;
    header->msg_flags = 0;
    client_address(header, &out->clients[place], out->control[place]);
}

void outbox_put_query(struct thread *thread, const struct query *query, uint8_t *message) {
    if (thread->query_count == ROOM)
        flush_queries(thread);
    unsigned place = thread->query_count++;
    struct iovec *parts = thread->query_parts[place];
    bool tells = query->socket->part->servers->tells_client;
    thread->query_sockets[place] = query->socket;
    parts[1] = (struct iovec){message, query->size};
    if (tells) {
        uint8_t *header = thread->query_headers[place];
        parts[0] = (struct iovec){header, proxy_make(header, &query->client, &query->listener->bound, false)};
    }
    thread->queries[place].msg_hdr = (struct msghdr){.msg_iov = parts + !tells, .msg_iovlen = 1 + tells};
}

uint8_t *scratch_take(struct thread *thread, size_t size) {
    if (thread->scratch_used + size > SCRATCH_ROOM)
        outbox_flush(thread);
    uint8_t *taken = thread->scratch + thread->scratch_used;
    thread->scratch_used += size;
    return taken;
}

void scratch_give_back(struct thread *thread, size_t size) {
    thread->scratch_used -= size;
}
