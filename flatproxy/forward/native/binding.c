/* The packet path as Python sees it, on CPython's limited API of 3.11. No rule and no loop of its own may live here:
 * arguments are taken apart and checked, and whatever takes long goes on without the interpreter's lock. */
#include "binding.h"

#include <sys/random.h>

#include "answers.h"
#include "letters.h"

PyObject *object_around(PyTypeObject *type, void *held) {
    struct object *self = held ? (void *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0) : NULL;
    if (self)
        self->held = held;
    else if (!held)
        PyErr_NoMemory();
    return (PyObject *)self;
}

void object_free(struct object *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_XDECREF(self->path);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

int raise_for(int result, const char *text) {
    if (result == -2)
        PyErr_SetString(PyExc_ValueError, text);
    else if (result)
        PyErr_NoMemory();
    return result;
}

static int seed(void) {
    uint64_t value;
    if (getrandom(&value, sizeof value, 0) != sizeof value)
        return PyErr_SetFromErrno(PyExc_OSError), -1;
    names_seed(value);
    return 0;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyObject **type) {
    *type = PyType_FromModuleAndSpec(module, spec, NULL);
    return *type ? PyModule_AddType(module, (PyTypeObject *)*type) : -1;
}

static int module_fill(PyObject *module) {
    struct types *types = PyModule_GetState(module);
    static const struct {
        const char *name;
        long value;
    } numbers[] = {{"HANDED_QUERY", HANDED_QUERY},     {"HANDED_COLD", HANDED_COLD},
                   {"HANDED_LANDING", HANDED_LANDING}, {"DNSSEC_NONE", DNSSEC_NONE},
                   {"DNSSEC_FORWARD", DNSSEC_FORWARD}, {"DNSSEC_SIGN", DNSSEC_SIGN},
                   {"HAND_NOTHING", HAND_NOTHING},     {"HAND_ALL", HAND_ALL},
                   {"HAND_REPLIES", HAND_REPLIES},     {"HAND_SUBNETS", HAND_SUBNETS},
                   {"NO_EXTENDED_ERROR", EDE_NONE}};
    static bool seeded;
    if (!seeded && seed())
        return -1;
    seeded = true;
    for (size_t number = 0; number < sizeof numbers / sizeof *numbers; number++)
        if (PyModule_AddIntConstant(module, numbers[number].name, numbers[number].value))
            return -1;
    if (add_type(module, &answer_spec, &types->answer) || add_type(module, &table_spec, &types->table) ||
        add_type(module, &zones_spec, &types->zones) || add_type(module, &servers_spec, &types->servers) ||
        add_type(module, &handed_spec, &types->handed) || add_type(module, &path_spec, &types->path))
        return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_fill}, {0, NULL}};
static PyMethodDef functions[] = {
    METHOD("take_lines", take_lines, METH_VARARGS, "Take plain lines of name and target; say where the first other is."),
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_core", "The packet path.", sizeof(struct types), functions, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&module);
}
