/* Messages of nameservers, each behind the query that it is held against. The first two octets say where it begins. */
#include "policy.h"

static bool is_whole_name(void *context, const uint8_t *name, size_t size) {
    (void)context;
    must(size && name_size(name, size) == size);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size) {
    const struct policy *policy = fuzz_policy();
    if (size < 2)
        return 0;
    size_t first = read16(octets) % (size - 1);
    uint8_t *query = exact(octets + 2, first), *reply = exact(octets + 2 + first, size - 2 - first);
    size_t reply_size = size - 2 - first, end = question_end(query, first);
    if (end && reply_answers(reply, reply_size, query, end)) {
        if (may_land(policy, reply, reply_size, query, end))
            must(begins_with_alias(reply, reply_size, end));
        (void)any_cname(reply, reply_size, end, is_whole_name, NULL);
    }
    if (reply_size >= HEADER)
        (void)reply_rcode(reply, reply_size);
    uint8_t name[MAX_NAME];
    for (size_t at = 0; at < reply_size; at++)
        must(name_unpack(reply, reply_size, at, name) <= MAX_NAME);
    free(query);
    free(reply);
    return 0;
}
