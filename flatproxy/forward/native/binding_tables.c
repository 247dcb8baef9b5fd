/* What is published to the packet path as Python makes it: answers, tables, zones, nameservers. See binding.c. */
#include "binding.h"

#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "path.h"

/* Answer */

static PyObject *answer_make_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    (void)args, (void)keywords;
    return object_around(type, answer_new());
}

static void answer_unmake(struct object *self) {
    answer_release(self->held);
    object_free(self);
}

/* Takes (octets, answers, authorities, rotating, step) apart; the octets where `into` is not NULL are copied there. */
static int take_layout(PyObject *told, struct layout *layout, uint8_t *into, size_t *used) {
    const char *octets;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(told, "y#HHHH", &octets, &size, &layout->answers, &layout->authorities, &layout->rotating,
                          &layout->step))
        return -1;
    if (size > MAX_MESSAGE)
        return raise_for(-2, "an answer has 65,535 octets at most");
    if (into && size)
        memcpy(into + *used, octets, (size_t)size);
    layout->offset = (uint32_t)*used;
    layout->size = (uint16_t)size;
    *used += (size_t)size;
    return 0;
}

/* Takes (until, counts_to, ttl, extended, denies, plain, signed) apart. */
static int take_stage(PyObject *told, struct stage *stage, uint8_t *into, size_t *used) {
    long long until, counts_to;
    int denies;
    PyObject *plain, *with_signatures;
    if (!PyArg_ParseTuple(told, "LLIhpO!O", &until, &counts_to, &stage->ttl, &stage->extended, &denies, &PyTuple_Type,
                          &plain, &with_signatures))
        return -1;
    stage->until = until;
    stage->counts_to = counts_to;
    stage->denies = denies;
    stage->has_signed = with_signatures != Py_None;
    if (take_layout(plain, &stage->plain, into, used))
        return -1;
    return stage->has_signed ? take_layout(with_signatures, &stage->with_signatures, into, used) : 0;
}

static PyObject *answer_say(struct object *self, PyObject *args) {
    PyObject *stages;
    int then_forward;
    if (!PyArg_ParseTuple(args, "O!p", &PyTuple_Type, &stages, &then_forward))
        return NULL;
    Py_ssize_t count = PyTuple_Size(stages);
    size_t octets = 0, used = 0;
    struct stage measured = {0};
    if (count > MAX_STAGES)
        return raise_for(-2, "too many stages"), NULL;
    for (Py_ssize_t number = 0; number < count; number++)
        if (take_stage(PyTuple_GetItem(stages, number), &measured, NULL, &octets))
            return NULL;
    struct form *form = form_new((size_t)count, octets);
    if (!form)
        return PyErr_NoMemory();
    form->then = then_forward ? THEN_FORWARD : THEN_HAND_OVER;
    for (Py_ssize_t number = 0; number < count; number++)
        take_stage(PyTuple_GetItem(stages, number), &form->stage[number], form_octets(form), &used);
    if (!form_is_sound(form, octets)) {
        free(form);
        return raise_for(-2, "records do not add up"), NULL;
    }
    answer_set(self->held, form);
    Py_RETURN_NONE;
}

static PyObject *answer_was_asked(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct answer *answer = self->held;
    return PyBool_FromLong(atomic_exchange(&answer->asked, false));
}

static PyObject *answer_unsay(struct object *self, PyObject *nothing) {
    (void)nothing;
    answer_set(self->held, NULL);
    Py_RETURN_NONE;
}

/* Table */

static void table_unmake(struct object *self) {
    table_free(self->held);
    object_free(self);
}

/* Takes (hand, ((type, answer), …)) apart; hand is 0, 1 (hand queries over), or 2 (and the replies to them, too). */
static int take_rule(struct table *table, PyObject *told, struct rule *rule, PyTypeObject *answer_type, size_t room) {
    PyObject *typed, *answer;
    int hand;
    if (!PyArg_ParseTuple(told, "iO!", &hand, &PyTuple_Type, &typed))
        return -1;
    if (hand < HAND_NOTHING || hand > HAND_SUBNETS)
        return raise_for(-2, "no such handing over");
    *rule = (struct rule){.first = (uint32_t)table->typed_count, .hand_over = (uint8_t)hand};
    rule->hand_replies = hand == HAND_REPLIES;
    table->hands_replies |= rule->hand_replies;
    for (Py_ssize_t number = 0; number < PyTuple_Size(typed); number++) {
        unsigned short type;
        if (table->typed_count == room)
            return raise_for(-2, "rules changed meanwhile");
        if (!PyArg_ParseTuple(PyTuple_GetItem(typed, number), "HO!", &type, answer_type, &answer))
            return -1;
        struct answer *held = ((struct object *)answer)->held;
        answer_keep(held);
        table->typed[table->typed_count++] = (struct typed){type, held};
        rule->count++;
    }
    return 0;
}

static struct table *table_of_rules(PyObject *rules, PyTypeObject *answer_type) {
    Py_ssize_t count = PyTuple_Size(rules);
    size_t typed = 0;
    for (Py_ssize_t number = 0; number < count; number++) {
        PyObject *types = NULL;
        int hand;
        if (!PyArg_ParseTuple(PyTuple_GetItem(rules, number), "iO!", &hand, &PyTuple_Type, &types))
            return NULL;
        typed += (size_t)PyTuple_Size(types);
    }
    struct table *table = table_new((size_t)count, typed);
    if (!table)
        return (void *)PyErr_NoMemory();
    for (Py_ssize_t number = 0; number < count; number++, table->rule_count++)
        if (take_rule(table, PyTuple_GetItem(rules, number), &table->rules[number], answer_type, typed)) {
            table_free(table);
            return NULL;
        }
    return table;
}

static int fill_flagged(struct table *table, const Py_buffer *names, const Py_buffer *values) {
    size_t count = (size_t)values->len / sizeof(uint32_t);
    for (size_t number = 0; number < count; number++)
        if (((const uint32_t *)values->buf)[number] >= table->rule_count)
            return -2;
    return names_fill(&table->flagged, names->buf, (size_t)names->len, values->buf, count);
}

static PyObject *table_make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *words[] = {"names", "rule_numbers", "rules", "zones", "ipv4", "ipv6", "everyone", NULL};
    struct types *types = PyType_GetModuleState(type);
    Py_buffer names = {0}, values = {0}, zones = {0}, ipv4 = {0}, ipv6 = {0};
    PyObject *rules, *self = NULL;
    int everyone, failed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "$y*y*O!z*y*y*p", words, &names, &values, &PyTuple_Type, &rules,
                                     &zones, &ipv4, &ipv6, &everyone))
        return NULL;
    struct table *table = table_of_rules(rules, (PyTypeObject *)types->answer);
    if (table) {
        Py_BEGIN_ALLOW_THREADS table->access.everyone = everyone;
        table->serves_all = !zones.buf;
        failed = fill_flagged(table, &names, &values);
        int64_t count = zones.buf ? names_count(zones.buf, (size_t)zones.len) : 0;
        if (!failed && zones.buf)
            failed = count < 0 ? -2 : names_fill(&table->served, zones.buf, (size_t)zones.len, NULL, (size_t)count);
        if (!failed)
            failed = ranges_fill(&table->access.ipv4, ipv4.buf, (size_t)ipv4.len, IPV4_SIZE);
        if (!failed)
            failed = ranges_fill(&table->access.ipv6, ipv6.buf, (size_t)ipv6.len, IPV6_SIZE);
        Py_END_ALLOW_THREADS if (!raise_for(
                                     failed,
                                     "names are to be whole, in lower case and each once, ranges sorted and apart"))
            self = object_around(type, table);
        if (!self)
            table_free(table);
    }
    PyBuffer_Release(&names);
    PyBuffer_Release(&values);
    PyBuffer_Release(&zones);
    PyBuffer_Release(&ipv4);
    PyBuffer_Release(&ipv6);
    return self;
}

/* Zones */

static void zones_unmake(struct object *self) {
    zones_release(self->held);
    object_free(self);
}

static struct zone *take_zone(PyObject *told) {
    int dnssec;
    const char *soa;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(told, "iy#", &dnssec, &soa, &size))
        return NULL;
    if (dnssec < DNSSEC_NONE || dnssec > DNSSEC_SIGN || size > MAX_MESSAGE)
        return raise_for(-2, "no such zone"), NULL;
    struct zone *zone = zone_new((enum dnssec)dnssec, (const uint8_t *)soa, (size_t)size);
    return zone ? zone : (void *)PyErr_NoMemory();
}

static PyObject *zones_make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *words[] = {"apexes", "facts", NULL};
    Py_buffer apexes;
    PyObject *facts, *self = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*O!", words, &apexes, &PyTuple_Type, &facts))
        return NULL;
    Py_ssize_t count = PyTuple_Size(facts), number = 0;
    int failed;
    struct zones *zones = zones_new((size_t)count);
    if (zones) {
        Py_BEGIN_ALLOW_THREADS failed = names_fill(&zones->apexes, apexes.buf, (size_t)apexes.len, NULL, (size_t)count);
        Py_END_ALLOW_THREADS for (; !failed && number < count; number++) {
            struct zone *zone = take_zone(PyTuple_GetItem(facts, number));
            if (!zone)
                break;
            atomic_store(&zones->zone[number], zone);
        }
        if (!raise_for(failed, "apexes are to be whole, in lower case, each once and with one fact") && number == count)
            self = object_around(type, zones);
        if (!self)
            zones_release(zones);
    } else {
        PyErr_NoMemory();
    }
    PyBuffer_Release(&apexes);
    return self;
}

static PyObject *zones_say(struct object *self, PyObject *args) {
    Py_ssize_t number;
    PyObject *fact;
    struct zones *zones = self->held;
    if (!PyArg_ParseTuple(args, "nO!", &number, &PyTuple_Type, &fact))
        return NULL;
    if (number < 0 || (size_t)number >= zones->apexes.count)
        return PyErr_SetNone(PyExc_IndexError), NULL;
    struct zone *zone = take_zone(fact);
    if (!zone)
        return NULL;
    zones_set(zones, (size_t)number, zone);
    Py_RETURN_NONE;
}

/* Servers */

static void servers_unmake(struct object *self) {
    servers_release(self->held);
    object_free(self);
}

static int take_address(PyObject *told, union address *address, socklen_t *size) {
    const char *host;
    int port;
    char service[8];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *found;
    if (!PyArg_ParseTuple(told, "si", &host, &port))
        return -1;
    PyOS_snprintf(service, sizeof service, "%u", (unsigned)port & 0xFFFF);
    if (getaddrinfo(host, service, &hints, &found))
        return raise_for(-2, "a nameserver is to be an address and a port");
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static PyObject *servers_make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *words[] = {"addresses", "threads", "sockets", "timeout_s", "tells_client", NULL};
    PyObject *told;
    unsigned threads, sockets;
    double timeout_s;
    int tells_client = 0;
    union address addresses[MAX_SERVERS];
    socklen_t sizes[MAX_SERVERS];
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!$IIdp", words, &PyTuple_Type, &told, &threads, &sockets,
                                     &timeout_s, &tells_client))
        return NULL;
    Py_ssize_t count = PyTuple_Size(told);
    if (count < 1 || count > MAX_SERVERS || threads < 1 || threads > MAX_THREADS || sockets < 1 || sockets > 4096)
        return raise_for(-2, "1 to 15 nameservers, 1 to 64 threads, 1 to 4096 sockets"), NULL;
    for (Py_ssize_t number = 0; number < count; number++)
        if (take_address(PyTuple_GetItem(told, number), &addresses[number], &sizes[number]))
            return NULL;
    struct servers *servers =
        servers_new(addresses, sizes, (unsigned)count, threads, sockets, (int64_t)(timeout_s * (double)SECOND),
                    tells_client);
    return servers ? object_around(type, servers) : PyErr_SetFromErrno(PyExc_OSError);
}

static int take_order(const struct servers *servers, PyObject *order, uint8_t *numbers, unsigned *count) {
    if (!PyTuple_Check(order) || PyTuple_Size(order) > (Py_ssize_t)servers->count)
        return raise_for(-2, "an order is a tuple of nameservers' numbers");
    *count = (unsigned)PyTuple_Size(order);
    for (unsigned number = 0; number < *count; number++) {
        unsigned long each = PyLong_AsUnsignedLong(PyTuple_GetItem(order, number));
        if (PyErr_Occurred())
            return -1;
        if (each >= servers->count)
            return raise_for(-2, "no such nameserver");
        numbers[number] = (uint8_t)each;
    }
    return 0;
}

static PyObject *servers_order(struct object *self, PyObject *args) {
    struct servers *servers = self->held;
    PyObject *order[TRANSPORTS];
    uint8_t numbers[TRANSPORTS][MAX_SERVERS];
    unsigned count[TRANSPORTS];
    if (!PyArg_ParseTuple(args, "OO", &order[BY_DATAGRAM], &order[BY_STREAM]))
        return NULL;
    for (unsigned transport = 0; transport < TRANSPORTS; transport++)
        if (take_order(servers, order[transport], numbers[transport], &count[transport]))
            return NULL;
    for (unsigned transport = 0; transport < TRANSPORTS; transport++)
        servers_set_order(servers, (enum transport)transport, numbers[transport], count[transport]);
    Py_RETURN_NONE;
}

/* One server's count over all threads; of times it is the latest. */
static PyObject *over_threads(const struct servers *servers, size_t offset, bool is_time) {
    uint64_t all = 0;
    for (unsigned thread = 0; thread < servers->threads; thread++) {
        uint64_t each = count_of((const _Atomic uint64_t *)((const char *)&servers->part[thread] + offset));
        all = !is_time ? all + each : each > all ? each : all;
    }
    return PyLong_FromUnsignedLongLong(all);
}

static int put_count(PyObject *into, const char *name, const struct servers *servers, size_t offset) {
    PyObject *number = over_threads(servers, offset, strstr(name, "_at") || strstr(name, "_since"));
    int failed = !number || PyDict_SetItemString(into, name, number);
    Py_XDECREF(number);
    return failed;
}

static PyObject *servers_counts(struct object *self, PyObject *nothing) {
    (void)nothing;
    const struct servers *servers = self->held;
    PyObject *list = PyList_New(0);
    for (unsigned number = 0; list && number < servers->count; number++) {
        size_t base = offsetof(struct part, counts) + number * sizeof(struct server_counts);
        PyObject *counts = PyDict_New();
        int failed = !counts;
#define AS_ITEM(name) failed = failed || put_count(counts, #name, servers, base + offsetof(struct server_counts, name));
        EACH_SERVER_COUNT(AS_ITEM)
#undef AS_ITEM
        failed = failed || PyList_Append(list, counts);
        Py_XDECREF(counts);
        if (failed)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *latency_of(const struct servers *servers, unsigned number) {
    size_t base = offsetof(struct part, counts) + number * sizeof(struct server_counts);
    PyObject *tuple = PyTuple_New(LATENCY_BOUNDS + 1);
    for (unsigned bound = 0; tuple && bound <= LATENCY_BOUNDS; bound++) {
        size_t offset = base + offsetof(struct server_counts, latency) + bound * sizeof(uint64_t);
        PyObject *each = over_threads(servers, offset, false);
        if (!each || PyTuple_SetItem(tuple, bound, each))
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *servers_latencies(struct object *self, PyObject *nothing) {
    (void)nothing;
    const struct servers *servers = self->held;
    PyObject *tuple = PyTuple_New(servers->count);
    for (unsigned number = 0; tuple && number < servers->count; number++) {
        PyObject *each = latency_of(servers, number);
        if (!each || PyTuple_SetItem(tuple, number, each))
            Py_CLEAR(tuple);
    }
    return tuple;
}

#define SPEC(variable, name, slots)                                                                                    \
    PyType_Spec variable = {"flatproxy.forward.native._core." name, sizeof(struct object), 0, Py_TPFLAGS_DEFAULT, slots}

static PyMethodDef answer_methods[] = {
    METHOD("say", answer_say, METH_VARARGS, "Put stages in place, and whether to forward once they are over."),
    METHOD("was_asked", answer_was_asked, METH_NOARGS, "Tell whether a packet thread gave it since the last call."),
    METHOD("unsay", answer_unsay, METH_NOARGS, "Have every query for it handed over."),
    {NULL, NULL, 0, NULL},
};
static PyType_Slot answer_slots[] = {{Py_tp_new, answer_make_new},
                                     {Py_tp_dealloc, answer_unmake},
                                     {Py_tp_methods, answer_methods},
                                     {Py_tp_doc, "What the names of one rule answer to one type."},
                                     {0, NULL}};
SPEC(answer_spec, "Answer", answer_slots);

static PyType_Slot table_slots[] = {{Py_tp_new, table_make},
                                    {Py_tp_dealloc, table_unmake},
                                    {Py_tp_doc, "Who may ask, and what is flagged; used up when it is published."},
                                    {0, NULL}};
SPEC(table_spec, "Table", table_slots);

static PyMethodDef zones_methods[] = {
    METHOD("say", zones_say, METH_VARARGS, "Put another fact of one zone in place."),
    {NULL, NULL, 0, NULL},
};
static PyType_Slot zones_slots[] = {{Py_tp_new, zones_make},
                                    {Py_tp_dealloc, zones_unmake},
                                    {Py_tp_methods, zones_methods},
                                    {Py_tp_doc, "What is known of the flagged names' zones."},
                                    {0, NULL}};
SPEC(zones_spec, "Zones", zones_slots);

static PyMethodDef servers_methods[] = {
    METHOD("order", servers_order, METH_VARARGS, "Say which are up over UDP and over TCP, the best first."),
    METHOD("counts", servers_counts, METH_NOARGS, "Return a dictionary of counts for each."),
    METHOD("latencies", servers_latencies, METH_NOARGS, "Return how many replies of each took how long, by bound."),
    {NULL, NULL, 0, NULL},
};
static PyType_Slot servers_slots[] = {{Py_tp_new, servers_make},
                                      {Py_tp_dealloc, servers_unmake},
                                      {Py_tp_methods, servers_methods},
                                      {Py_tp_doc, "The nameservers and every thread's sockets to them."},
                                      {0, NULL}};
SPEC(servers_spec, "Servers", servers_slots);
