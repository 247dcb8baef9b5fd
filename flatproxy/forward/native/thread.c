/* A packet thread: what it waits for, in which order it does what came, and when it may be holding shared pointers.
 *
 * One round: letters are opened, what is ready is read, what is overdue is given up, then everything leaves at once.
 * Nothing about a message may live here. */
#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "datagram.h"
#include "outbox.h"
#include "stream.h"

enum { EVENTS = 96, TICK_MS = 50, FOR_EVER = -1 };

int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

size_t servfail_make(const struct thread *thread, const uint8_t *query, size_t size, uint8_t *out) {
    bool flagged = question_is_flagged(&thread->policy, query, size);
    return error_make(out, query, size, RCODE_SERVFAIL, flagged ? EDE_NO_REACHABLE_AUTHORITY : EDE_NETWORK_ERROR);
}

int thread_watch(struct thread *thread, struct watch *watch, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(thread->epoll, EPOLL_CTL_ADD, watch->fd, &event);
}

static void unwatch(struct thread *thread, struct watch *watch) {
    epoll_ctl(thread->epoll, EPOLL_CTL_DEL, watch->fd, &(struct epoll_event){0});
}

/* Closes former nameservers that owe no reply any more. */
static void settle_parts(struct thread *thread) {
    for (struct part **link = &thread->former; *link;) {
        struct part *part = *link;
        if (part->pending || part->links) {
            link = &part->next;
            continue;
        }
        *link = part->next;
        part_close(part);
        servers_release(part->servers);
    }
}

static void use_servers(struct thread *thread, struct servers *servers) {
    struct part *part = &servers->part[thread->number];
    if (thread->part) {
        thread->part->next = thread->former;
        thread->former = thread->part;
    }
    for (unsigned number = 0; number < servers->count * servers->sockets; number++) {
        part->sockets[number].number = (uint16_t)(thread->sockets_numbered++);
        thread_watch(thread, &part->sockets[number].watch, EPOLLIN);
    }
    thread->part = part;
    thread->adoptions++;
}

static void listen_on(struct thread *thread, struct listener *listener) {
    listener->reading = true;
    listener->next = thread->listeners;
    thread->listeners = listener;
    thread_watch(thread, &listener->watch, EPOLLIN);
}

static void leave(struct thread *thread, struct listener *listener) {
    if (!listener->reading)
        return;
    listener->reading = false;
    unwatch(thread, &listener->watch);
    if (listener->watch.kind == WATCH_DATAGRAMS) {
        datagrams_read_rest(thread, listener);
        return;
    }
    close(listener->watch.fd); /* a connection needs its door no more */
    listener->watch.fd = -1;
}

static void close_listener(struct thread *thread, struct listener *listener) {
    leave(thread, listener);
    outbox_flush(thread);
    if (listener->watch.fd >= 0)
        close(listener->watch.fd);
    listener->watch.fd = -1;
    free(listener->out);
    listener->out = NULL;
}

static void drain(struct thread *thread) {
    thread->draining = true;
    for (struct listener *listener = thread->listeners; listener; listener = listener->next)
        leave(thread, listener);
}

static void open_command(struct thread *thread, struct command *command) {
    switch (command->letter.kind) {
    case LETTER_LISTEN:
        listen_on(thread, command->listener);
        break;
    case LETTER_LEAVE:
        leave(thread, command->listener);
        break;
    case LETTER_CLOSE:
        close_listener(thread, command->listener);
        break;
    case LETTER_SERVERS:
        use_servers(thread, command->servers);
        break;
    case LETTER_DRAIN:
        drain(thread);
        break;
    case LETTER_HANDED:
        break;
    }
    free(command);
}

static void open_letters(struct thread *thread) {
    for (struct letter *letter = mailbox_take(&thread->mailbox), *next; letter; letter = next) {
        next = letter->next;
        if (letter->kind != LETTER_HANDED) {
            open_command(thread, (struct command *)letter);
            continue;
        }
        struct handed *handed = (struct handed *)letter;
        if (handed->listener)
            datagrams_take_back(thread, handed);
        else
            streams_take_back(thread, handed);
        handed_free(handed);
    }
}

static void see_to(struct thread *thread, struct watch *watch, uint32_t events) {
    uint64_t times;
    switch (watch->kind) {
    case WATCH_WAKE:
        while (read(watch->fd, &times, sizeof times) < 0 && errno == EINTR)
            ;
        break;
    case WATCH_DATAGRAMS:
        datagrams_read_clients(thread, (struct listener *)watch);
        break;
    case WATCH_SERVER:
        datagrams_read_server(thread, (struct upstream_socket *)watch);
        break;
    case WATCH_DOOR:
        streams_accept(thread, (struct listener *)watch);
        break;
    case WATCH_CLIENT:
    case WATCH_LINK:
        streams_event(thread, watch, events);
    }
}

static bool has_work_by_time(const struct thread *thread) {
    return thread->pending.count || thread->former || thread->draining || streams_need_time(thread);
}

static int wait_ms(const struct thread *thread) {
    if (!mailbox_is_empty(&thread->mailbox))
        return 0; /* put there while this thread was seen inside */
    return has_work_by_time(thread) ? TICK_MS : FOR_EVER;
}

static void tick(struct thread *thread) {
    thread->next_tick = thread->now + TICK;
    datagrams_sweep(thread);
    streams_sweep(thread);
    doors_open(thread);
    settle_parts(thread);
}

static void round_once(struct thread *thread) {
    struct epoll_event events[EVENTS];
    reader_leave(&thread->reader);
    int count_ready = epoll_wait(thread->epoll, events, EVENTS, wait_ms(thread));
    reader_enter(&thread->reader);
    thread->policy.table = atomic_load(&thread->path->table);
    thread->policy.zones = atomic_load(&thread->path->zones);
    thread->now = monotonic_ns();
    open_letters(thread); /* first: what came after a command is to be judged by it */
    for (int number = 0; number < count_ready; number++)
        see_to(thread, events[number].data.ptr, events[number].events);
    if (thread->now >= thread->next_tick)
        tick(thread);
    streams_settle(thread);
    outbox_flush(thread);
    thread->room_used = 0;
    count_set(&thread->counts.pending, thread->pending.count);
    count(&thread->counts.rounds);
    if (thread->draining)
        atomic_store(&thread->drained, true);
}

void *thread_run(void *argument) {
    struct thread *thread = argument;
    char name[16];
    snprintf(name, sizeof name, "packets-%u", thread->number);
    pthread_setname_np(pthread_self(), name);
    while (!atomic_load(&thread->path->stop))
        round_once(thread);
    reader_leave(&thread->reader);
    return NULL;
}

static void point_at_room(struct thread *thread) {
    for (unsigned place = 0; place < ROOM; place++) {
        thread->received_parts[place] = (struct iovec){thread->room + (size_t)place * DATAGRAM_ROOM, DATAGRAM_ROOM};
        thread->received[place].msg_hdr = (struct msghdr){.msg_iov = &thread->received_parts[place], .msg_iovlen = 1};
    }
}

struct thread *thread_new(struct path *path, unsigned number) {
    size_t size = (sizeof(struct thread) + 63) / 64 * 64; /* no thread counts on a line of another's */
    struct thread *thread = aligned_alloc(64, size);
    if (!thread)
        return NULL;
    memset(thread, 0, size);
    thread->path = path;
    thread->number = number;
    thread->room = MAP_FAILED;
    reader_add(&thread->reader);
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    thread->wake = (struct watch){WATCH_WAKE, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    thread->room = mmap(NULL, (size_t)ROOM * DATAGRAM_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    thread->scratch = malloc(SCRATCH_ROOM);
    int failed = pending_init(&thread->pending, path->limits.pending * PENDING_TABLES);
    if (failed || thread->epoll < 0 || thread->wake.fd < 0 || thread->room == MAP_FAILED || !thread->scratch ||
        streams_new(thread) || thread_watch(thread, &thread->wake, EPOLLIN)) {
        int reason = errno;
        thread_free(thread);
        errno = reason;
        return NULL;
    }
    point_at_room(thread);
    return thread;
}

static void free_listener(struct listener *listener) {
    if (listener->watch.fd >= 0)
        close(listener->watch.fd);
    free(listener->out);
    free(listener);
}

static void burn_letters(struct thread *thread) {
    for (struct letter *letter = mailbox_take(&thread->mailbox), *next; letter; letter = next) {
        next = letter->next;
        if (letter->kind == LETTER_HANDED) {
            handed_free((struct handed *)letter);
            continue;
        }
        struct command *command = (struct command *)letter;
        if (letter->kind == LETTER_LISTEN)
            free_listener(command->listener);
        if (letter->kind == LETTER_SERVERS)
            servers_release(command->servers);
        free(command);
    }
}

void thread_free(struct thread *thread) {
    burn_letters(thread);
    if (thread->streams)
        streams_free(thread);
    pending_end(&thread->pending);
    for (struct part *part = thread->former; part; part = part->next)
        part->pending = part->links = 0;
    settle_parts(thread);
    if (thread->part)
        servers_release(thread->part->servers);
    for (struct listener *listener = thread->listeners, *next; listener; listener = next) {
        next = listener->next;
        free_listener(listener);
    }
    if (thread->epoll >= 0)
        close(thread->epoll);
    if (thread->wake.fd >= 0)
        close(thread->wake.fd);
    if (thread->room != MAP_FAILED)
        munmap(thread->room, (size_t)ROOM * DATAGRAM_ROOM);
    free(thread->scratch);
    reader_remove(&thread->reader);
    free(thread);
}
