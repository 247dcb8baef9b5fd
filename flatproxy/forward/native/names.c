/* See names.h for what may live here. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

static uint64_t seed;

void names_seed(uint64_t value) {
    seed = value;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Up to eight octets as a number; reads eight, of which those behind `size` do not count. */
static uint64_t word(const uint8_t *at, size_t size) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return size < 8 ? value & (((uint64_t)1 << (8 * size)) - 1) : value;
}

/* Odd numbers with as many ones as zeros, of no other meaning. */
static const uint64_t STIR = 0x9D2C5680CA6B34F1, CLOSE = 0xB5297A4D3F84D5B5;

static uint64_t extend(uint64_t hash, const uint8_t *at, size_t size) {
    for (; size > 8; at += 8, size -= 8)
        hash = mix(hash ^ word(at, 8), STIR);
    return mix(hash ^ word(at, size), CLOSE + size);
}

uint64_t octets_hash(const uint8_t *octets, size_t size) {
    uint8_t padded[64] = {0};
    memcpy(padded, octets, size < 56 ? size : 56);
    return extend(mix(seed ^ STIR, CLOSE), padded, size < 56 ? size : 56);
}

void question_name(struct question *question, const uint8_t *name, size_t size) {
    unsigned labels = 0;
    size_t offset = 0;
    for (size_t at = 0; at < size; at++)
        question->name[at] = lower(name[at]);
    memset(question->name + size, 0, NAME_PADDING);
    for (; question->name[offset]; offset += question->name[offset] + 1u)
        question->at[labels++] = (uint8_t)offset;
    question->at[labels] = (uint8_t)offset;
    question->labels = (uint8_t)labels;
    question->size = (uint8_t)size;
    uint64_t hash = question->hash[labels] = mix(seed ^ STIR, CLOSE);
    while (labels--) {
        const uint8_t *label = question->name + question->at[labels];
        hash = question->hash[labels] = extend(hash, label, label[0] + 1u);
    }
}

bool question_read(struct question *question, const uint8_t *message, size_t size) {
    size_t end = question_end(message, size);
    if (!end)
        return false;
    question->end = (uint16_t)end;
    question->type = (uint16_t)read16(message + end - 4);
    question->klass = (uint16_t)read16(message + end - 2);
    question_name(question, message + HEADER, end - 4 - HEADER);
    return true;
}

static bool is_lower(const uint8_t *name, size_t size) {
    for (size_t at = 0; at < size; at++)
        if (lower(name[at]) != name[at])
            return false;
    return true;
}

static int put(struct names *map, uint32_t offset, size_t size, uint32_t value) {
    struct question question;
    question_name(&question, map->octets + offset, size);
    if (names_find(map, &question, 0) != NOT_THERE)
        return -2;
    uint32_t place = (uint32_t)question.hash[0] & map->mask;
    while (map->entries[place].offset != UINT32_MAX)
        place = (place + 1) & map->mask;
    map->entries[place] = (struct name_entry){(uint32_t)(question.hash[0] >> 32), offset, value};
    map->count++;
    return 0;
}

int64_t names_count(const uint8_t *octets, size_t size) {
    int64_t count = 0;
    for (size_t offset = 0, name; offset < size; offset += name, count++)
        if (!(name = name_size(octets + offset, size - offset)))
            return -1;
    return count;
}

int names_fill(struct names *map, const uint8_t *octets, size_t size, const uint32_t *values, size_t count) {
    size_t places = 16, offset = 0;
    while (places < 2 * count)
        places *= 2;
    *map = (struct names){0};
    if (size >= UINT32_MAX - NAME_PADDING || places > UINT32_MAX)
        return -2;
    map->entries = malloc(places * sizeof *map->entries);
    map->octets = malloc(size + NAME_PADDING);
    if (!map->entries || !map->octets)
        return -1;
    memset(map->entries, 0xFF, places * sizeof *map->entries);
    if (size)
        memcpy(map->octets, octets, size);
    memset(map->octets + size, 0, NAME_PADDING);
    map->mask = (uint32_t)places - 1;
    map->size = (uint32_t)size;
    for (size_t number = 0; number < count; number++) {
        size_t name = name_size(map->octets + offset, size - offset);
        if (!name || !is_lower(map->octets + offset, name))
            return -2;
        int failed = put(map, (uint32_t)offset, name, values ? values[number] : (uint32_t)number);
        if (failed)
            return failed;
        offset += name;
    }
    return offset == size ? 0 : -2;
}

void names_empty(struct names *map) {
    free(map->entries);
    free(map->octets);
    *map = (struct names){0};
}

int64_t names_find(const struct names *map, const struct question *question, unsigned label) {
    if (!map->count)
        return NOT_THERE;
    uint64_t hash = question->hash[label];
    const uint8_t *name = question->name + question->at[label];
    size_t size = (size_t)question->size - question->at[label];
    for (uint32_t place = (uint32_t)hash & map->mask;; place = (place + 1) & map->mask) {
        const struct name_entry *entry = &map->entries[place];
        if (entry->offset == UINT32_MAX)
            return NOT_THERE;
        if (entry->tag == (uint32_t)(hash >> 32) && entry->offset + size <= map->size &&
            !memcmp(map->octets + entry->offset, name, size))
            return entry->value;
    }
}

int64_t names_enclosing(const struct names *map, const struct question *question) {
    for (unsigned label = 0; map->count && label <= question->labels; label++) {
        int64_t found = names_find(map, question, label);
        if (found != NOT_THERE)
            return found;
    }
    return NOT_THERE;
}
