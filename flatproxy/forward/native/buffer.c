/* See buffer.h for what may live here. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 1024, KEPT_ROOM = 4096 };

size_t buffer_size(const struct buffer *buffer) {
    return buffer->end - buffer->start;
}

const uint8_t *buffer_begin(const struct buffer *buffer) {
    return buffer->octets + buffer->start;
}

static bool reserve(struct buffer *buffer, size_t size) {
    if (buffer->room - buffer->end >= size)
        return true;
    if (buffer->start) {
        memmove(buffer->octets, buffer_begin(buffer), buffer_size(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    size_t room = buffer->room ? buffer->room : FIRST_ROOM;
    while (room - buffer->end < size)
        room *= 2;
    if (room == buffer->room)
        return true;
    uint8_t *octets = realloc(buffer->octets, room);
    if (!octets)
        return false;
    buffer->octets = octets;
    buffer->room = room;
    return true;
}

bool buffer_append(struct buffer *buffer, const uint8_t *octets, size_t size) {
    if (!size)
        return true;
    if (!reserve(buffer, size))
        return false;
    memcpy(buffer->octets + buffer->end, octets, size);
    buffer->end += size;
    return true;
}

bool buffer_append_framed(struct buffer *buffer, const uint8_t *message, size_t size) {
    uint8_t length[2] = {(uint8_t)(size >> 8), (uint8_t)size};
    return reserve(buffer, size + sizeof length) && buffer_append(buffer, length, sizeof length) &&
           buffer_append(buffer, message, size);
}

void buffer_consume(struct buffer *buffer, size_t size) {
    buffer->start += size;
    if (buffer->start == buffer->end)
        buffer_clear(buffer);
}

void buffer_clear(struct buffer *buffer) {
    buffer->start = buffer->end = 0;
}

void buffer_trim(struct buffer *buffer) {
    if (!buffer_size(buffer) && buffer->room > KEPT_ROOM)
        buffer_free(buffer);
}

void buffer_free(struct buffer *buffer) {
    free(buffer->octets);
    *buffer = (struct buffer){0};
}
