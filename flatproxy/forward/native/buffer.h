/* Octets that wait for a stream to take or to complete them. Nothing about what they mean may live here. */
#ifndef FLATPROXY_BUFFER_H
#define FLATPROXY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *octets;
    size_t start, end, room;
};

size_t buffer_size(const struct buffer *buffer);
const uint8_t *buffer_begin(const struct buffer *buffer);
bool buffer_append(struct buffer *buffer, const uint8_t *octets, size_t size); /* false where memory is short */
bool buffer_append_framed(struct buffer *buffer, const uint8_t *message,
                          size_t size); /* length first (RFC 1035 4.2.2) */
void buffer_consume(struct buffer *buffer, size_t size);
void buffer_clear(struct buffer *buffer);

/* Gives an empty buffer's memory back, but for what is small enough to keep. */
void buffer_trim(struct buffer *buffer);
void buffer_free(struct buffer *buffer);

#endif
