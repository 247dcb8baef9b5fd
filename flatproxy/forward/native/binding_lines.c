/* Lines of name and target, as fast as a million of them need; config/plain_lines.py has the same in Python.
 *
 * Nothing is refused here: whatever is not plain, new and right is left to Python, which says what it is. */
#include "binding.h"

#include <stdbool.h>
#include <string.h>

#include "wire.h"

enum { LONGEST_TEXT = 253, LONGEST_LABEL = 63 };

struct reader {
    PyObject *zones, *targets, *known, *wrong, *rules;
    uint8_t served[MAX_NAME]; /* the zone that the last name was in */
    size_t served_size;
};

/* One line's name, and where its columns are. */
struct line {
    uint8_t name[MAX_NAME];
    size_t size;
    const char *target;
    size_t target_size;
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_plain(char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static const char *past_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* Takes a name of plain labels, the last of which begins with a letter; what is behind it, NULL where it is none. */
static const char *take_name(struct line *line, const char *at, const char *end) {
    const char *begin = at;
    size_t label = 0; /* where its length stands */
    char first = 0;
    line->size = 1;
    for (; at < end && (is_plain(*at) || *at == '.'); at++) {
        if (at - begin >= LONGEST_TEXT)
            return NULL;
        if (*at == '.') {
            if (line->size - label == 1)
                return NULL;
            line->name[label] = (uint8_t)(line->size - label - 1);
            label = line->size++;
        } else {
            if (line->size - label > LONGEST_LABEL)
                return NULL;
            if (line->size - label == 1)
                first = *at;
            line->name[line->size++] = lower((uint8_t)*at);
        }
    }
    line->name[label] = (uint8_t)(line->size - label - 1);
    if (line->name[label])
        line->name[line->size++] = 0;
    return is_letter(first) ? at : NULL;
}

/* Takes a line apart; false where it has not just a plain name and something else. */
static bool take_columns(struct line *line, const char *at, const char *end) {
    at = take_name(line, past_blanks(at, end), end);
    if (!at)
        return false;
    line->target = past_blanks(at, end);
    if (line->target == at)
        return false;
    for (at = line->target; at < end && *at > ' ' && *at < 0x7F; at++)
        continue;
    line->target_size = (size_t)(at - line->target);
    return line->target_size && past_blanks(at, end) == end;
}

/* 1 where the name is in a served zone, 0 where not, -1 with an exception. */
static int is_served(struct reader *reader, const struct line *line) {
    size_t first = line->size;
    int found = 0;
    for (size_t at = 0; at < line->size; at += line->name[at] + 1u) {
        if (line->size - at == reader->served_size && !memcmp(line->name + at, reader->served, reader->served_size))
            return 1;
    }
    for (size_t at = 0; !found && at < line->size; first = at, at += line->name[at] + 1u) {
        PyObject *suffix = PyBytes_FromStringAndSize((const char *)line->name + at, (Py_ssize_t)(line->size - at));
        found = suffix ? PySet_Contains(reader->zones, suffix) : -1;
        Py_XDECREF(suffix);
    }
    if (found > 0) {
        reader->served_size = line->size - first;
        memcpy(reader->served, line->name + first, reader->served_size);
    }
    return found;
}

/* The rule of a target as it is written, borrowed; NULL where there is none, or with an exception. */
static PyObject *rule_of(struct reader *reader, const struct line *line) {
    PyObject *text = PyUnicode_FromStringAndSize(line->target, (Py_ssize_t)line->target_size);
    PyObject *rule = text ? PyDict_GetItemWithError(reader->targets, text) : NULL;
    Py_XDECREF(text);
    return rule;
}

/* 1 where a rule's own target is this name, -1 with an exception. */
static int is_target(PyObject *rule, PyObject *name) {
    PyObject *target = PyObject_GetAttrString(rule, "target");
    int same = target ? PyObject_RichCompareBool(target, name, Py_EQ) : -1;
    Py_XDECREF(target);
    return same;
}

/* The same name as an object that is there already, where it is; takes over the reference. */
static PyObject *the_known(struct reader *reader, PyObject *name) {
    PyObject *before = PyDict_GetItemWithError(reader->known, name);
    if (!before)
        return name;
    Py_INCREF(before);
    Py_DECREF(name);
    return before;
}

/* 1 where the name was put there, 0 where it was read before, -1 with an exception. Of a name that was read before the
 * rule is another one now, which does not matter: no file that has a name twice comes into force. */
static int put(struct reader *reader, PyObject *name, PyObject *rule) {
    int twice = PyDict_Size(reader->wrong) ? PyDict_Contains(reader->wrong, name) : 0;
    if (twice)
        return twice < 0 ? -1 : 0;
    Py_ssize_t before = PyDict_Size(reader->rules);
    if (PyDict_SetItem(reader->rules, name, rule))
        return -1;
    return PyDict_Size(reader->rules) > before;
}

/* 1 where the line was taken, 0 where it is left, -1 with an exception. */
static int take_line(struct reader *reader, const char *at, const char *end) {
    struct line line;
    if (!take_columns(&line, at, end))
        return 0;
    PyObject *rule = rule_of(reader, &line);
    if (!rule)
        return PyErr_Occurred() ? -1 : 0;
    int taken = is_served(reader, &line);
    if (taken < 1)
        return taken;
    PyObject *name = PyBytes_FromStringAndSize((const char *)line.name, (Py_ssize_t)line.size);
    int is_own = name ? is_target(rule, name) : -1;
    if (!is_own) {
        name = the_known(reader, name);
        taken = !PyErr_Occurred() ? put(reader, name, rule) : -1;
    }
    Py_XDECREF(name);
    return is_own ? (is_own < 0 ? -1 : 0) : taken;
}

PyObject *take_lines(PyObject *module, PyObject *args) {
    (void)module;
    struct reader reader = {0};
    PyObject *text;
    Py_ssize_t at, size;
    if (!PyArg_ParseTuple(args, "UnO!O!O!O!O!", &text, &at, &PyFrozenSet_Type, &reader.zones, &PyDict_Type,
                          &reader.targets, &PyDict_Type, &reader.known, &PyDict_Type, &reader.wrong, &PyDict_Type,
                          &reader.rules))
        return NULL;
    const char *lines = PyUnicode_AsUTF8AndSize(text, &size);
    if (!lines)
        return NULL;
    if (at < 0 || size != PyUnicode_GetLength(text))
        return raise_for(-2, "ASCII is needed, and a place in it"), NULL;
    while (at < size) {
        const char *end = memchr(lines + at, '\n', (size_t)(size - at));
        int taken = take_line(&reader, lines + at, end ? end : lines + size);
        if (taken < 0)
            return NULL;
        if (!taken)
            break;
        at = end ? end - lines + 1 : size;
    }
    return PyLong_FromSsize_t(at);
}
