/* A policy for the fuzz targets: example.com is served and flagged, test is signed, lb1.test says NODATA. */
#ifndef FLATPROXY_FUZZ_POLICY_H
#define FLATPROXY_FUZZ_POLICY_H

#include <stdlib.h>
#include <string.h>

#include "judge.h"

enum { FUZZ_NOW = 5 };

static const uint8_t EXAMPLE[] = "\7example\3com";
static const uint8_t LB1[] = "\3lb1\4test";
static const uint8_t TEST[] = "\4test";

static inline void must(int holds) {
    if (!holds)
        abort();
}

/* An answer of so many addresses, the first stage over: what is said is the second one, with an error code. */
static inline struct answer *fuzz_answer(unsigned addresses) {
    struct answer *answer = answer_new();
    size_t size = (size_t)addresses * 16;
    struct form *form = form_new(2, size);
    must(answer && form);
    struct layout layout = {0, (uint16_t)size, (uint16_t)addresses, 0, (uint16_t)addresses, 16};
    form->stage[0] = (struct stage){.until = FUZZ_NOW, .extended = EDE_NONE, .plain = layout};
    form->stage[1] = (struct stage){.until = INT64_MAX,
                                    .counts_to = INT64_C(90000000000),
                                    .ttl = 1,
                                    .extended = 3,
                                    .denies = !addresses,
                                    .plain = layout,
                                    .has_signed = addresses == 2,
                                    .with_signatures = layout};
    for (unsigned number = 0; number < addresses; number++) {
        uint8_t *record = form_octets(form) + number * 16;
        memcpy(record, "\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2", 15);
        record[15] = (uint8_t)number;
    }
    must(form_is_sound(form, size));
    answer_set(answer, form);
    return answer;
}

static inline struct policy *fuzz_policy(void) {
    static struct policy policy;
    if (policy.table)
        return &policy;
    names_seed(42);
    struct table *table = table_new(2, 6);
    must(table != NULL);
    const uint16_t types[] = {1, 28, 255};
    for (unsigned rule = 0; rule < 2; rule++) {
        table->rules[rule] = (struct rule){.first = 3 * rule, .count = 3};
        for (unsigned number = 0; number < 3; number++)
            table->typed[table->typed_count++] = (struct typed){types[number], fuzz_answer(rule          ? 0
                                                                                           : number == 1 ? 100
                                                                                                         : 2)};
    }
    table->rule_count = 2;
    uint8_t flagged[sizeof EXAMPLE + sizeof LB1];
    memcpy(flagged, EXAMPLE, sizeof EXAMPLE);
    memcpy(flagged + sizeof EXAMPLE, LB1, sizeof LB1);
    must(!names_fill(&table->flagged, flagged, sizeof flagged, NULL, 2));
    must(!names_fill(&table->served, EXAMPLE, sizeof EXAMPLE, NULL, 1));
    uint8_t range[8] = {10, 0, 0, 0, 10, 255, 255, 255};
    must(!ranges_fill(&table->access.ipv4, range, sizeof range, IPV4_SIZE));
    struct zones *zones = zones_new(2);
    uint8_t apexes[sizeof TEST + sizeof EXAMPLE], soa[60] = {0};
    memcpy(apexes, TEST, sizeof TEST);
    memcpy(apexes + sizeof TEST, EXAMPLE, sizeof EXAMPLE);
    must(!names_fill(&zones->apexes, apexes, sizeof apexes, NULL, 2));
    zones_set(zones, 0, zone_new(DNSSEC_FORWARD, soa, sizeof soa));
    zones_set(zones, 1, zone_new(DNSSEC_SIGN, soa, sizeof soa));
    policy = (struct policy){table, zones};
    return &policy;
}

/* A copy in memory of exactly its size, so that a sanitizer sees one octet too far. */
static inline uint8_t *exact(const uint8_t *octets, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    must(copy != NULL);
    if (size)
        memcpy(copy, octets, size);
    return copy;
}

#endif
