/* What a flagged question is answered with now and later, and the tables that lead a question there.
 *
 * Everything here is made by whoever holds the policy and read by the packet threads: no socket may live here, and
 * time is passed. An answer outlives the tables that name it, so that a reload finds it as it is. */
#ifndef FLATPROXY_ANSWERS_H
#define FLATPROXY_ANSWERS_H

#include "access.h"
#include "grace.h"
#include "names.h"
#include "wire.h"

enum { MAX_STAGES = 4 };

/* Records of one form of an answer; octets at `offset` of what stands behind the stages. */
struct layout {
    uint32_t offset;
    uint16_t size, answers, authorities, rotating, step;
};

/* One rung of the ladder: what is said until `until`, in nanoseconds of the monotonic clock. */
struct stage {
    int64_t until;
    int64_t counts_to;       /* the TTL is what is left until then; 0: it is `ttl` */
    uint32_t ttl;            /* fixed, or the least that is sent */
    int16_t extended;        /* an extended DNS error, or EDE_NONE */
    bool has_signed, denies; /* denies: an SOA of the name's zone is to be put in */
    struct layout plain, with_signatures;
};

enum last_resort { THEN_HAND_OVER, THEN_FORWARD };

/* What an answer says, from the first stage that is not over; never changed once it is published. */
struct form {
    struct retired retired;
    uint8_t stages;
    uint8_t then; /* when all are over, see `enum last_resort` */
    struct stage stage[];
};

struct answer {
    _Atomic uint32_t references;
    _Atomic bool asked; /* since somebody wanted to know */
    _Atomic(struct form *) form; /* NULL: hand over */
};

struct answer *answer_new(void);
void answer_keep(struct answer *answer);
void answer_release(struct answer *answer);

/* Puts a form in place, at once and for all tables. */
void answer_set(struct answer *answer, struct form *form);

/* A form with room for so many stages and octets; NULL where memory is short. */
struct form *form_new(size_t stages, size_t octets);
uint8_t *form_octets(struct form *form);

/* Whether each layout of a form that has `octets` octets is sound: `answer_make` trusts it. */
bool form_is_sound(struct form *form, size_t octets);

/* What is known of a zone in which flagged names are. */
enum dnssec { DNSSEC_NONE, DNSSEC_FORWARD, DNSSEC_SIGN }; /* what becomes of DO=1 */
struct zone {
    struct retired retired;
    uint8_t dnssec;
    uint16_t soa_size;
    uint8_t soa[]; /* the record, owner uncompressed */
};

struct zones {
    struct retired retired;
    _Atomic uint32_t references;
    struct names apexes;
    _Atomic(struct zone *) *zone;
};

struct zone *zone_new(enum dnssec dnssec, const uint8_t *soa, size_t size);
struct zones *zones_new(size_t count);
void zones_release(struct zones *zones);
void zones_set(struct zones *zones, size_t number, struct zone *zone);

/* The deepest known zone that encloses a name, NULL where none does. */
const struct zone *zone_of(const struct zones *zones, const struct question *question);

/* HAND_REPLIES: all queries, and replies to them; HAND_SUBNETS: queries with an EDNS client subnet. */
enum hand_over { HAND_NOTHING, HAND_ALL, HAND_REPLIES, HAND_SUBNETS };

/* The names with one rule, and what each type is answered with. */
struct rule {
    uint32_t first;
    uint16_t count;
    uint8_t hand_over; /* of what is asked of these types, see `enum hand_over` */
    bool hand_replies; /* and what a nameserver replies to that */
};

struct table {
    struct retired retired;
    struct access access;
    bool serves_all, hands_replies; /* hands_replies: some rule does */
    struct names served, flagged;
    struct rule *rules;
    size_t rule_count;
    struct typed {
        uint16_t type;
        struct answer *answer;
    } *typed;
    size_t typed_count;
};

struct table *table_new(size_t rules, size_t typed);
void table_free(struct table *table);

/* The rule of a name, NULL where it is not flagged; the answer that a rule gives to a type, NULL without one. */
const struct rule *table_rule(const struct table *table, const struct question *question);
struct answer *table_answer(const struct table *table, const struct rule *rule, unsigned type);

#endif
