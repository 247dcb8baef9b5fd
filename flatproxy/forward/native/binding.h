/* What the files of the binding share; see binding.c. */
#ifndef FLATPROXY_BINDING_H
#define FLATPROXY_BINDING_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <sys/types.h>

/* The state of the module. */
struct types {
    PyObject *answer, *table, *zones, *servers, *handed, *path;
};

/* Each object is a pointer to what it stands for; `path` is what a handed-over message belongs to. */
struct object {
    PyObject_HEAD void *held;
    PyObject *path;
    pid_t process; /* that has the threads: a child by fork(2) has none */
};

/* A new object around `held`, NULL with an exception where there is none or no memory. */
PyObject *object_around(PyTypeObject *type, void *held);
void object_free(struct object *self);

/* Raises what a result of the core says: -1 no memory, -2 ValueError with this text. Returns the result. */
int raise_for(int result, const char *text);

#define METHOD(name, function, how, text) {name, (PyCFunction)(void (*)(void))(function), how, text}

/* Takes plain lines of name and target into dictionaries, see binding_lines.c. */
PyObject *take_lines(PyObject *module, PyObject *args);

extern PyType_Spec answer_spec, table_spec, zones_spec, servers_spec, handed_spec, path_spec;

#endif
