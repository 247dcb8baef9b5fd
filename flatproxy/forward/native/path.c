/* The packet path as a whole: what its threads share, and how whoever holds the policy speaks to them.
 *
 * Called by one thread at a time that is none of the packet threads. Nothing about a message may live here. */
#include "path.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"

struct path *path_new(unsigned threads, const struct limits *limits) {
    struct path *path = calloc(1, sizeof *path);
    if (!path)
        return NULL;
    path->limits = *limits;
    path->outpost.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    while (path->outpost.fd >= 0 && path->thread_count < threads) {
        struct thread *thread = thread_new(path, path->thread_count);
        if (!thread)
            break;
        path->threads[path->thread_count++] = thread;
    }
    if (path->thread_count < threads) {
        int reason = errno;
        path_free(path);
        errno = reason;
        return NULL;
    }
    return path;
}

int path_start(struct path *path) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's, but for those that a fault of this thread raises */
    for (size_t number = 0; number < sizeof faults / sizeof *faults; number++)
        sigdelset(&all, faults[number]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (unsigned number = 0; number < path->thread_count && !failed; number++) {
        struct thread *thread = path->threads[number];
        failed = pthread_create(&thread->id, NULL, thread_run, thread);
        thread->started = !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void path_stop(struct path *path) {
    uint64_t one = 1;
    atomic_store(&path->stop, true);
    for (unsigned number = 0; number < path->thread_count; number++) {
        struct thread *thread = path->threads[number];
        if (!thread->started)
            continue;
        while (write(thread->wake.fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(thread->id, NULL);
        thread->started = false;
    }
}

static void free_table(struct retired *retired) {
    table_free((struct table *)retired);
}

static void free_zones(struct retired *retired) {
    zones_release((struct zones *)retired);
}

static void free_rates(struct retired *retired) {
    rates_free((struct rates *)retired);
}

void path_publish(struct path *path, struct table *table) {
    retire((struct retired *)atomic_exchange(&path->table, table), free_table);
}

void path_publish_zones(struct path *path, struct zones *zones) {
    retire((struct retired *)atomic_exchange(&path->zones, zones), free_zones);
}

void path_publish_rates(struct path *path, struct rates *rates) {
    retire((struct retired *)atomic_exchange(&path->rates, rates), free_rates);
}

void path_free(struct path *path) {
    for (struct letter *letter = mailbox_take(&path->outpost.mailbox), *next; letter; letter = next) {
        next = letter->next;
        handed_free((struct handed *)letter);
    }
    for (unsigned number = 0; number < path->thread_count; number++)
        thread_free(path->threads[number]);
    path_publish(path, NULL);
    path_publish_zones(path, NULL);
    path_publish_rates(path, NULL);
    if (path->outpost.fd >= 0)
        close(path->outpost.fd);
    free(path);
}

static int post(struct thread *thread, enum letter_kind kind, struct listener *listener, struct servers *servers) {
    struct command *command = malloc(sizeof *command);
    if (!command)
        return -1;
    *command = (struct command){.letter.kind = kind, .listener = listener, .servers = servers};
    thread_post(thread, &command->letter);
    return 0;
}

struct listener *path_listen(struct path *path, unsigned number, int fd, bool tcp, bool tells) {
    struct listener *listener = calloc(1, sizeof *listener);
    struct outbox *out = tcp ? NULL : calloc(1, sizeof *out);
    struct thread *thread = path->threads[number];
    socklen_t size = sizeof listener->bound;
    if (listener && (tcp || out) && prepare_to_listen(fd, tcp) && !(tells && ask_for_destination(fd)) &&
        !getsockname(fd, &listener->bound.any, &size)) {
        listener->watch = (struct watch){tcp ? WATCH_DOOR : WATCH_DATAGRAMS, fd};
        listener->thread = thread;
        listener->out = out;
        listener->tells_destination = tells;
        if (!post(thread, LETTER_LISTEN, listener, NULL))
            return listener;
    }
    free(listener);
    free(out);
    return NULL;
}

int path_leave(struct path *path, struct listener *listener) {
    (void)path;
    return post(listener->thread, LETTER_LEAVE, listener, NULL);
}

int path_close(struct path *path, struct listener *listener) {
    (void)path;
    if (listener->closing)
        return 0;
    listener->closing = true; /* nobody replies from it but its thread, from now on */
    return post(listener->thread, LETTER_CLOSE, listener, NULL);
}

int path_use_servers(struct path *path, struct servers *servers) {
    struct command *commands[MAX_THREADS];
    for (unsigned number = 0; number < path->thread_count; number++) {
        commands[number] = malloc(sizeof *commands[number]);
        if (!commands[number]) { /* all threads or none */
            while (number--)
                free(commands[number]);
            return -1;
        }
        *commands[number] = (struct command){.letter.kind = LETTER_SERVERS, .servers = servers};
    }
    for (unsigned number = 0; number < path->thread_count; number++) {
        atomic_fetch_add(&servers->references, 1);
        thread_post(path->threads[number], &commands[number]->letter);
    }
    return 0;
}

int path_drain(struct path *path) {
    for (unsigned number = 0; number < path->thread_count; number++)
        if (post(path->threads[number], LETTER_DRAIN, NULL, NULL))
            return -1;
    path->draining = true;
    return 0;
}

int64_t path_cpu(const struct path *path, unsigned number) {
    const struct thread *thread = path->threads[number];
    struct timespec taken;
    clockid_t clock;
    if (!thread->started || pthread_getcpuclockid(thread->id, &clock) || clock_gettime(clock, &taken))
        return 0;
    return (int64_t)taken.tv_sec * SECOND + taken.tv_nsec;
}

uint64_t path_under_way(const struct path *path) {
    uint64_t all = 0;
    for (unsigned number = 0; number < path->thread_count; number++) {
        const struct thread *thread = path->threads[number];
        all += path->draining && !atomic_load(&thread->drained); /* before its counts: they are final then */
        all += count_of(&thread->counts.pending) + count_of(&thread->counts.tcp_connections);
    }
    return all + atomic_load(&path->outpost.count);
}
