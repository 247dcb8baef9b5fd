/* Messages of clients: whatever they are, the judgement and every reply made here keep to their bounds. */
#include "policy.h"

static void check(const uint8_t *made, size_t size, const uint8_t *message) {
    must(size >= HEADER && made[2] & FLAG_QR && !memcmp(made, message, 2));
}

static void reply_to(const struct judgement *judgement, const struct policy *policy, const uint8_t *message,
                     size_t size, bool udp, uint64_t turn) {
    size_t room = udp ? MAX_UDP_SIZE : MAX_MESSAGE, made = 0;
    uint8_t *out = malloc(room);
    must(out != NULL);
    enum outcome outcome = answer_query(judgement, policy, message, size, udp, FUZZ_NOW, turn, out, &made);
    if (outcome == ANSWERED) {
        check(out, made, message);
        must(!udp || made <= udp_limit(message, size, judgement->question.end));
        (void)reply_rcode(out, made);
    }
    free(out);
}

static void refuse(const uint8_t *message, size_t size) {
    uint8_t *out = malloc(ERROR_ROOM);
    must(out != NULL);
    check(out, error_make(out, message, size, RCODE_SERVFAIL, EDE_NETWORK_ERROR), message);
    size_t cut = truncated_make(out, message, size);
    check(out, cut, message);
    must(cut <= size);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size) {
    static const uint8_t in[] = {10, 1, 2, 3}, out[] = {192, 0, 2, 1};
    const struct policy *policy = fuzz_policy();
    uint8_t *message = exact(octets, size);
    struct judgement judgement;
    judge(&judgement, policy, message, size, out, sizeof out);
    must(judgement.verdict == (size < HEADER || message[2] & FLAG_QR ? VERDICT_DROP : VERDICT_REFUSE));
    judge(&judgement, policy, message, size, in, sizeof in);
    must((judgement.verdict == VERDICT_DROP) == (size < HEADER || message[2] & FLAG_QR));
    if (judgement.verdict == VERDICT_FORWARD || judgement.verdict == VERDICT_ANSWER) {
        must(judgement.plain && asks_one_question(message) && judgement.question.end <= size);
        must(only_opt_follows(message, size, judgement.question.end));
    }
    if (judgement.verdict == VERDICT_ANSWER) {
        must(edns_is_whole(message, size, judgement.question.end));
        for (unsigned turn = 0; turn < 3; turn++)
            reply_to(&judgement, policy, message, size, turn < 2, turn);
    }
    if (size >= HEADER) {
        refuse(message, size);
        (void)question_is_flagged(policy, message, size);
    }
    free(message);
    return 0;
}
