/* Datagrams that wait for the end of a round, and leave in as few system calls as there are sockets.
 *
 * An outbox holds pointers: what they point at stays as it is until `outbox_flush`. What is made here and not received
 * lives in the scratch memory, which is free again after each flush. Nothing about DNS but rcodes may live here. */
#ifndef FLATPROXY_OUTBOX_H
#define FLATPROXY_OUTBOX_H

#include "path.h"

/* Has a reply sent to a client, or a query to a nameserver, when the round ends. */
void outbox_put_reply(struct thread *thread, struct listener *listener, const struct client *client, uint8_t *reply,
                      size_t size);
void outbox_put_query(struct thread *thread, const struct query *query, uint8_t *message);
void outbox_flush(struct thread *thread);

/* Memory until the next flush; where it runs short what was gathered is sent first. `size` is MAX_MESSAGE at most. */
uint8_t *scratch_take(struct thread *thread, size_t size);

/* Gives back the last octets that were taken last. */
void scratch_give_back(struct thread *thread, size_t size);

#endif
