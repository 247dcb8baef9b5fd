/* Memory that packet threads may still be reading is freed once none of them can be.
 *
 * Nothing about packets may live here. The rule, which readers and writers keep:
 *   a reader calls `reader_enter` before it loads a shared pointer, and keeps none across `reader_leave`;
 *   a writer first swaps the shared pointer, then calls `retire` with what was there.
 * Both sides use sequentially consistent atomics. The writer's order is: swap, advance the epoch, look at the reader. A
 * reader that was seen outside enters later, and loads the new pointer. One that was seen inside with an epoch as new
 * as the retirement read that epoch after the swap, and loaded the new pointer, too. Any other one is waited for. */
#ifndef FLATPROXY_GRACE_H
#define FLATPROXY_GRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
    _Atomic uint64_t epoch; /* 0 outside */
    struct reader *next;
};

/* Begins what is retired, so that retiring cannot fail for want of memory. */
struct retired {
    struct retired *next;
    uint64_t epoch;
    void (*release)(struct retired *);
};

void reader_add(struct reader *reader);
void reader_remove(struct reader *reader);
void reader_enter(struct reader *reader);
void reader_leave(struct reader *reader);
bool reader_is_outside(const struct reader *reader);

/* Calls `release` with it once no reader can hold it, perhaps at once. NULL is no matter. */
void retire(struct retired *what, void (*release)(struct retired *));

/* Releases what can be; says how many are still waited for. */
size_t reclaim(void);

#endif
