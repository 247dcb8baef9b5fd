/* See judge.h for what may live here. */
#include "judge.h"

#include <string.h>

static bool is_guarded(unsigned type) {
    return type == TYPE_AXFR || type == TYPE_IXFR || type == TYPE_TKEY;
}

static bool serves(const struct table *table, const struct question *question) {
    return table->serves_all || names_enclosing(&table->served, question) != NOT_THERE;
}

/* Judges a query for a flagged question; what is odd about it is the nameserver's to answer, or Python's to judge. */
static enum verdict judge_flagged(const struct judgement *judgement, const struct policy *policy,
                                  const struct rule *rule, const uint8_t *message, size_t size) {
    const struct question *question = &judgement->question;
    if (!edns_is_whole(message, size, question->end))
        return only_opt_follows(message, size, question->end) ? VERDICT_FORWARD : VERDICT_HAND_OVER;
    if (rule->hand_over == HAND_SUBNETS ? has_client_subnet(message, size, question->end) : rule->hand_over)
        return VERDICT_HAND_OVER;
    if (wants_dnssec(message, size, question->end)) {
        const struct zone *zone = zone_of(policy->zones, question);
        if (zone && zone->dnssec == DNSSEC_FORWARD)
            return VERDICT_FORWARD;
    }
    return VERDICT_ANSWER;
}

static enum verdict judge_plain(struct judgement *judgement, const struct policy *policy, const uint8_t *message,
                                size_t size) {
    const struct question *question = &judgement->question;
    const struct rule *rule = table_rule(policy->table, question);
    judgement->answer = table_answer(policy->table, rule, question->type);
    if (judgement->answer)
        return judge_flagged(judgement, policy, rule, message, size);
    if (is_guarded(question->type))
        return VERDICT_HAND_OVER;
    if (!serves(policy->table, question))
        return VERDICT_REFUSE;
    return only_opt_follows(message, size, question->end) ? VERDICT_FORWARD : VERDICT_HAND_OVER;
}

void judge(struct judgement *judgement, const struct policy *policy, const uint8_t *message, size_t size,
           const uint8_t *host, size_t host_size) {
    judgement->answer = NULL;
    judgement->plain = false;
    if (size < HEADER || message[2] & FLAG_QR)
        judgement->verdict = VERDICT_DROP;
    else if (!policy->table)
        judgement->verdict = VERDICT_HAND_OVER;
    else if (!access_allows(&policy->table->access, host, host_size))
        judgement->verdict = VERDICT_REFUSE;
    else if (!asks_one_question(message) || !question_read(&judgement->question, message, size))
        judgement->verdict = VERDICT_HAND_OVER;
    else {
        judgement->plain = true;
        judgement->verdict = judge_plain(judgement, policy, message, size);
    }
}

static const struct stage *stage_at(const struct form *form, int64_t now) {
    for (unsigned number = 0; number < form->stages; number++)
        if (now < form->stage[number].until)
            return &form->stage[number];
    return NULL;
}

/* Whole seconds, as many as are left; an answer that may be cached at all never has fewer than it says. */
static uint32_t ttl_at(const struct stage *stage, int64_t now) {
    int64_t left = (stage->counts_to - now) / 1000000000;
    if (!stage->counts_to || left < (int64_t)stage->ttl)
        return stage->ttl;
    return left < INT32_MAX ? (uint32_t)left : INT32_MAX;
}

enum outcome answer_query(const struct judgement *judgement, const struct policy *policy, const uint8_t *message,
                          size_t size, bool udp, int64_t now, uint64_t turn, uint8_t *out, size_t *made) {
    const struct form *form = atomic_load(&judgement->answer->form);
    const struct stage *stage = form ? stage_at(form, now) : NULL;
    if (!stage)
        return form && form->then == THEN_FORWARD ? SAYS_NOTHING : TO_HAND_OVER;
    if (!atomic_load_explicit(&judgement->answer->asked, memory_order_relaxed)) /* seldom written: many read its line */
        atomic_store_explicit(&judgement->answer->asked, true, memory_order_relaxed);
    size_t end = judgement->question.end;
    if (edns_version(message, size, end)) {
        *made = bad_version_make(out, message, end);
        return ANSWERED;
    }
    bool dnssec = wants_dnssec(message, size, end);
    const struct zone *zone = dnssec || stage->denies ? zone_of(policy->zones, &judgement->question) : NULL;
    bool sign = dnssec && zone && zone->dnssec == DNSSEC_SIGN;
    if (sign && !stage->has_signed)
        return TO_HAND_OVER;
    const struct layout *layout = sign ? &stage->with_signatures : &stage->plain;
    const uint8_t *octets = (const uint8_t *)(form->stage + form->stages) + layout->offset;
    struct sections sections = {octets,           layout->size, layout->answers, layout->authorities,
                                layout->rotating, layout->step};
    if (stage->denies && !sign && zone && zone->soa_size)
        sections = (struct sections){.octets = zone->soa, .size = zone->soa_size, .authorities = 1};
    struct reply_terms terms = {
        .ttl = ttl_at(stage, now),
        .limit = udp ? udp_limit(message, size, end) : MAX_MESSAGE,
        .first = layout->rotating > 1 ? (unsigned)(turn % layout->rotating) : 0,
        .extended = stage->extended,
    };
    *made = answer_make(out, message, size, end, &sections, &terms);
    return ANSWERED;
}

bool question_is_flagged(const struct policy *policy, const uint8_t *message, size_t size) {
    struct question question;
    if (!policy->table || !question_read(&question, message, size))
        return false;
    return table_answer(policy->table, table_rule(policy->table, &question), question.type);
}

struct landing {
    const struct policy *policy;
    struct question question;
};

static bool is_flagged(void *context, const uint8_t *name, size_t size) {
    struct landing *landing = context;
    question_name(&landing->question, name, size);
    const struct rule *rule = table_rule(landing->policy->table, &landing->question);
    return table_answer(landing->policy->table, rule, landing->question.type);
}

/* Whether the replies to a question are to be seen, whatever is in them. */
static bool hands_replies(const struct policy *policy, const uint8_t *query, size_t end) {
    struct question question;
    if (!policy->table || !policy->table->hands_replies || !question_read(&question, query, end))
        return false;
    const struct rule *rule = table_rule(policy->table, &question);
    return rule && rule->hand_replies && table_answer(policy->table, rule, question.type);
}

bool may_land(const struct policy *policy, const uint8_t *reply, size_t size, const uint8_t *query, size_t end) {
    if (hands_replies(policy, query, end))
        return true;
    /* The first owner is nearly always a pointer of two octets, with the type behind it. */
    if (size <= end + 4 || (reply[end] >= 0xC0 && reply[end + 3] != TYPE_CNAME && reply[end + 3] != TYPE_DNAME))
        return false;
    if (!policy->table || !policy->table->flagged.count || !begins_with_alias(reply, size, end))
        return false;
    struct landing landing = {.policy = policy};
    landing.question.type = (uint16_t)read16(query + end - 4);
    landing.question.klass = (uint16_t)read16(query + end - 2);
    return any_cname(reply, size, end, is_flagged, &landing);
}
