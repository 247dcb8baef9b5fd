/* What becomes of a client's message, and the reply to a flagged question: pure functions of tables that are published
 * elsewhere. No socket may live here, and time is passed. What is not plain is handed over, never judged here. */
#ifndef FLATPROXY_JUDGE_H
#define FLATPROXY_JUDGE_H

#include "answers.h"

/* The tables of the moment. Without a table everything is handed over. */
struct policy {
    const struct table *table;
    const struct zones *zones;
};

enum verdict { VERDICT_DROP, VERDICT_REFUSE, VERDICT_FORWARD, VERDICT_ANSWER, VERDICT_HAND_OVER };

struct judgement {
    enum verdict verdict;
    bool plain; /* `question` was read */
    struct answer *answer;
    struct question question;
};

void judge(struct judgement *judgement, const struct policy *policy, const uint8_t *message, size_t size,
           const uint8_t *host, size_t host_size);

enum outcome { ANSWERED, SAYS_NOTHING, TO_HAND_OVER };

/* Makes the reply that an answer gives to a judged query; `out` has MAX_MESSAGE octets for TCP, MAX_UDP_SIZE for UDP.
 * `now` is in nanoseconds, `turn` any number: the rotation. */
enum outcome answer_query(const struct judgement *judgement, const struct policy *policy, const uint8_t *message,
                          size_t size, bool udp, int64_t now, uint64_t turn, uint8_t *out, size_t *made);

/* Whether the question of a message is flagged. */
bool question_is_flagged(const struct policy *policy, const uint8_t *message, size_t size);

/* Whether a reply's CNAMEs may reach a flagged name that has an answer for the type that was asked. */
bool may_land(const struct policy *policy, const uint8_t *reply, size_t size, const uint8_t *query, size_t end);

#endif
