/* Queries over UDP: from clients, to nameservers, and back. */
#ifndef FLATPROXY_DATAGRAM_H
#define FLATPROXY_DATAGRAM_H

#include "path.h"

void datagrams_read_clients(struct thread *thread, struct listener *listener);
void datagrams_read_server(struct thread *thread, struct upstream_socket *socket);

/* Reads what a listener's socket holds before it is left. */
void datagrams_read_rest(struct thread *thread, struct listener *listener);

/* Gives a message that was handed over what came back for it. */
void datagrams_take_back(struct thread *thread, struct handed *handed);

/* Gives up what is overdue. */
void datagrams_sweep(struct thread *thread);

#endif
