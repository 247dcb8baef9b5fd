/* Random numbers: message IDs and ports from the kernel's source, rotation from a generator of no secrecy. */
#ifndef FLATPROXY_CHANCE_H
#define FLATPROXY_CHANCE_H

#include <stdint.h>

enum { CHANCE_POOL = 4096 };

struct chance {
    uint16_t pool[CHANCE_POOL];
    unsigned left;
    uint64_t turn;
};

/* Sixteen bits that nobody can foretell (RFC 5452 section 9.2), fetched from the kernel in bulk. */
uint16_t chance_secret(struct chance *chance);

/* A number for rotation: it must only be even. */
uint64_t chance_turn(struct chance *chance);

#endif
