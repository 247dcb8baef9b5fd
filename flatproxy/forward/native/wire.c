/* See wire.h for what may live here. */
#include "wire.h"

#include <string.h>

enum { OPTION_CLIENT_SUBNET = 8, OPTION_COOKIE = 10, OPTION_EDE = 15 };
enum { DO_BIT = 0x80, RR_FIXED = 10, POINTER = 0xC0, MAX_JUMPS = 64 };

unsigned read16(const uint8_t *at) {
    return (unsigned)at[0] << 8 | at[1];
}

void write16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

void write32(uint8_t *at, uint32_t value) {
    write16(at, value >> 16);
    write16(at + 2, value & 0xFFFF);
}

uint8_t lower(uint8_t octet) {
    return (uint8_t)(octet - 'A') < 26 ? octet | 0x20 : octet;
}

size_t name_size(const uint8_t *at, size_t size) {
    size_t offset = 0;
    while (offset < size && at[offset]) {
        if (at[offset] > 63)
            return 0;
        offset += at[offset] + 1u;
    }
    return offset < size && offset < MAX_NAME ? offset + 1 : 0;
}

size_t question_end(const uint8_t *message, size_t size) {
    size_t name = size > HEADER ? name_size(message + HEADER, size - HEADER) : 0;
    return name && HEADER + name + 4 <= size ? HEADER + name + 4 : 0;
}

bool asks_one_question(const uint8_t *message) {
    return !(message[2] & FLAG_OPCODE) && read16(message + 4) == 1;
}

static bool options_are_whole(const uint8_t *message, size_t size, size_t at) {
    while (at + 4 <= size) {
        unsigned code = read16(message + at), length = read16(message + at + 2);
        if (code == OPTION_COOKIE && length != 8 && (length < 16 || length > 40))
            return false;
        at += 4 + length;
    }
    return at == size;
}

static bool opt_begins(const uint8_t *message, size_t size, size_t at) {
    return at + 3 <= size && !message[at] && read16(message + at + 1) == TYPE_OPT;
}

bool edns_is_whole(const uint8_t *message, size_t size, size_t end) {
    if (read16(message + 6) || read16(message + 8))
        return false;
    unsigned additional = read16(message + 10);
    if (!additional)
        return size == end;
    if (additional != 1 || !opt_begins(message, size, end) || size < end + OPT_FIXED)
        return false;
    if (size != end + OPT_FIXED + read16(message + end + 9))
        return false;
    return options_are_whole(message, size, end + OPT_FIXED);
}

bool has_client_subnet(const uint8_t *message, size_t size, size_t end) {
    for (size_t offset = end + OPT_FIXED; offset + 4 <= size; offset += 4 + read16(message + offset + 2))
        if (read16(message + offset) == OPTION_CLIENT_SUBNET)
            return true;
    return false;
}

bool only_opt_follows(const uint8_t *message, size_t size, size_t end) {
    if (read16(message + 6) || read16(message + 8))
        return false;
    unsigned additional = read16(message + 10);
    return !additional || (additional == 1 && opt_begins(message, size, end));
}

bool wants_dnssec(const uint8_t *message, size_t size, size_t end) {
    return size > end && message[end + 7] & DO_BIT;
}

unsigned edns_version(const uint8_t *message, size_t size, size_t end) {
    return size > end ? message[end + 6] : 0;
}

size_t udp_limit(const uint8_t *message, size_t size, size_t end) {
    if (size == end)
        return PLAIN_UDP_SIZE;
    size_t asked = read16(message + end + 3);
    if (asked < PLAIN_UDP_SIZE)
        return PLAIN_UDP_SIZE;
    return asked < MAX_UDP_SIZE ? asked : MAX_UDP_SIZE;
}

bool reply_answers(const uint8_t *reply, size_t reply_size, const uint8_t *query, size_t end) {
    if (reply_size < HEADER || !(reply[2] & FLAG_QR))
        return false;
    if (!read16(reply + 4) || reply_size == HEADER) /* NSD cuts an error behind its header, and leaves QDCOUNT */
        return reply[3] & 0x0F && !read16(reply + 6);
    if (reply_size < end)
        return false;
    if (!memcmp(reply + HEADER, query + HEADER, end - HEADER))
        return true;
    for (size_t at = HEADER; at < end - 4; at++)
        if (lower(reply[at]) != lower(query[at]))
            return false;
    return !memcmp(reply + end - 4, query + end - 4, 4);
}

unsigned reply_rcode(const uint8_t *reply, size_t size) {
    static const uint8_t one_additional[] = {0, 0, 0, 0, 0, 1};
    unsigned code = reply[3] & 0x0F;
    if (memcmp(reply + 6, one_additional, sizeof one_additional))
        return code;
    size_t end = question_end(reply, size);
    if (end && opt_begins(reply, size, end) && size > end + 5)
        code |= (unsigned)reply[end + 5] << 4;
    return code;
}

size_t name_unpack(const uint8_t *message, size_t size, size_t at, uint8_t *out) {
    size_t used = 0, jumps = 0;
    while (at < size) {
        uint8_t length = message[at];
        if (length >= POINTER) {
            if (at + 1 >= size || ++jumps > MAX_JUMPS)
                return 0;
            at = (length & 0x3Fu) << 8 | message[at + 1];
            continue;
        }
        if (length > 63 || used + length + 1 > MAX_NAME || at + length >= size)
            return 0;
        out[used++] = length;
        if (!length)
            return used;
        for (size_t octet = 1; octet <= length; octet++)
            out[used++] = lower(message[at + octet]);
        at += length + 1u;
    }
    return 0;
}

/* Just past the name at `at`, a pointer counting as its end; 0 where it is cut. */
static size_t name_skip(const uint8_t *message, size_t size, size_t at) {
    while (at < size && message[at]) {
        if (message[at] >= POINTER)
            return at + 2 <= size ? at + 2 : 0;
        if (message[at] > 63)
            return 0;
        at += message[at] + 1u;
    }
    return at < size ? at + 1 : 0;
}

bool begins_with_alias(const uint8_t *reply, size_t size, size_t end) {
    if (!read16(reply + 6) || reply[2] & FLAG_TC)
        return false;
    size_t at = name_skip(reply, size, end);
    if (!at || at + 2 > size)
        return false;
    unsigned type = read16(reply + at);
    return type == TYPE_CNAME || type == TYPE_DNAME;
}

bool any_cname(const uint8_t *reply, size_t size, size_t end, name_visitor *visit, void *context) {
    uint8_t name[MAX_NAME];
    size_t at = end;
    for (unsigned left = read16(reply + 6); left; left--) {
        at = name_skip(reply, size, at);
        if (!at || at + RR_FIXED > size)
            return false;
        size_t rdata = at + RR_FIXED, rdata_size = read16(reply + at + 8);
        if (rdata + rdata_size > size)
            return false;
        if (read16(reply + at) == TYPE_CNAME) {
            size_t found = name_unpack(reply, size, rdata, name);
            if (found && visit(context, name, found))
                return true;
        }
        at = rdata + rdata_size;
    }
    return false;
}

/* Writes the OPT record of a reply; its size. */
static size_t opt_make(uint8_t *out, bool dnssec_ok, bool bad_version, int extended) {
    static const uint8_t plain[OPT_FIXED] = {0, 0, TYPE_OPT, MAX_UDP_SIZE >> 8, MAX_UDP_SIZE & 0xFF, 0, 0, 0, 0, 0, 0};
    memcpy(out, plain, OPT_FIXED);
    out[5] = bad_version; /* the upper eight bits of rcode 16 */
    out[7] = dnssec_ok ? DO_BIT : 0;
    if (extended < 0)
        return OPT_FIXED;
    write16(out + 9, 6);
    write16(out + OPT_FIXED, OPTION_EDE);
    write16(out + OPT_FIXED + 2, 2);
    write16(out + OPT_FIXED + 4, (unsigned)extended);
    return OPT_FIXED + 6;
}

/* Writes header and question of a reply; the counts behind QDCOUNT are 0. */
static void begin(uint8_t *out, const uint8_t *query, size_t end, unsigned flags, unsigned rcode) {
    memcpy(out, query, 2);
    out[2] = (uint8_t)flags;
    out[3] = (uint8_t)rcode;
    memset(out + 4, 0, 8);
    out[5] = end > HEADER;
    if (end > HEADER)
        memcpy(out + HEADER, query + HEADER, end - HEADER);
}

static void put_records(uint8_t *out, const struct sections *sections, const struct reply_terms *terms) {
    size_t ring = (size_t)sections->rotating * sections->step;
    size_t start = (size_t)terms->first * sections->step;
    memcpy(out, sections->octets + start, ring - start);
    memcpy(out + ring - start, sections->octets, start);
    memcpy(out + ring, sections->octets + ring, sections->size - ring);
    for (unsigned left = sections->answers; left; left--) {
        write32(out + 6, terms->ttl);
        out += 2 + RR_FIXED + read16(out + RR_FIXED);
    }
}

size_t answer_make(uint8_t *out, const uint8_t *query, size_t size, size_t end, const struct sections *sections,
                   const struct reply_terms *terms) {
    bool opt = size > end;
    size_t opt_size = opt ? OPT_FIXED + (terms->extended >= 0 ? 6u : 0u) : 0, at = end;
    unsigned flags = FLAG_QR | FLAG_AA | (query[2] & FLAG_RD);
    if (end + sections->size + opt_size > terms->limit) {
        begin(out, query, end, flags | FLAG_TC, RCODE_NOERROR);
    } else {
        begin(out, query, end, flags, RCODE_NOERROR);
        write16(out + 6, sections->answers);
        write16(out + 8, sections->authorities);
        if (sections->size)
            put_records(out + end, sections, terms);
        at += sections->size;
    }
    out[11] = opt;
    return opt ? at + opt_make(out + at, wants_dnssec(query, size, end), false, terms->extended) : at;
}

size_t bad_version_make(uint8_t *out, const uint8_t *query, size_t end) {
    begin(out, query, end, FLAG_QR | (query[2] & FLAG_RD), RCODE_NOERROR);
    out[11] = 1;
    return end + opt_make(out + end, query[end + 7] & DO_BIT, true, EDE_NONE);
}

static size_t end_of_one(const uint8_t *query, size_t size) {
    return read16(query + 4) == 1 ? question_end(query, size) : 0;
}

size_t error_make(uint8_t *out, const uint8_t *query, size_t size, unsigned rcode, int extended) {
    size_t end = end_of_one(query, size);
    begin(out, query, end, FLAG_QR | (query[2] & (FLAG_OPCODE | FLAG_RD)), rcode);
    if (!end)
        return HEADER;
    if (size == end || !edns_is_whole(query, size, end))
        return end;
    out[11] = 1;
    return end + opt_make(out + end, wants_dnssec(query, size, end), false, extended);
}

size_t truncated_make(uint8_t *out, const uint8_t *query, size_t size) {
    size_t end = end_of_one(query, size);
    begin(out, query, end, FLAG_QR | FLAG_TC | (query[2] & (FLAG_OPCODE | FLAG_RD)), RCODE_NOERROR);
    return end ? end : HEADER;
}
