/* What Python publishes: forms that are called sound never write too much, maps hold what they were given. */
#include "policy.h"

static void answer_with(const struct layout *layout, const uint8_t *records) {
    static const uint8_t query[] = "\1\2\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0";
    struct sections sections = {records + layout->offset, layout->size,     layout->answers,
                                layout->authorities,      layout->rotating, layout->step};
    size_t limit = (size_t)29 + layout->size;
    uint8_t *out = malloc(limit < ERROR_ROOM ? ERROR_ROOM : limit);
    must(out != NULL);
    for (unsigned first = 0; first < (layout->rotating ? layout->rotating : 1u); first++) {
        struct reply_terms terms = {.ttl = 60, .limit = limit, .first = first, .extended = EDE_NONE};
        must(answer_make(out, query, 29, 29, &sections, &terms) == limit && !(out[2] & FLAG_TC));
    }
    free(out);
}

static void try_names(const uint8_t *octets, size_t size) {
    struct names map;
    int64_t count = names_count(octets, size);
    if (count >= 0 && !names_fill(&map, octets, size, NULL, (size_t)count)) {
        struct question question;
        int64_t number = 0;
        for (size_t at = 0; at < size; number++) {
            size_t name = name_size(octets + at, size - at);
            question_name(&question, octets + at, name);
            must(names_find(&map, &question, 0) == number);
            at += name;
        }
    } else if (count < 0) {
        must(names_fill(&map, octets, size, NULL, 1) < 0);
    } else {
        return names_empty(&map);
    }
    names_empty(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size) {
    if (size < 8)
        return 0;
    size_t records = size - 8;
    struct form *form = form_new(1, records);
    must(form != NULL);
    memcpy(form_octets(form), octets + 8, records);
    struct layout layout = {0, (uint16_t)records, octets[0], octets[1], octets[2], (uint16_t)read16(octets + 4)};
    form->stage[0].plain = layout;
    if (records <= UINT16_MAX && form_is_sound(form, records))
        answer_with(&layout, form_octets(form));
    free(form);
    try_names(octets, size);
    struct ranges ranges;
    if (!ranges_fill(&ranges, octets, size, IPV4_SIZE)) {
        struct access access = {.ipv4 = ranges};
        for (size_t at = 0; at < size; at += IPV4_SIZE)
            must(access_allows(&access, octets + at, IPV4_SIZE));
    }
    ranges_empty(&ranges);
    return 0;
}
