/* answerer PORT LOSS: gives every query the same two addresses, and loses so many of a hundred replies.

   Without losses it is the least that an answer can cost. */
#define _GNU_SOURCE
#include <poll.h>

#include "sockets.h"

static const uint8_t ADDRESSES[2][2][16] = {
    {{198, 51, 100, 1}, {198, 51, 100, 2}},
    {{0x20, 1, 0x0D, 0xB8, 0, 7, [15] = 1}, {0x20, 1, 0x0D, 0xB8, 0, 7, [15] = 2}}};
static struct batch batch;

/* Makes a query its reply in place, and returns its size; an OPT record is cut off. */
static size_t reply(uint8_t *message, size_t size) {
    size_t end = question_end(message, size);
    unsigned type = end ? message[end - 3] : 0;
    bool known = type == 1 || type == 28;
    reply_header(message, known ? 2 : 0);
    for (int number = 0; known && number < 2; number++)
        end += address_record(message + end, type, 60, ADDRESSES[type == 28][number]);
    return end;
}

int main(int count, char **arguments) {
    must(count == 3, "answerer PORT LOSS");
    int loss = atoi(arguments[2]);
    struct pollfd clients = {.fd = bound_socket(arguments[1]), .events = POLLIN};
    for (;;) {
        poll(&clients, 1, -1);
        int received = receive(&batch, clients.fd), kept = 0;
        for (int number = 0; number < received; number++) {
            size_t size = reply(batch.octets[number], batch.messages[number].msg_len);
            if (!size || (loss && random() % 100 < loss))
                continue;
            batch.spans[number].iov_len = size;
            batch.messages[kept++] = batch.messages[number];
        }
        send_all(&batch, clients.fd, kept);
    }
}
