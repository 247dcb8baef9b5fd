/* DNS over TCP (RFC 7766): the connections of a packet thread. */
#ifndef FLATPROXY_STREAM_H
#define FLATPROXY_STREAM_H

#include "path.h"

int streams_new(struct thread *thread); /* -1 where memory is short */
void streams_free(struct thread *thread);
void streams_accept(struct thread *thread, struct listener *door);
void doors_open(struct thread *thread); /* listens again where descriptors were short */
void streams_event(struct thread *thread, struct watch *watch, uint32_t events);
void streams_take_back(struct thread *thread, struct handed *handed);
void streams_sweep(struct thread *thread);  /* closes what is idle, gives up what is overdue */
void streams_settle(struct thread *thread); /* sends what was gathered, and frees what was closed */
bool streams_need_time(const struct thread *thread);

#endif
