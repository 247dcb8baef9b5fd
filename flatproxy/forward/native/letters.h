/* Letters between packet threads and whoever holds the policy: messages handed over, what becomes of them, commands.
 *
 * Each direction is a stack of which the receiver takes all at once: a push is one compare-and-swap that cannot fail
 * for want of room, and nothing is popped singly, so that no letter can be taken for another. */
#ifndef FLATPROXY_LETTERS_H
#define FLATPROXY_LETTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sockets.h"

struct thread;
struct path;
struct listener;
struct servers;

enum letter_kind { LETTER_HANDED, LETTER_LISTEN, LETTER_LEAVE, LETTER_CLOSE, LETTER_SERVERS, LETTER_DRAIN };

struct letter {
    struct letter *next;
    enum letter_kind kind;
};

struct mailbox {
    _Atomic(struct letter *) newest;
};

void mailbox_put(struct mailbox *mailbox, struct letter *letter);
bool mailbox_is_empty(const struct mailbox *mailbox);
struct letter *mailbox_take(struct mailbox *mailbox); /* all, oldest first */

/* A command to a thread. */
struct command {
    struct letter letter;
    struct listener *listener;
    struct servers *servers;
};

enum handed_kind { HANDED_QUERY, HANDED_COLD, HANDED_LANDING };
enum handed_back { BACK_NOTHING, BACK_REPLY, BACK_FORWARD };

/* A message that was handed over; who takes it gives it back once, or ends it. */
struct handed {
    struct letter letter;
    struct path *path;
    struct thread *thread;
    struct listener *listener; /* NULL over TCP */
    struct client client;
    uint64_t connection; /* over TCP */
    uint32_t place;
    enum handed_kind kind;
    enum handed_back back;
    int64_t arrived_at;
    uint8_t *reply;
    uint32_t reply_size;
    uint32_t size, came_size;
    uint8_t octets[]; /* the query, then the nameserver's reply where it lands */
};

/* Where handed-over messages wait; `fd` is readable when there are some. */
struct outpost {
    struct mailbox mailbox;
    _Atomic bool told;
    int fd;
    _Atomic uint32_t count; /* of messages that were not ended yet */
    _Atomic uint64_t octets;
};

/* What a thread hands over. */
struct parcel {
    enum handed_kind kind;
    struct listener *listener;
    const struct client *client;
    uint64_t connection;
    uint32_t place;
    const uint8_t *message, *came;
    size_t size, came_size;
};

/* Hands a message over; false where there is no room for it. */
bool hand_over(struct thread *thread, const struct parcel *parcel);

/* Makes `fd` readable. */
void outpost_tell(struct outpost *outpost);
struct letter *outpost_take(struct outpost *outpost);

/* Sends a letter to a thread. */
void thread_post(struct thread *thread, struct letter *letter);

/* Gives a message back to its thread, with a copy of a reply or none; -1 where memory is short. */
int handed_return(struct handed *handed, enum handed_back back, const uint8_t *reply, size_t size);
void handed_free(struct handed *handed);

#endif
