/* A message that was handed over, as Python sees it: it is replied to, forwarded, or let go. See binding.c. */
#include "binding.h"

#include <stddef.h>
#include <unistd.h>

#include "path.h"

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

#define GET(name, key, text) {name, (getter)handed_get, NULL, text, (void *)(intptr_t)(key)}

static PyObject *handed_proxy_header(struct object *self, PyObject *nothing) {
    (void)nothing;
    struct handed *handed = held_by(self);
    uint8_t header[PROXY_ROOM];
    if (!handed)
        return NULL;
    if (!handed->listener) /* it is the connection's to send */
        return PyBytes_FromStringAndSize(NULL, 0);
    return octets_of(header, proxy_make(header, &handed->client, &handed->listener->bound, false));
}

static PyMethodDef handed_methods[] = {
    METHOD("reply", handed_reply, METH_O, "Send this reply to the client."),
    METHOD("forward", handed_forward, METH_NOARGS, "Have the path send it to the nameserver; over TCP as it is."),
    METHOD("proxy_header", handed_proxy_header, METH_NOARGS, "Return the PROXY header of a datagram's client."),
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
static PyType_Slot handed_slots[] = {{Py_tp_dealloc, handed_unmake},
                                     {Py_tp_methods, handed_methods},
                                     {Py_tp_getset, handed_gets},
                                     {Py_tp_doc, "A message that is not the path's to judge."},
                                     {0, NULL}};
PyType_Spec handed_spec = {"flatproxy.forward.native._core.Handed", sizeof(struct object), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, handed_slots};
