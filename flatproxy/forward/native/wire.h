/* Octets of DNS messages and what they mean (RFC 1035 section 4.1; RFC 6891 for OPT).
 *
 * Only reading and writing of octets may live here: no socket, no clock, no allocation, no state. Whatever cannot be
 * followed is called not plain, never guessed at. Sizes are octets; no function reads past the size it is given. */
#ifndef FLATPROXY_WIRE_H
#define FLATPROXY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEADER = 12,
    MAX_NAME = 255,
    MAX_LABELS = 127,
    MAX_MESSAGE = 65535,
    OPT_FIXED = 11, /* an OPT record without options */
    ERROR_ROOM = HEADER + MAX_NAME + 4 + OPT_FIXED + 6,
    PLAIN_UDP_SIZE = 512,
    MAX_UDP_SIZE = 1232
};

enum { FLAG_QR = 0x80, FLAG_OPCODE = 0x78, FLAG_AA = 0x04, FLAG_TC = 0x02, FLAG_RD = 0x01 };

enum {
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_DNAME = 39,
    TYPE_OPT = 41,
    TYPE_RRSIG = 46,
    TYPE_TKEY = 249,
    TYPE_IXFR = 251,
    TYPE_AXFR = 252
};

enum { CLASS_IN = 1 };
enum { RCODE_NOERROR = 0, RCODE_SERVFAIL = 2, RCODE_REFUSED = 5, RCODES = 24 };
/* Extended DNS errors (RFC 8914). */
enum { EDE_NONE = -1, EDE_NO_REACHABLE_AUTHORITY = 22, EDE_NETWORK_ERROR = 23 };

unsigned read16(const uint8_t *at);
void write16(uint8_t *at, unsigned value);
void write32(uint8_t *at, uint32_t value);
uint8_t lower(uint8_t octet);

/* The octets of the uncompressed name at `at`, its root included; 0 where there is none within `size`. */
size_t name_size(const uint8_t *at, size_t size);

/* Just past the first question, 0 where its name is not plain labels or it is cut. */
size_t question_end(const uint8_t *message, size_t size);

/* Whether a message is a QUERY with one question; of that question nothing is known yet. */
bool asks_one_question(const uint8_t *message);

/* Whether nothing follows the question, or one well-formed OPT record and no more. Cookies of impossible length
 * (RFC 7873 section 4) are malformed. */
bool edns_is_whole(const uint8_t *message, size_t size, size_t end);

/* Whether a query that is whole has an EDNS client subnet (RFC 7871). */
bool has_client_subnet(const uint8_t *message, size_t size, size_t end);

/* Whether the counts say that nothing follows the question but what begins as an OPT record at the root. */
bool only_opt_follows(const uint8_t *message, size_t size, size_t end);

/* The DO bit, the EDNS version and the size a UDP answer may have; the query must be whole. */
bool wants_dnssec(const uint8_t *message, size_t size, size_t end);
unsigned edns_version(const uint8_t *message, size_t size, size_t end);
size_t udp_limit(const uint8_t *message, size_t size, size_t end);

/* Whether this is the reply to a query whose plain question ends at `end` (RFC 5452 section 9.1); IDs are the caller's
 * to compare. A reply without a question counts where it is an error without a record. */
bool reply_answers(const uint8_t *reply, size_t reply_size, const uint8_t *query, size_t end);

/* The rcode of a reply, the upper bits of an OPT record right behind the question included. */
unsigned reply_rcode(const uint8_t *reply, size_t size);

/* Undoes compression of the name at `at`, in lower case, into `out` (MAX_NAME octets); its size, 0 where broken. */
size_t name_unpack(const uint8_t *message, size_t size, size_t at, uint8_t *out);

/* Whether a reply is worth walking for CNAMEs that may reach a flagged name: an alias comes first. */
bool begins_with_alias(const uint8_t *reply, size_t size, size_t end);

/* Calls `visit` for the target of each CNAME in the answer section until it says true; says whether it did. */
typedef bool name_visitor(void *context, const uint8_t *name, size_t size);
bool any_cname(const uint8_t *reply, size_t size, size_t end, name_visitor *visit, void *context);

/* What follows the question of a reply made here. The owner of each record in the answer section is 0xC00C. */
struct sections {
    const uint8_t *octets;
    uint16_t size;
    uint16_t answers, authorities; /* counts */
    uint16_t rotating, step;       /* the first `rotating` answers have `step` octets each, and may begin anywhere */
};

struct reply_terms {
    uint32_t ttl;   /* of every record of the answer section */
    size_t limit;   /* what is larger goes as TC=1 without records (RFC 2181 section 9) */
    unsigned first; /* the rotating answer to begin with */
    int extended;   /* an extended DNS error, or EDE_NONE */
};

/* An authoritative answer to a whole query; `out` has room for `limit` octets, and for ERROR_ROOM. */
size_t answer_make(uint8_t *out, const uint8_t *query, size_t size, size_t end, const struct sections *sections,
                   const struct reply_terms *terms);

/* BADVERS with the highest version known, 0 (RFC 6891 section 6.1.3); the query must be whole and have OPT. */
size_t bad_version_make(uint8_t *out, const uint8_t *query, size_t end);

/* An error with the question where it can be read; `out` has ERROR_ROOM. The query has a header. */
size_t error_make(uint8_t *out, const uint8_t *query, size_t size, unsigned rcode, int extended);

/* An empty reply with TC=1, which sends a client to TCP; no larger than the query. */
size_t truncated_make(uint8_t *out, const uint8_t *query, size_t size);

#endif
