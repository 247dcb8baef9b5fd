/* See letters.h for what may live here. */
#include "letters.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "path.h"

void mailbox_put(struct mailbox *mailbox, struct letter *letter) {
    letter->next = atomic_load(&mailbox->newest);
    while (!atomic_compare_exchange_weak(&mailbox->newest, &letter->next, letter))
        ;
}

bool mailbox_is_empty(const struct mailbox *mailbox) {
    return !atomic_load(&mailbox->newest);
}

struct letter *mailbox_take(struct mailbox *mailbox) {
    struct letter *newest = atomic_exchange(&mailbox->newest, NULL), *first = NULL;
    while (newest) {
        struct letter *older = newest->next;
        newest->next = first;
        first = newest;
        newest = older;
    }
    return first;
}

static void wake(int fd) {
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one); /* fails only where it is readable anyway */
    (void)written;
}

void outpost_tell(struct outpost *outpost) {
    if (!atomic_exchange(&outpost->told, true))
        wake(outpost->fd);
}

struct letter *outpost_take(struct outpost *outpost) {
    uint64_t times;
    ssize_t got = read(outpost->fd, &times, sizeof times);
    (void)got;
    atomic_store(&outpost->told, false); /* before the taking: what comes later tells again */
    return mailbox_take(&outpost->mailbox);
}

void thread_post(struct thread *thread, struct letter *letter) {
    mailbox_put(&thread->mailbox, letter);
    if (reader_is_outside(&thread->reader)) /* else it looks into its mailbox before it sleeps */
        wake(thread->wake.fd);
}

bool hand_over(struct thread *thread, const struct parcel *parcel) {
    struct outpost *outpost = &thread->path->outpost;
    const struct limits *limits = &thread->path->limits;
    size_t octets = parcel->size + parcel->came_size;
    struct handed *handed = NULL;
    if (atomic_load(&outpost->count) < limits->handed && atomic_load(&outpost->octets) < limits->handed_octets)
        handed = malloc(sizeof *handed + octets);
    if (!handed) {
        count(&thread->counts.not_handed_over);
        return false;
    }
    *handed = (struct handed){
        .letter.kind = LETTER_HANDED,
        .path = thread->path,
        .thread = thread,
        .listener = parcel->listener,
        .client = *parcel->client,
        .connection = parcel->connection,
        .place = parcel->place,
        .kind = parcel->kind,
        .arrived_at = thread->now,
        .size = (uint32_t)parcel->size,
        .came_size = (uint32_t)parcel->came_size,
    };
    memcpy(handed->octets, parcel->message, parcel->size);
    if (parcel->came_size)
        memcpy(handed->octets + parcel->size, parcel->came, parcel->came_size);
    atomic_fetch_add(&outpost->count, 1);
    atomic_fetch_add(&outpost->octets, octets);
    count(&thread->counts.handed_over);
    mailbox_put(&outpost->mailbox, &handed->letter);
    outpost_tell(outpost);
    return true;
}

int handed_return(struct handed *handed, enum handed_back back, const uint8_t *reply, size_t size) {
    if (size) {
        handed->reply = malloc(size);
        if (!handed->reply)
            return -1;
        memcpy(handed->reply, reply, size);
    }
    handed->reply_size = (uint32_t)size;
    handed->back = back;
    thread_post(handed->thread, &handed->letter);
    return 0;
}

void handed_free(struct handed *handed) {
    struct outpost *outpost = &handed->path->outpost;
    atomic_fetch_sub(&outpost->octets, (uint64_t)handed->size + handed->came_size);
    atomic_fetch_sub(&outpost->count, 1);
    free(handed->reply);
    free(handed);
}
