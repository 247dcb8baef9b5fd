/* Names in lower case, their hashes, and maps from names to numbers that never change once they are filled.
 *
 * No socket and no clock may live here. A hash covers a name from its root upwards, so that one pass over a question
 * gives the hash of each of its suffixes. The seed is secret, or names could be chosen that share a place. */
#ifndef FLATPROXY_NAMES_H
#define FLATPROXY_NAMES_H

#include "wire.h"

enum { NAME_PADDING = 8, NOT_THERE = -1 };

/* A question that was read. Entry `labels` of `at` and `hash` is the root's. */
struct question {
    uint16_t end; /* just past it, in the message */
    uint16_t type, klass;
    uint8_t labels; /* without the root */
    uint8_t size;   /* of the name */
    uint8_t at[MAX_LABELS + 1];
    uint8_t name[MAX_NAME + NAME_PADDING]; /* lower case, zeros behind it */
    uint64_t hash[MAX_LABELS + 1];
};

/* Sets the seed of every hash; to be called once, before anything is hashed. */
void names_seed(uint64_t seed);

/* Hashes octets that are no name, such as an address. */
uint64_t octets_hash(const uint8_t *octets, size_t size);

/* Reads the first question; false where its name is not plain labels or it is cut. */
bool question_read(struct question *question, const uint8_t *message, size_t size);

/* Fills in the name of a question: `name` is whole, `size` its octets. */
void question_name(struct question *question, const uint8_t *name, size_t size);

struct names {
    struct name_entry {
        uint32_t tag, offset, value;
    } *entries;
    uint32_t mask, count;
    uint8_t *octets;
    uint32_t size;
};

/* How many names lie there one behind the other; -1 where they are not whole. */
int64_t names_count(const uint8_t *octets, size_t size);

/* Fills an empty map from names laid one behind the other, the first with values[0] and so on; without `values` with 0,
 * 1, 2 … -1 where memory is short, -2 where they are not `count` whole names in lower case, each once. */
int names_fill(struct names *map, const uint8_t *octets, size_t size, const uint32_t *values, size_t count);
void names_empty(struct names *map);

/* The value of the question's name, or of the suffix that begins with this label; NOT_THERE where it is not there. */
int64_t names_find(const struct names *map, const struct question *question, unsigned label);

/* The value of the longest suffix that is there, NOT_THERE where none is. */
int64_t names_enclosing(const struct names *map, const struct question *question);

#endif
