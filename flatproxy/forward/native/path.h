/* The packet path: its threads, what each of them owns, and what all share.
 *
 * A thread alone touches its sockets, its pending table and its connections. What it shares is atomic: the tables
 * (see grace.h), counts, and letters in both directions (see letters.h). Nothing here knows Python. */
#ifndef FLATPROXY_PATH_H
#define FLATPROXY_PATH_H

#include <pthread.h>
#include <sys/uio.h>

#include "chance.h"
#include "counts.h"
#include "judge.h"
#include "letters.h"
#include "pending.h"
#include "proxy.h"
#include "rates.h"
#include "servers.h"
#include "sockets.h"
#include "watch.h"

enum {
    ROOM = 128,            /* datagrams that one round may hold */
    BATCH = 64,            /* datagrams in one system call */
    DATAGRAM_ROOM = 65600, /* an odd number of cache lines, or all datagrams would compete for the same few */
    SCRATCH_ROOM = 256 * 1024,
    MAX_THREADS = 64,
    PENDING_TABLES = 4 /* a failover fills a second table while the first runs empty */
};

#define SECOND INT64_C(1000000000)
#define TICK (SECOND / 20)

/* The bounds of docs/limits.md, for each thread but for what is handed over; durations in nanoseconds. */
struct limits {
    uint32_t pending, pending_share, connections, connections_a_client, pipeline, pipeline_octets, output;
    uint32_t handed, handed_octets, setting_up;
    int64_t idle, stalled, transfer_begins, transfer_pauses, settled;
};

/* Replies that leave from one socket when the round ends. */
struct outbox {
    unsigned count;
    struct mmsghdr headers[ROOM];
    struct iovec parts[ROOM];
    struct client clients[ROOM];
    _Alignas(struct cmsghdr) uint8_t control[ROOM][CONTROL_ROOM];
};

/* A socket that clients come to: datagrams, or a door for connections. */
struct listener {
    struct watch watch;
    struct thread *thread;
    struct outbox *out; /* datagrams only */
    union address bound;
    bool tells_destination;
    bool left, closing; /* written and read by the policy's thread alone */
    bool reading;
    bool paused; /* a door that found no descriptor */
    struct listener *next;
};

struct streams;

struct thread {
    struct reader reader;
    struct path *path;
    struct counts counts;
    struct mailbox mailbox;
    unsigned number;
    int epoll;
    struct watch wake;
    pthread_t id;
    bool started;

    int64_t now, next_tick;
    bool draining;
    _Atomic bool drained;
    struct policy policy;
    struct judgement judgement;
    struct chance chance;

    struct part *part, *former; /* the nameservers in force, and those that still owe replies */
    unsigned adoptions;         /* how often others came into force */
    struct pending pending;
    struct upstream_socket *drawn;
    unsigned drawn_count, sockets_numbered;

    struct mmsghdr received[ROOM];
    struct iovec received_parts[ROOM];
    union address received_from[ROOM];
    _Alignas(struct cmsghdr) uint8_t received_control[ROOM][CONTROL_ROOM];
    uint8_t *room; /* ROOM times DATAGRAM_ROOM */
    unsigned room_used;
    uint8_t *scratch;
    size_t scratch_used;

    struct mmsghdr queries[ROOM];
    struct iovec query_parts[ROOM][2]; /* the second one is the message */
    uint8_t query_headers[ROOM][PROXY_ROOM];
    struct upstream_socket *query_sockets[ROOM];
    unsigned query_count;

    struct listener *listeners;
    struct streams *streams;
};

struct path {
    _Atomic(struct table *) table;
    _Atomic(struct zones *) zones;
    _Atomic(struct rates *) rates;
    struct limits limits;
    struct outpost outpost;
    _Atomic bool stop;
    bool draining; /* the policy's thread's own note */
    unsigned thread_count;
    struct thread *threads[MAX_THREADS];
    struct counts counts; /* of whoever replies to what was handed over */
};

/* A path with so many threads that are not started yet; NULL with errno where memory or descriptors are short. */
struct path *path_new(unsigned threads, const struct limits *limits);
int path_start(struct path *path); /* an error number, 0 for none */
void path_stop(struct path *path);
void path_free(struct path *path); /* of one that was stopped */

/* Puts tables in force for all threads at once, and takes them over. */
void path_publish(struct path *path, struct table *table);
void path_publish_zones(struct path *path, struct zones *zones);
void path_publish_rates(struct path *path, struct rates *rates);

/* Has a thread listen on a bound socket, which becomes its own; NULL with errno. `tells`: a wildcard address. */
struct listener *path_listen(struct path *path, unsigned thread, int fd, bool tcp, bool tells);
int path_leave(struct path *path, struct listener *listener); /* -1 where memory is short */
int path_close(struct path *path, struct listener *listener);
int path_use_servers(struct path *path, struct servers *servers);
int path_drain(struct path *path);

/* The processor time that a thread has taken, in nanoseconds; 0 where it does not run. */
int64_t path_cpu(const struct path *path, unsigned thread);

/* Queries, connections and handed-over messages under way. */
uint64_t path_under_way(const struct path *path);

int64_t monotonic_ns(void);

/* Within a thread. */
size_t servfail_make(const struct thread *thread, const uint8_t *query, size_t size, uint8_t *out);
int thread_watch(struct thread *thread, struct watch *watch, uint32_t events);

#endif
