/* See chance.h for what may live here. */
#include "chance.h"

#include <stddef.h>
#include <sys/random.h>
#include <sys/types.h>

static void refill(struct chance *chance) {
    uint8_t *octets = (uint8_t *)chance->pool;
    size_t filled = 0;
    while (filled < sizeof chance->pool) { /* once the source is up, only a signal ends a call early */
        ssize_t got = getrandom(octets + filled, sizeof chance->pool - filled, 0);
        if (got > 0)
            filled += (size_t)got;
    }
    chance->left = CHANCE_POOL;
}

uint16_t chance_secret(struct chance *chance) {
    if (!chance->left)
        refill(chance);
    return chance->pool[--chance->left];
}

/* A 64-bit xorshift; its state must not be 0. */
uint64_t chance_turn(struct chance *chance) {
    uint64_t state = chance->turn ? chance->turn : chance_secret(chance) + 1u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    chance->turn = state;
    return state >> 11;
}
