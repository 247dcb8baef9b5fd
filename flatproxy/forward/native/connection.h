/* A client's connection and its own connection to a nameserver, its link. Shared by doors.c, stream.c, link.c and
 * dial.c alone. */
#ifndef FLATPROXY_CONNECTION_H
#define FLATPROXY_CONNECTION_H

#include "buffer.h"
#include "path.h"
#include "stream.h"

enum { CHUNK = 64 * 1024, ATTEMPTS = 2 };

/* One end of the path of a connection's octets. */
struct side {
    struct watch watch;
    struct connection *connection;
    uint32_t events; /* what epoll(7) was told to watch for */
    struct buffer in, out;
    bool full; /* `out` reached its bound, and was not empty since */
};

/* A query under way with the nameserver. */
struct asked {
    struct asked *next;
    int64_t sent_at;
    uint16_t size, end; /* end: of a plain question, else 0 */
    uint8_t attempts;   /* connections that it went out on */
    bool begun;         /* the first message of a transfer has come */
    uint8_t octets[];
};

enum link_state { LINK_CLOSED, LINK_WAITING, LINK_DIALLED, LINK_OPEN };

struct connection {
    struct side client, link;
    struct thread *thread;
    struct connection *older, *newer; /* in the order of arrival */
    struct connection *next_changed, *next_dead, *next_waiting;
    uint64_t serial;
    uint32_t place;
    struct client peer;
    uint16_t host_bucket;
    bool changed, dead, half_closed, finishing;
    uint32_t waiting; /* messages that were handed over */
    int64_t active_at;

    enum link_state link_state;
    struct part *part; /* whose `server` the link leads to */
    unsigned server, tried, adoptions;
    bool setting_up; /* counted as such: not open yet, or open for a moment and nothing came */
    int64_t dialled_at, opened_at;
    struct asked *asked, **asked_end;
    uint32_t asked_count, asked_octets;
};

enum { HOST_BUCKETS = 4096 };

struct streams {
    struct connection *oldest, *newest, *changed, *dead;
    struct connection *waiting, **waiting_end; /* for their turn to connect to a nameserver */
    bool has_turns;                            /* one may have come since */
    struct connection **places; /* of open connections */
    uint32_t limit, limit_a_client, count;
    uint64_t serials;
    uint32_t last_place;
    uint16_t by_host[HOST_BUCKETS]; /* connections by a hash of the client's address */
    bool paused;                    /* some door waits for a descriptor */
    uint8_t *chunk;
};

/* In stream.c. */
void connection_respond(struct connection *connection, const uint8_t *message, size_t size);
void connection_land(struct connection *connection, const struct asked *asked, const uint8_t *reply, size_t size);
void connection_mark(struct connection *connection); /* has it settled when the round ends */
void connection_kill(struct connection *connection); /* cut off now, freed when the round ends */
void connection_watch(struct connection *connection, struct side *side, uint32_t events);
bool side_drain(struct side *side, uint32_t bound); /* sends what it can; false where the other end has gone */

/* In link.c. */
void link_ask(struct connection *connection, const uint8_t *message, size_t size, size_t end);
void link_event(struct connection *connection, uint32_t events);
void link_sweep(struct connection *connection);
void link_fail(struct connection *connection, struct asked **link); /* says SERVFAIL to one query */
void link_connected(struct connection *connection);
void link_lost(struct connection *connection);
void link_close(struct connection *connection); /* and forget what was asked */

/* In dial.c. */

/* Waits for a turn at the best server that has not failed just now; without one, says SERVFAIL to all. */
void dial(struct connection *connection);
void dial_sweep(struct connection *connection);
void dial_waiting(struct thread *thread);            /* connects those whose turn it is */
void settle_link(struct connection *connection);     /* it is no longer being set up: the next one's turn */
void hang_up(struct connection *connection);

/* Takes note that a server did not answer what was sent to it then; whoever judges health is to look now. */
void note_silence(struct thread *thread, struct part *part, unsigned server, int64_t since);

#endif
