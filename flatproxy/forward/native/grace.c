/* See grace.h for what may live here, and why it is right. */
#include "grace.h"

#include <pthread.h>

static _Atomic uint64_t current = 1;
/* Writers and the coming and going of readers; never taken by a reader on its way. */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static struct reader *readers;
static struct retired *waiting;

void reader_add(struct reader *reader) {
    atomic_init(&reader->epoch, 0);
    pthread_mutex_lock(&writing);
    reader->next = readers;
    readers = reader;
    pthread_mutex_unlock(&writing);
}

void reader_remove(struct reader *reader) {
    pthread_mutex_lock(&writing);
    struct reader **link = &readers;
    while (*link && *link != reader)
        link = &(*link)->next;
    if (*link)
        *link = reader->next;
    pthread_mutex_unlock(&writing);
}

void reader_enter(struct reader *reader) {
    atomic_store(&reader->epoch, atomic_load(&current));
}

void reader_leave(struct reader *reader) {
    atomic_store(&reader->epoch, 0);
}

bool reader_is_outside(const struct reader *reader) {
    return !atomic_load(&reader->epoch);
}

/* The oldest epoch in which a reader is inside. */
static uint64_t oldest(void) {
    uint64_t least = UINT64_MAX;
    for (struct reader *reader = readers; reader; reader = reader->next) {
        uint64_t epoch = atomic_load(&reader->epoch);
        if (epoch && epoch < least)
            least = epoch;
    }
    return least;
}

size_t reclaim(void) {
    struct retired *free_now = NULL;
    size_t left = 0;
    pthread_mutex_lock(&writing);
    uint64_t inside = oldest();
    for (struct retired **link = &waiting; *link;) {
        struct retired *each = *link;
        if (each->epoch <= inside) {
            *link = each->next;
            each->next = free_now;
            free_now = each;
        } else {
            link = &each->next;
            left++;
        }
    }
    pthread_mutex_unlock(&writing);
    while (free_now) { /* a release may retire something in its turn */
        struct retired *each = free_now;
        free_now = each->next;
        each->release(each);
    }
    return left;
}

void retire(struct retired *what, void (*release)(struct retired *)) {
    if (!what)
        return;
    what->release = release;
    pthread_mutex_lock(&writing);
    what->epoch = atomic_fetch_add(&current, 1) + 1;
    what->next = waiting;
    waiting = what;
    pthread_mutex_unlock(&writing);
    reclaim();
}
