/* The threads as Python sees them, and what they hand over. See binding.c. */
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

/* Handed: a message, until it is replied to, forwarded or let go. */

static void handed_unmake(struct object *self) {
    struct handed *handed = self->held;
    struct path *path = handed ? handed->path : NULL;
    self->held = NULL;
    if (handed && (handed->listener || getpid() != ((struct object *)self->path)->process))
        handed_free(handed);
    else if (handed && path)
        handed_return(handed, BACK_NOTHING, NULL, 0); /* its connection waits for it */
    object_free(self);
}

static struct handed *held_by(struct object *self) {
    if (!self->held)
        PyErr_SetString(PyExc_RuntimeError, "this message was seen to");
    return self->held;
}

static PyObject *handed_reply(struct object *self, PyObject *reply) {
    struct handed *handed = held_by(self);
    char *octets;
    Py_ssize_t size;
    if (!handed || PyBytes_AsStringAndSize(reply, &octets, &size))
        return NULL;
    if (size < HEADER || size > MAX_MESSAGE)
        return raise_for(-2, "a reply has 12 to 65,535 octets"), NULL;
    if (!handed->listener) {
        self->held = NULL;
        if (!handed_return(handed, BACK_REPLY, (uint8_t *)octets, (size_t)size))
            Py_RETURN_NONE;
        self->held = handed;
        return PyErr_NoMemory();
    }
    self->held = NULL;
    struct counts *counts = &handed->path->counts;
    count_rcode(counts, (uint8_t *)octets, (size_t)size);
    if (handed->listener->closing ||
        !client_send(handed->listener->watch.fd, &handed->client, (uint8_t *)octets, (size_t)size))
        count(&counts->unsent);
    handed_free(handed);
    Py_RETURN_NONE;
}

static PyObject *handed_forward(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct handed *handed = held_by(self);
    if (!handed)
        return NULL;
    if (handed->listener && !(asks_one_question(handed->octets) && question_end(handed->octets, handed->size)))
        return raise_for(-2, "over UDP only a query with a plain question can be forwarded"), NULL;
    self->held = NULL;
    handed_return(handed, BACK_FORWARD, NULL, 0);
    Py_RETURN_NONE;
}

static PyObject *octets_of(const void *octets, size_t size) {
    return PyBytes_FromStringAndSize(octets, (Py_ssize_t)size);
}

static PyObject *handed_get(struct object *self, void *what) {
    struct handed *handed = held_by(self);
    size_t size = 0;
    if (!handed)
        return NULL;
    const uint8_t *host = address_host(&handed->client.address, &size);
    switch ((char)(intptr_t)what) {
    case 'k':
        return PyLong_FromLong(handed->kind);
    case 'm':
        return octets_of(handed->octets, handed->size);
    case 'c':
        return octets_of(handed->octets + handed->size, handed->came_size);
    case 'h':
        return octets_of(host, size);
    case 'p':
        return PyLong_FromUnsignedLong(address_port(&handed->client.address));
    case 'l':
        return octets_of(handed->client.local, handed->client.local_size);
    case 't':
        return PyBool_FromLong(!handed->listener);
    default:
        return PyFloat_FromDouble((double)handed->arrived_at / (double)SECOND);
    }
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
    static char *words[] = {"threads", "pending", "pending_share", "connections", "connections_a_client", "pipeline",
                            "pipeline_octets", "output_octets", "handed", "handed_octets", "idle_s", "stalled_s",
                            "transfer_begins_s", "transfer_pauses_s", NULL};
    unsigned threads;
    struct limits limits = {16384, 4096, 1024, 256, 500, 256 * 1024, 64 * 1024, 16384, 64 * 1024 * 1024, 0, 0, 0, 0};
    double idle = 30, stalled = 60, begins = 10, pauses = 60;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "I|$IIIIIIIIIdddd", words, &threads, &limits.pending,
                                     &limits.pending_share, &limits.connections, &limits.connections_a_client,
                                     &limits.pipeline, &limits.pipeline_octets, &limits.output, &limits.handed,
                                     &limits.handed_octets, &idle, &stalled, &begins, &pauses))
        return NULL;
    if (threads < 1 || threads > MAX_THREADS || !limits.pending || limits.pending > 1 << 20 || !limits.connections)
        return raise_for(-2, "1 to 64 threads, and room for something"), NULL;
    /* The kernel spreads connections over the threads, so each has its share of what all may have. */
    limits.connections = (limits.connections + threads - 1) / threads;
    limits.connections_a_client = (limits.connections_a_client + threads - 1) / threads;
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
        Py_BEGIN_ALLOW_THREADS
        path_stop(path);
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
    Py_BEGIN_ALLOW_THREADS
    path_stop(path);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
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
        Py_BEGIN_ALLOW_THREADS
        path_publish(path, held);
        Py_END_ALLOW_THREADS
    } else if (is_zones) {
        atomic_fetch_add(&((struct zones *)held)->references, 1);
        Py_BEGIN_ALLOW_THREADS
        path_publish_zones(path, held);
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

static PyObject *path_do_reclaim(struct object *self, PyObject *nothing) {
    (void)self, (void)nothing;
    size_t left;
    Py_BEGIN_ALLOW_THREADS
    left = reclaim();
    Py_END_ALLOW_THREADS
    return PyLong_FromSize_t(left);
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

#define METHOD(name, function, how, text) {name, (PyCFunction)(void (*)(void))(function), how, text}
#define GET(name, key, text) {name, (getter)handed_get, NULL, text, (void *)(intptr_t)(key)}

static PyMethodDef handed_methods[] = {
    METHOD("reply", handed_reply, METH_O, "Send this reply to the client."),
    METHOD("forward", handed_forward, METH_NOARGS, "Have the path send it to the nameserver; over TCP as it is."),
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef handed_gets[] = {
    GET("kind", 'k', "Why: HANDED_QUERY, HANDED_COLD or HANDED_LANDING."),
    GET("message", 'm', "The query as the client sent it."),
    GET("came", 'c', "The nameserver's reply to it that lands on a flagged name, under the client's ID, else empty."),
    GET("host", 'h', "The octets of the client's address."),
    GET("port", 'p', "The client's port."),
    GET("asked", 'l', "The octets of the address that was asked, empty where the socket is bound to one."),
    GET("tcp", 't', "Whether it came over TCP."),
    GET("arrived_s", 'a', "When it came, in seconds of the monotonic clock."),
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot handed_slots[] = {{Py_tp_dealloc, handed_unmake}, {Py_tp_methods, handed_methods},
                                     {Py_tp_getset, handed_gets},
                                     {Py_tp_doc, "A message that is not the path's to judge."}, {0, NULL}};
PyType_Spec handed_spec = {"flatproxy.forward.native._core.Handed", sizeof(struct object), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, handed_slots};

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
    METHOD("reclaim", path_do_reclaim, METH_NOARGS, "Free what no thread reads any more; return how much is left."),
    METHOD("fileno", path_fileno, METH_NOARGS, "Return the descriptor that is readable when there is something to take."),
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef path_gets[] = {
    {"under_way", (getter)path_get_under_way, NULL, "Queries, connections and handed-over messages not ended.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot path_slots[] = {{Py_tp_new, path_make}, {Py_tp_dealloc, path_unmake}, {Py_tp_methods, path_methods},
                                   {Py_tp_getset, path_gets}, {Py_tp_doc, "The packet threads."}, {0, NULL}};
PyType_Spec path_spec = {"flatproxy.forward.native._core.Path", sizeof(struct object), 0, Py_TPFLAGS_DEFAULT,
                                path_slots};
