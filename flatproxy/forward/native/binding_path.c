/* The threads as Python sees them. See binding.c. */
#include "binding.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "path.h"

static const char LISTENER[] = "flatproxy.forward.native.listener";

static PyObject *none_or_no_memory(int failed) {
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Path */

static struct path *path_of(struct object *self) {
    if (self->process == getpid())
        return self->held;
    PyErr_SetString(PyExc_RuntimeError, "a child process has no packet threads");
    return NULL;
}

static int64_t as_ns(double seconds) {
    return (int64_t)(seconds * (double)SECOND);
}

static PyObject *path_make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *words[] = {"threads",
                            "pending",
                            "pending_share",
                            "connections",
                            "connections_a_client",
                            "pipeline",
                            "pipeline_octets",
                            "output_octets",
                            "handed",
                            "handed_octets",
                            "setting_up",
                            "idle_s",
                            "stalled_s",
                            "transfer_begins_s",
                            "transfer_pauses_s",
                            "settled_s",
                            NULL};
    unsigned threads;
    struct limits limits = {16384, 4096, 1024, 256, 500, 256 * 1024, 64 * 1024, 16384, 64 * 1024 * 1024, 8, 0, 0, 0, 0, 0};
    double idle = 30, stalled = 60, begins = 10, pauses = 60, settled = 0.05;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "I|$IIIIIIIIIIddddd", words, &threads, &limits.pending,
                                     &limits.pending_share, &limits.connections, &limits.connections_a_client,
                                     &limits.pipeline, &limits.pipeline_octets, &limits.output, &limits.handed,
                                     &limits.handed_octets, &limits.setting_up, &idle, &stalled, &begins, &pauses,
                                     &settled))
        return NULL;
    if (threads < 1 || threads > MAX_THREADS || !limits.pending || limits.pending > 1 << 20 || !limits.connections)
        return raise_for(-2, "1 to 64 threads, and room for something"), NULL;
    /* The kernel spreads connections over the threads, so each has its share of what all may have. */
    limits.connections = (limits.connections + threads - 1) / threads;
    limits.connections_a_client = (limits.connections_a_client + threads - 1) / threads;
    limits.setting_up = limits.setting_up > threads ? limits.setting_up / threads : 1;
    limits.settled = as_ns(settled);
    limits.idle = as_ns(idle);
    limits.stalled = as_ns(stalled);
    limits.transfer_begins = as_ns(begins);
    limits.transfer_pauses = as_ns(pauses);
    struct path *path = path_new(threads, &limits);
    if (!path)
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *self = object_around(type, path);
    if (self)
        ((struct object *)self)->process = getpid();
    else
        path_free(path);
    return self;
}

static void path_unmake(struct object *self) {
    struct path *path = self->held;
    if (self->process == getpid()) { /* a child leaves what was its parent's */
        Py_BEGIN_ALLOW_THREADS path_stop(path);
        path_free(path);
        Py_END_ALLOW_THREADS
    }
    object_free(self);
}

static PyObject *path_do_start(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    if (!path)
        return NULL;
    errno = path_start(path);
    if (errno)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *path_do_stop(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    if (!path)
        return NULL;
    Py_BEGIN_ALLOW_THREADS path_stop(path);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *path_do_drain(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    return path ? none_or_no_memory(path_drain(path)) : NULL;
}

static PyObject *path_do_listen(struct object *self, PyObject *args, PyObject *keywords) {
    static char *words[] = {"fd", "thread", "tcp", "wildcard", NULL};
    struct path *path = path_of(self);
    unsigned thread = 0;
    int fd, tcp = 0, wildcard = 0;
    if (!path || !PyArg_ParseTupleAndKeywords(args, keywords, "i|$Ipp", words, &fd, &thread, &tcp, &wildcard))
        return NULL;
    if (thread >= path->thread_count)
        return raise_for(-2, "no such thread"), NULL;
    struct listener *listener = path_listen(path, thread, fd, tcp, wildcard && !tcp);
    return listener ? PyCapsule_New(listener, LISTENER, NULL) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *with_listener(struct object *self, PyObject *capsule, int (*act)(struct path *, struct listener *)) {
    struct path *path = path_of(self);
    struct listener *listener = path ? PyCapsule_GetPointer(capsule, LISTENER) : NULL;
    return listener ? none_or_no_memory(act(path, listener)) : NULL;
}

static PyObject *path_do_leave(struct object *self, PyObject *capsule) {
    return with_listener(self, capsule, path_leave);
}

static PyObject *path_do_close(struct object *self, PyObject *capsule) {
    return with_listener(self, capsule, path_close);
}

static PyObject *path_do_publish(struct object *self, PyObject *given) {
    struct path *path = path_of(self);
    struct types *types = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    if (!path || !types)
        return NULL;
    bool is_table = PyObject_TypeCheck(given, (PyTypeObject *)types->table);
    bool is_zones = PyObject_TypeCheck(given, (PyTypeObject *)types->zones);
    bool is_servers = PyObject_TypeCheck(given, (PyTypeObject *)types->servers);
    void *held = is_table || is_zones || is_servers ? ((struct object *)given)->held : NULL;
    if (is_table && held) {
        ((struct object *)given)->held = NULL;
        Py_BEGIN_ALLOW_THREADS path_publish(path, held);
        Py_END_ALLOW_THREADS
    } else if (is_zones) {
        atomic_fetch_add(&((struct zones *)held)->references, 1);
        Py_BEGIN_ALLOW_THREADS path_publish_zones(path, held);
        Py_END_ALLOW_THREADS
    } else if (is_servers && ((struct servers *)held)->threads == path->thread_count) {
        return none_or_no_memory(path_use_servers(path, held));
    } else {
        PyErr_SetString(PyExc_TypeError, "a fresh Table, Zones, or Servers for as many threads can be published");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *path_do_limit(struct object *self, PyObject *args) {
    struct path *path = path_of(self);
    unsigned responses, slip, queries;
    if (!path || !PyArg_ParseTuple(args, "III", &responses, &slip, &queries))
        return NULL;
    struct rates *rates = responses || queries ? rates_new(responses, slip, queries) : NULL;
    if (!rates && (responses || queries))
        return PyErr_NoMemory();
    path_publish_rates(path, rates);
    Py_RETURN_NONE;
}

static PyObject *path_do_excess(struct object *self, PyObject *args) {
    struct path *path = path_of(self);
    const char *host;
    Py_ssize_t size;
    int own;
    if (!path || !PyArg_ParseTuple(args, "y#p", &host, &size, &own))
        return NULL;
    if (size != IPV4_SIZE && size != IPV6_SIZE)
        return raise_for(-2, "a host has 4 or 16 octets"), NULL;
    struct rates *rates = atomic_load(&path->rates);
    return PyLong_FromLong(rates ? rates_take(rates, (const uint8_t *)host, (size_t)size, own, monotonic_ns()) : 0);
}

static PyObject *path_do_take(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    struct types *types = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    PyObject *list = path && types ? PyList_New(0) : NULL;
    for (struct letter *letter = list ? outpost_take(&path->outpost) : NULL, *next; letter; letter = next) {
        next = letter->next;
        PyObject *each = list ? object_around((PyTypeObject *)types->handed, letter) : NULL;
        if (!each) { /* without memory a message goes unanswered, and its connection on */
            Py_CLEAR(list);
            handed_return((struct handed *)letter, BACK_NOTHING, NULL, 0);
            continue;
        }
        ((struct object *)each)->path = Py_NewRef((PyObject *)self);
        if (PyList_Append(list, each))
            Py_CLEAR(list);
        Py_DECREF(each);
    }
    return list;
}

static int put(PyObject *into, const char *name, PyObject *value) {
    int failed = !value || PyDict_SetItemString(into, name, value);
    Py_XDECREF(value);
    return failed;
}

/* A count over all threads and replies by hand, at its offset in struct counts. */
static PyObject *total(const struct path *path, size_t offset) {
    uint64_t all = count_of((const _Atomic uint64_t *)((const char *)&path->counts + offset));
    for (unsigned number = 0; number < path->thread_count; number++)
        all += count_of((const _Atomic uint64_t *)((const char *)&path->threads[number]->counts + offset));
    return PyLong_FromUnsignedLongLong(all);
}

static PyObject *totals(const struct path *path, size_t offset, unsigned count) {
    PyObject *tuple = PyTuple_New(count);
    for (unsigned number = 0; tuple && number < count; number++) {
        PyObject *each = total(path, offset + number * sizeof(uint64_t));
        if (!each || PyTuple_SetItem(tuple, number, each))
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *path_do_counts(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    PyObject *counts = path ? PyDict_New() : NULL;
    int failed = !counts;
#define AS_ITEM(name) failed = failed || put(counts, #name, total(path, offsetof(struct counts, name)));
    EACH_COUNT(AS_ITEM)
    AS_ITEM(latency_ns)
#undef AS_ITEM
    failed = failed || put(counts, "rcodes", totals(path, offsetof(struct counts, rcodes), RCODES));
    failed = failed || put(counts, "latency", totals(path, offsetof(struct counts, latency), LATENCY_BOUNDS + 1));
    if (failed)
        Py_CLEAR(counts);
    return counts;
}

/* For each thread the queries that it took by itself, and its processor time in ns. */
static PyObject *path_do_threads(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    PyObject *list = path ? PyList_New(0) : NULL;
    for (unsigned number = 0; list && number < path->thread_count; number++) {
        const struct counts *counts = &path->threads[number]->counts;
        unsigned long long queries = count_of(&counts->udp_forwarded) + count_of(&counts->udp_flattened) +
                                     count_of(&counts->udp_refused) + count_of(&counts->udp_dropped) +
                                     count_of(&counts->tcp_forwarded) + count_of(&counts->tcp_flattened) +
                                     count_of(&counts->tcp_refused_queries) + count_of(&counts->tcp_dropped);
        PyObject *each = Py_BuildValue("(KL)", queries, (long long)path_cpu(path, number));
        if (!each || PyList_Append(list, each))
            Py_CLEAR(list);
        Py_XDECREF(each);
    }
    return list;
}

static PyObject *path_do_reclaim(struct object *self, PyObject *nothing) {
    (void)self, (void)nothing;
    size_t left;
    Py_BEGIN_ALLOW_THREADS left = reclaim();
    Py_END_ALLOW_THREADS return PyLong_FromSize_t(left);
}

static PyObject *path_fileno(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    return path ? PyLong_FromLong(path->outpost.fd) : NULL;
}

static PyObject *path_get_under_way(struct object *self, void *nothing) {
    (void)nothing;
    struct path *path = path_of(self);
    return path ? PyLong_FromUnsignedLongLong(path_under_way(path)) : NULL;
}

static PyMethodDef path_methods[] = {
    METHOD("start", path_do_start, METH_NOARGS, "Start the threads; privileges are to be dropped before."),
    METHOD("drain", path_do_drain, METH_NOARGS, "Take nothing new; `under_way` falls to 0."),
    METHOD("stop", path_do_stop, METH_NOARGS, "End the threads."),
    METHOD("listen", path_do_listen, METH_VARARGS | METH_KEYWORDS, "Have a thread listen on a bound descriptor."),
    METHOD("leave", path_do_leave, METH_O, "Read what a listener has, then no more; replies still leave from it."),
    METHOD("close", path_do_close, METH_O, "Close a listener."),
    METHOD("publish", path_do_publish, METH_O, "Put a Table, Zones or Servers in force."),
    METHOD("limit", path_do_limit, METH_VARARGS, "Limit responses and queries a second for each client; 0: none."),
    METHOD("excess", path_do_excess, METH_VARARGS, "Take a token for a client's query; 1: drop it, 2: cut it short."),
    METHOD("take", path_do_take, METH_NOARGS, "Return what was handed over since."),
    METHOD("counts", path_do_counts, METH_NOARGS, "Return every count by name."),
    METHOD("threads", path_do_threads, METH_NOARGS, "Return queries and processor time in ns for each thread."),
    METHOD("reclaim", path_do_reclaim, METH_NOARGS, "Free what no thread reads any more; return how much is left."),
    METHOD("fileno", path_fileno, METH_NOARGS,
           "Return the descriptor that is readable when there is something to take."),
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef path_gets[] = {
    {"under_way", (getter)path_get_under_way, NULL, "Queries, connections and handed-over messages not ended.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot path_slots[] = {
    {Py_tp_new, path_make},    {Py_tp_dealloc, path_unmake},       {Py_tp_methods, path_methods},
    {Py_tp_getset, path_gets}, {Py_tp_doc, "The packet threads."}, {0, NULL}};
PyType_Spec path_spec = {"flatproxy.forward.native._core.Path", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                         path_slots};
