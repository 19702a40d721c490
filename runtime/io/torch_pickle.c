#include "io/torch_pickle.h"

#include "base/bytes.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

// More than any file of weights has; they bound the memory that a small hostile pickle can ask for.
#define MAX_PICKLE ((size_t)32 << 20)   // bytes
#define MAX_OBJECTS ((size_t)1 << 21)   // tuples, lists, dictionaries, tensors and storages
#define MAX_VALUES ((size_t)1 << 23)    // on the stack, kept, in tuples, lists and dictionaries; all ever put there

// The instructions that torch.save writes, of Python's pickletools.
enum opcode {
    MARK = '(', STOP = '.', NONE = 'N', REDUCE = 'R', BUILD = 'b', GLOBAL = 'c', BINPERSID = 'Q',
    BINFLOAT = 'G', BININT = 'J', BININT1 = 'K', BININT2 = 'M', BINUNICODE = 'X',
    EMPTY_LIST = ']', APPEND = 'a', APPENDS = 'e', EMPTY_DICT = '}', SETITEM = 's', SETITEMS = 'u',
    EMPTY_TUPLE = ')', TUPLE = 't', BINGET = 'h', LONG_BINGET = 'j', BINPUT = 'q', LONG_BINPUT = 'r',
    PROTO = 0x80, TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87, NEWTRUE = 0x88, NEWFALSE = 0x89, LONG1 = 0x8a,
};

enum role { ROLE_STORAGE, ROLE_TENSOR, ROLE_PARAMETER, ROLE_DICT };

struct vks_pickle_global {
    const char *module, *name;
    enum role role;
    enum vks_st_dtype dtype;  // of a storage
};

static const struct vks_pickle_global globals[] = {
    {"torch", "FloatStorage", ROLE_STORAGE, VKS_ST_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, VKS_ST_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, VKS_ST_BF16},
    {"torch", "DoubleStorage", ROLE_STORAGE, VKS_ST_F64},
    {"torch", "IntStorage", ROLE_STORAGE, VKS_ST_I32},
    {"torch", "LongStorage", ROLE_STORAGE, VKS_ST_I64},
    {"torch", "ShortStorage", ROLE_STORAGE, VKS_ST_I16},
    {"torch", "CharStorage", ROLE_STORAGE, VKS_ST_I8},
    {"torch", "ByteStorage", ROLE_STORAGE, VKS_ST_U8},
    {"torch", "BoolStorage", ROLE_STORAGE, VKS_ST_BOOL},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, 0},
    {"collections", "OrderedDict", ROLE_DICT, 0},
};

struct machine {
    const struct vks_log *log;
    const char *path;
    const unsigned char *data;
    size_t size, at;                 // at <= size
    struct vks_arena *arena;
    struct vks_pickle_items stack, memo;
    size_t objects, values;          // made so far
};

static bool bad(const struct machine *m, const char *why)
{
    return vks_fail(m->log, "%s: its pickle %s; the file is damaged, or no file of weights: fetch it again, or "
                    "convert it to safetensors", m->path, why);
}

static bool no_memory(const struct machine *m)
{
    return vks_fail(m->log, "%s: " VKS_NO_MEMORY, m->path);
}

// ---- values

static bool add(struct machine *m, struct vks_pickle_items *items, struct vks_pickle_value value)
{
    if (m->values++ == MAX_VALUES)
        return bad(m, "has more values than any file of weights");
    if (items->count == items->capacity) {
        const size_t capacity = items->capacity ? 2 * items->capacity : 4;
        struct vks_pickle_value *values = vks_arena_alloc(m->arena, capacity * sizeof(*values));
        if (!values)
            return no_memory(m);
        if (items->count)
            memcpy(values, items->values, items->count * sizeof(*values));
        items->values = values;
        items->capacity = capacity;
    }
    items->values[items->count++] = value;
    return true;
}

static bool push(struct machine *m, struct vks_pickle_value value)
{
    return add(m, &m->stack, value);
}

static bool push_number(struct machine *m, enum vks_pickle_kind kind, int64_t number)
{
    return push(m, (struct vks_pickle_value){.kind = kind, .number = number});
}

// The value on top, left there; NULL (said) when there is none.
static struct vks_pickle_value *top(struct machine *m)
{
    if (m->stack.count && m->stack.values[m->stack.count - 1].kind != VKS_PICKLE_MARK)
        return &m->stack.values[m->stack.count - 1];
    bad(m, "takes a value from an empty stack");
    return NULL;
}

static bool pop(struct machine *m, struct vks_pickle_value *value)
{
    const struct vks_pickle_value *last = top(m);
    if (!last)
        return false;
    *value = *last;
    m->stack.count--;
    return true;
}

// Memory for something new, NULL after a message.
static void *object(struct machine *m, size_t size)
{
    void *made = m->objects++ < MAX_OBJECTS ? vks_arena_alloc(m->arena, size) : NULL;
    if (!made)
        m->objects > MAX_OBJECTS ? bad(m, "makes more objects than any file of weights") : no_memory(m);
    return made;
}

static bool push_items(struct machine *m, enum vks_pickle_kind kind)
{
    struct vks_pickle_items *items = object(m, sizeof(*items));
    return items && push(m, (struct vks_pickle_value){.kind = kind, .items = items});
}

// Where what lies above the last mark begins.
static bool above_mark(struct machine *m, size_t *first)
{
    for (size_t i = m->stack.count; i--;)
        if (m->stack.values[i].kind == VKS_PICKLE_MARK) {
            *first = i + 1;
            return true;
        }
    return bad(m, "looks for a mark that is not there");
}

// Puts the values from `first` on into the `kind` that lies below them and below `marks` marks; drops them.
static bool gather(struct machine *m, size_t first, size_t marks, enum vks_pickle_kind kind)
{
    if (first < marks + 1 || m->stack.values[first - marks - 1].kind != kind)
        return bad(m, "adds an item to something that takes none");
    if (kind == VKS_PICKLE_DICT && (m->stack.count - first) % 2)
        return bad(m, "adds a key without a value");
    struct vks_pickle_items *items = m->stack.values[first - marks - 1].items;
    for (size_t i = first; i < m->stack.count; i++)
        if (!add(m, items, m->stack.values[i]))
            return false;
    m->stack.count = first - marks;
    return true;
}

static bool make_tuple(struct machine *m, size_t first, size_t marks)
{
    struct vks_pickle_items *items = object(m, sizeof(*items));
    for (size_t i = first; items && i < m->stack.count; i++)
        if (!add(m, items, m->stack.values[i]))
            return false;
    m->stack.count = first - marks;
    return items && push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_TUPLE, .items = items});
}

// ---- bytes

// NULL (said) when the pickle has not so many left.
static const unsigned char *take(struct machine *m, uint64_t size)
{
    if (size > m->size - m->at) {
        bad(m, "ends in the middle of an instruction");
        return NULL;
    }
    m->at += (size_t)size;
    return m->data + m->at - size;
}

// Little endian; `is_signed` extends the sign.
static bool take_number(struct machine *m, unsigned bytes, bool is_signed, int64_t *number)
{
    const unsigned char *data = take(m, bytes);
    uint64_t value = data ? vks_le(data, bytes) : 0;
    if (data && is_signed && bytes && bytes < 8 && data[bytes - 1] >> 7)
        value |= UINT64_MAX << (8 * bytes);
    memcpy(number, &value, sizeof(value));
    return data != NULL;
}

static bool take_text(struct machine *m)
{
    int64_t length;
    const unsigned char *data;
    if (!take_number(m, 4, false, &length) || !(data = take(m, (uint64_t)length)))
        return false;
    if (memchr(data, 0, (size_t)length) || vks_utf8_check((const char *)data, (size_t)length) != (size_t)length)
        return bad(m, "has a text that is not UTF-8");
    char *copy = vks_arena_alloc(m->arena, (size_t)length + 1);
    if (!copy)
        return no_memory(m);
    memcpy(copy, data, (size_t)length);
    return push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_TEXT, .text = copy});
}

static bool take_float(struct machine *m)
{
    const unsigned char *data = take(m, 8);
    uint64_t bits = 0;
    double real;
    for (int i = 0; data && i < 8; i++)
        bits = bits << 8 | data[i];
    memcpy(&real, &bits, sizeof(real));
    return data && push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_FLOAT, .real = real});
}

static bool take_long(struct machine *m)
{
    int64_t length, number;
    if (!take_number(m, 1, false, &length))
        return false;
    if (length > 8)
        return bad(m, "has a number of more than 64 bits");
    return take_number(m, (unsigned)length, true, &number) && push_number(m, VKS_PICKLE_INT, number);
}

// A line without its end; the length of it.
static const char *take_line(struct machine *m, size_t *length)
{
    const unsigned char *line = m->data + m->at, *end = memchr(line, '\n', m->size - m->at);
    if (!end) {
        bad(m, "ends in the middle of an instruction");
        return NULL;
    }
    *length = (size_t)(end - line);
    m->at += *length + 1;
    return (const char *)line;
}

static bool take_global(struct machine *m)
{
    size_t module_size = 0, name_size = 0;
    const char *module = take_line(m, &module_size), *name = module ? take_line(m, &name_size) : NULL;
    if (!name)
        return false;
    for (size_t i = 0; i < sizeof(globals) / sizeof(*globals); i++)
        if (strlen(globals[i].module) == module_size && !memcmp(globals[i].module, module, module_size) &&
            strlen(globals[i].name) == name_size && !memcmp(globals[i].name, name, name_size))
            return push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_GLOBAL, .global = &globals[i]});
    char a[100], b[100];
    return vks_fail(m->log, "%s: asks for Python's %s.%s, which no plain file of weights needs: refused; convert the "
                    "file to safetensors", m->path, vks_text_quote(module, module_size, a, sizeof(a)),
                    vks_text_quote(name, name_size, b, sizeof(b)));
}

// ---- memory of values

static bool put(struct machine *m, unsigned bytes)
{
    int64_t index;
    const struct vks_pickle_value *value;
    if (!take_number(m, bytes, false, &index) || !(value = top(m)))
        return false;
    if ((uint64_t)index > m->memo.count)  // Python counts up
        return bad(m, "keeps a value out of order");
    if ((uint64_t)index == m->memo.count)
        return add(m, &m->memo, *value);
    m->memo.values[index] = *value;
    return true;
}

static bool get(struct machine *m, unsigned bytes)
{
    int64_t index;
    if (!take_number(m, bytes, false, &index))
        return false;
    if ((uint64_t)index >= m->memo.count)
        return bad(m, "asks for a value that it has not kept");
    return push(m, m->memo.values[index]);
}

// ---- calls

static bool is_kind(const struct vks_pickle_items *items, size_t i, enum vks_pickle_kind kind)
{
    return i < items->count && items->values[i].kind == kind;
}

// ("storage", torch.FloatStorage, "0", "cpu", 12)
static bool make_storage(struct machine *m)
{
    struct vks_pickle_value id;
    if (!pop(m, &id))
        return false;
    const struct vks_pickle_items *items = id.kind == VKS_PICKLE_TUPLE ? id.items : NULL;
    if (!items || items->count != 5 || !is_kind(items, 0, VKS_PICKLE_TEXT) ||
        strcmp(items->values[0].text, "storage") || !is_kind(items, 1, VKS_PICKLE_GLOBAL) ||
        items->values[1].global->role != ROLE_STORAGE || !is_kind(items, 2, VKS_PICKLE_TEXT) ||
        !is_kind(items, 4, VKS_PICKLE_INT) || items->values[4].number < 0)
        return bad(m, "refers to something that is no storage");
    struct vks_pickle_storage *storage = object(m, sizeof(*storage));
    if (!storage)
        return false;
    *storage = (struct vks_pickle_storage){items->values[2].text, items->values[1].global->dtype,
                                           (uint64_t)items->values[4].number};
    return push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_STORAGE, .storage = storage});
}

static bool read_extents(struct machine *m, const struct vks_pickle_items *from, int64_t out[VKS_ST_MAX_RANK])
{
    if (from->count > VKS_ST_MAX_RANK)
        return bad(m, "has a tensor of rank above 8");
    for (size_t i = 0; i < from->count; i++) {
        if (from->values[i].kind != VKS_PICKLE_INT)
            return bad(m, "has a tensor whose shape is no list of numbers");
        out[i] = from->values[i].number;
    }
    return true;
}

// (storage, offset, shape, stride, requires_grad, backward_hooks[, metadata])
static bool make_tensor(struct machine *m, const struct vks_pickle_items *items)
{
    if ((items->count != 6 && items->count != 7) || !is_kind(items, 0, VKS_PICKLE_STORAGE) ||
        !is_kind(items, 1, VKS_PICKLE_INT) || !is_kind(items, 2, VKS_PICKLE_TUPLE) ||
        !is_kind(items, 3, VKS_PICKLE_TUPLE) || items->values[2].items->count != items->values[3].items->count)
        return bad(m, "makes a tensor of something else than a storage, a shape and strides");
    struct vks_pickle_tensor *tensor = object(m, sizeof(*tensor));
    if (!tensor || !read_extents(m, items->values[2].items, tensor->shape) ||
        !read_extents(m, items->values[3].items, tensor->stride))
        return false;
    tensor->storage = items->values[0].storage;
    tensor->offset = items->values[1].number;
    tensor->rank = (int)items->values[2].items->count;
    return push(m, (struct vks_pickle_value){.kind = VKS_PICKLE_TENSOR, .tensor = tensor});
}

// Calls the function below the arguments on top.
static bool reduce(struct machine *m)
{
    struct vks_pickle_value arguments, function;
    if (!pop(m, &arguments) || !pop(m, &function))
        return false;
    if (function.kind != VKS_PICKLE_GLOBAL || arguments.kind != VKS_PICKLE_TUPLE)
        return bad(m, "calls something that is no function");
    const struct vks_pickle_items *items = arguments.items;
    switch (function.global->role) {
    case ROLE_TENSOR:
        return make_tensor(m, items);
    case ROLE_PARAMETER:  // (tensor, requires_grad, backward_hooks)
        return is_kind(items, 0, VKS_PICKLE_TENSOR) ? push(m, items->values[0])
                                                    : bad(m, "makes a parameter of something else than a tensor");
    case ROLE_DICT:
        return items->count ? bad(m, "makes a dictionary with contents") : push_items(m, VKS_PICKLE_DICT);
    case ROLE_STORAGE:
        break;
    }
    return bad(m, "calls a type of storage");
}

// Attributes of an object: of a state_dict, the versions of its modules, which nobody needs.
static bool build(struct machine *m)
{
    struct vks_pickle_value state;
    const struct vks_pickle_value *object_below;
    if (!pop(m, &state) || !(object_below = top(m)))
        return false;
    return object_below->kind == VKS_PICKLE_DICT || bad(m, "gives attributes to something else than a dictionary");
}

// ---- instructions

static bool proto(struct machine *m)
{
    int64_t version;
    if (!take_number(m, 1, false, &version))
        return false;
    return version == 2 || vks_fail(m->log, "%s: is a pickle of protocol %d, not 2: save it again with torch.save as "
                                    "it is by default, or convert it to safetensors", m->path, (int)version);
}

static bool push_constant(struct machine *m, unsigned char op)
{
    int64_t number = op == NEWTRUE;
    switch (op) {
    case NONE:
        return push_number(m, VKS_PICKLE_NONE, 0);
    case MARK:
        return push_number(m, VKS_PICKLE_MARK, 0);
    case BININT:
        return take_number(m, 4, true, &number) && push_number(m, VKS_PICKLE_INT, number);
    case BININT1:
        return take_number(m, 1, false, &number) && push_number(m, VKS_PICKLE_INT, number);
    case BININT2:
        return take_number(m, 2, false, &number) && push_number(m, VKS_PICKLE_INT, number);
    default:
        return push_number(m, VKS_PICKLE_BOOL, number);
    }
}

static bool tuple(struct machine *m, unsigned char op)
{
    const size_t count = op - TUPLE1 + 1u;
    for (size_t i = 0; i < count; i++)
        if (m->stack.count < count || m->stack.values[m->stack.count - 1 - i].kind == VKS_PICKLE_MARK)
            return bad(m, "takes a value from an empty stack");
    return make_tuple(m, m->stack.count - count, 0);
}

static bool step(struct machine *m, unsigned char op)
{
    size_t first = 0;
    switch (op) {
    case PROTO:       return proto(m);
    case BINUNICODE:  return take_text(m);
    case BINFLOAT:    return take_float(m);
    case LONG1:       return take_long(m);
    case GLOBAL:      return take_global(m);
    case BINPERSID:   return make_storage(m);
    case REDUCE:      return reduce(m);
    case BUILD:       return build(m);
    case BINPUT:      return put(m, 1);
    case LONG_BINPUT: return put(m, 4);
    case BINGET:      return get(m, 1);
    case LONG_BINGET: return get(m, 4);
    case EMPTY_TUPLE: return push_items(m, VKS_PICKLE_TUPLE);
    case EMPTY_LIST:  return push_items(m, VKS_PICKLE_LIST);
    case EMPTY_DICT:  return push_items(m, VKS_PICKLE_DICT);
    case TUPLE:       return above_mark(m, &first) && make_tuple(m, first, 1);
    case APPENDS:     return above_mark(m, &first) && gather(m, first, 1, VKS_PICKLE_LIST);
    case SETITEMS:    return above_mark(m, &first) && gather(m, first, 1, VKS_PICKLE_DICT);
    case APPEND:      return top(m) && gather(m, m->stack.count - 1, 0, VKS_PICKLE_LIST);
    case SETITEM:
        return m->stack.count > 2 ? gather(m, m->stack.count - 2, 0, VKS_PICKLE_DICT)
                                  : bad(m, "takes a value from an empty stack");
    case TUPLE1: case TUPLE2: case TUPLE3:
        return tuple(m, op);
    case NONE: case MARK: case BININT: case BININT1: case BININT2: case NEWTRUE: case NEWFALSE:
        return push_constant(m, op);
    default:
        break;
    }
    char why[64];
    snprintf(why, sizeof(why), "has the instruction 0x%02x, which torch.save never writes", op);
    return bad(m, why);
}

bool vks_torch_unpickle(const struct vks_log *log, const char *path, const unsigned char *data, size_t size,
                        struct vks_arena *arena, struct vks_pickle_value *root)
{
    struct machine m = {.log = log, .path = path, .data = data, .size = size, .arena = arena};
    if (size > MAX_PICKLE)
        return bad(&m, "has more than 32 MiB");
    if (!size || data[0] != PROTO)
        return bad(&m, "does not begin as one");
    for (const unsigned char *op; (op = take(&m, 1));) {
        if (*op != STOP && !step(&m, *op))
            return false;
        if (*op == STOP)
            return m.stack.count == 1 ? pop(&m, root) : bad(&m, "ends with more or less than one value");
    }
    return false;
}
