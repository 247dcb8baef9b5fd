/* See answers.h for what may live here. */
#include "answers.h"

#include <stdlib.h>
#include <string.h>

/* The structures begin with what `retire` takes. */
static void free_form(struct retired *retired) {
    free(retired);
}

static void free_zone(struct retired *retired) {
    free(retired);
}

struct answer *answer_new(void) {
    struct answer *answer = malloc(sizeof *answer);
    if (answer) {
        atomic_init(&answer->references, 1);
        atomic_init(&answer->asked, false);
        atomic_init(&answer->form, NULL);
    }
    return answer;
}

void answer_keep(struct answer *answer) {
    atomic_fetch_add(&answer->references, 1);
}

void answer_release(struct answer *answer) {
    if (answer && atomic_fetch_sub(&answer->references, 1) == 1) {
        free(atomic_load(&answer->form)); /* no table leads here any more, so no reader does */
        free(answer);
    }
}

void answer_set(struct answer *answer, struct form *form) {
    struct form *before = atomic_exchange(&answer->form, form);
    if (before)
        retire(&before->retired, free_form);
}

struct form *form_new(size_t stages, size_t octets) {
    struct form *form = calloc(1, sizeof *form + stages * sizeof *form->stage + octets);
    if (form)
        form->stages = (uint8_t)stages;
    return form;
}

uint8_t *form_octets(struct form *form) {
    return (uint8_t *)(form->stage + form->stages);
}

static bool layout_is_sound(const uint8_t *octets, size_t size, const struct layout *layout) {
    if ((size_t)layout->offset + layout->size > size || (layout->size && !(layout->answers + layout->authorities)))
        return false;
    const uint8_t *record = octets + layout->offset;
    size_t left = layout->size;
    for (unsigned number = 0; number < layout->answers; number++) {
        if (left < 12 || record[0] != 0xC0 || record[1] != HEADER)
            return false;
        size_t taken = 12 + (size_t)read16(record + 10);
        if (taken > left || (number < layout->rotating && taken != layout->step))
            return false;
        record += taken;
        left -= taken;
    }
    return layout->rotating <= layout->answers;
}

bool form_is_sound(struct form *form, size_t octets) {
    for (unsigned number = 0; number < form->stages; number++) {
        const struct stage *stage = &form->stage[number];
        if (!layout_is_sound(form_octets(form), octets, &stage->plain))
            return false;
        if (stage->has_signed && !layout_is_sound(form_octets(form), octets, &stage->with_signatures))
            return false;
    }
    return form->then == THEN_HAND_OVER || form->then == THEN_FORWARD;
}

struct zone *zone_new(enum dnssec dnssec, const uint8_t *soa, size_t size) {
    struct zone *zone = malloc(sizeof *zone + size);
    if (zone) {
        *zone = (struct zone){.dnssec = (uint8_t)dnssec, .soa_size = (uint16_t)size};
        if (size)
            memcpy(zone->soa, soa, size);
    }
    return zone;
}

struct zones *zones_new(size_t count) {
    struct zones *zones = calloc(1, sizeof *zones);
    if (zones && !(zones->zone = calloc(count + 1, sizeof *zones->zone))) {
        free(zones);
        return NULL;
    }
    if (zones)
        atomic_init(&zones->references, 1);
    return zones;
}

void zones_release(struct zones *zones) {
    if (!zones || atomic_fetch_sub(&zones->references, 1) != 1)
        return;
    for (uint32_t number = 0; number < zones->apexes.count; number++)
        free(atomic_load_explicit(&zones->zone[number], memory_order_relaxed));
    names_empty(&zones->apexes);
    free((void *)zones->zone);
    free(zones);
}

void zones_set(struct zones *zones, size_t number, struct zone *zone) {
    struct zone *before = atomic_exchange(&zones->zone[number], zone);
    if (before)
        retire(&before->retired, free_zone);
}

const struct zone *zone_of(const struct zones *zones, const struct question *question) {
    int64_t found = zones ? names_enclosing(&zones->apexes, question) : NOT_THERE;
    return found == NOT_THERE ? NULL : atomic_load(&zones->zone[found]);
}

struct table *table_new(size_t rules, size_t typed) {
    struct table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->rules = calloc(rules + 1, sizeof *table->rules);
    table->typed = calloc(typed + 1, sizeof *table->typed);
    if (!table->rules || !table->typed) {
        table_free(table);
        return NULL;
    }
    return table;
}

void table_free(struct table *table) {
    if (!table)
        return;
    for (size_t number = 0; number < table->typed_count; number++)
        answer_release(table->typed[number].answer);
    ranges_empty(&table->access.ipv4);
    ranges_empty(&table->access.ipv6);
    names_empty(&table->served);
    names_empty(&table->flagged);
    free(table->typed);
    free(table->rules);
    free(table);
}

const struct rule *table_rule(const struct table *table, const struct question *question) {
    int64_t found = question->klass == CLASS_IN ? names_find(&table->flagged, question, 0) : NOT_THERE;
    return found == NOT_THERE ? NULL : &table->rules[found];
}

struct answer *table_answer(const struct table *table, const struct rule *rule, unsigned type) {
    for (unsigned number = 0; rule && number < rule->count; number++)
        if (table->typed[rule->first + number].type == type)
            return table->typed[rule->first + number].answer;
    return NULL;
}
