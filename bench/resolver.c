/* resolver PORT HOT TTL: knows t0.cloud.test, t1…: an A and an AAAA record each.

   The AAAA record of every twentieth target ends with the second (of CLOCK_MONOTONIC) in which it was given, so that
   whoever gets it knows how old it is. SIGUSR1 makes it deaf, and hear again. It prints a line each second: the second,
   questions asked, how many of them about the first HOT targets, questions answered. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <time.h>

#include "sockets.h"

enum { STAMPED = 20 };

static volatile sig_atomic_t deaf;
static uint32_t now;
static struct batch batch;

static void turn(int signal) {
    (void)signal;
    deaf = !deaf;
}

/* Returns the target's number. Letters may be of either case; what is no target is the last one. */
static uint32_t target_number(const uint8_t *message) {
    uint32_t number = 0;
    for (unsigned at = 1; at < message[HEADER]; at++)
        number = number * 10 + (message[HEADER + 1 + at] - '0');
    return number;
}

static size_t reply(uint8_t *message, size_t size, uint32_t number, uint32_t ttl) {
    size_t end = question_end(message, size);
    unsigned type = end ? message[end - 3] : 0;
    bool known = type == 1 || type == 28;
    uint8_t ipv4[4] = {198, 51, 100, (uint8_t)(number % 254 + 1)}, ipv6[16] = {0x20, 1, 0x0D, 0xB8, 0, 7};
    uint32_t last = htonl(number % STAMPED ? number : now);
    memcpy(ipv6 + 12, &last, 4);
    reply_header(message, known);
    message[3] = 0x80; /* recursion available */
    return known ? end + address_record(message + end, type, ttl, type == 1 ? ipv4 : ipv6) : end;
}

int main(int count, char **arguments) {
    must(count == 4, "resolver PORT HOT TTL");
    uint32_t hot = (uint32_t)atoi(arguments[2]), ttl = (uint32_t)atoi(arguments[3]);
    uint32_t asked = 0, asked_hot = 0, answered = 0;
    struct pollfd clients = {.fd = bound_socket(arguments[1]), .events = POLLIN};
    struct sigaction action = {.sa_handler = turn};
    must(!sigaction(SIGUSR1, &action, NULL), "sigaction");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        int ready = poll(&clients, 1, 50);
        struct timespec clock;
        clock_gettime(CLOCK_MONOTONIC, &clock);
        if ((uint32_t)clock.tv_sec != now) {
            if (now)
                printf("%u %u %u %u\n", now, asked, asked_hot, answered);
            now = (uint32_t)clock.tv_sec;
            asked = asked_hot = answered = 0;
        }
        int received = ready > 0 ? receive(&batch, clients.fd) : 0, kept = 0;
        for (int number = 0; number < received; number++) {
            uint32_t target = target_number(batch.octets[number]);
            size_t size = reply(batch.octets[number], batch.messages[number].msg_len, target, ttl);
            asked++;
            asked_hot += target < hot;
            if (!size || deaf)
                continue;
            batch.spans[number].iov_len = size;
            batch.messages[kept++] = batch.messages[number];
        }
        send_all(&batch, clients.fd, kept);
        answered += (uint32_t)(kept > 0 ? kept : 0);
    }
}
