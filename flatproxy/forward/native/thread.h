/* The making, running and unmaking of a packet thread. */
#ifndef FLATPROXY_THREAD_H
#define FLATPROXY_THREAD_H

#include "path.h"

struct thread *thread_new(struct path *path, unsigned number); /* NULL with errno */
void thread_free(struct thread *thread);                       /* of one that does not run */
void *thread_run(void *thread);                                /* until the path is stopped */

#endif
