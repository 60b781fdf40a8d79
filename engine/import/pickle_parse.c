/* pickle_parse.c - the stack machine that makes nodes of a pickle's bytes.
 *
 * A table says for each opcode what stands behind it and which function does its work. Opcodes that
 * are not in the table are refused by number. Among them are all that load code by other ways than
 * a plain name (INST, OBJ, EXT1 ..), and those of protocols 0, 1 and 5.
 *
 * Invariants:
 *   1. Each step reads at least one byte and makes at most two nodes and one cell for each item
 *      that it takes off the stack. So time and memory are bounded by the length of the bytes,
 *      and memory by the limits of pickle.h before that.
 *   2. Nothing recurses. A container that contains itself is a legal value, and harmless.
 *   3. A node is never changed once it stands on the stack, but containers, which grow.
 *
 * What a REDUCE would call is kept as a CALL, except an OrderedDict, which becomes an empty dict:
 * it is filled afterwards. What a BUILD would set on an object is dropped: torch hangs
 * `_metadata` on a state dictionary with it.
 */
#include <string.h>

#include "engine/import/pickle_internal.h"
#include "kernels/base/mem.h"

enum { MARK = 0, PROTO_MIN = 2, PROTO_MAX = 4, FIRST_ROOM = 1024 };

struct machine {
    const uint8_t *bytes, *at, *end;
    struct pickle *p;
    uint32_t *stack, *memo; /* node numbers; a mark is MARK, a memo that isn't set 0 */
    size_t n_stack, cap_stack, cap_memo;
    uint32_t n_memo; /* that are set */
    int is_over;
    struct err *e;
};

/* What stands behind an opcode. */
struct operand {
    uint64_t n;          /* the number; or how many bytes */
    const uint8_t *text; /* of counted bytes, or of the first line */
    const uint8_t *line; /* the second line, of n_line bytes */
    size_t n_line;
};

static int parse_fail(const struct machine *m, int code, const char *what) {
    return err_set(m->e, code, "pickle, byte %zu: %s", (size_t)(m->at - m->bytes), what);
}

/* ---- room ---- */

/* `block`, with room for one more than n items of `size` bytes, at most `most` of them. NULL and an
 * error when there is none. */
static void *pickle_parse_grow(const struct machine *m, void *block, size_t *cap, size_t n,
                               size_t size, size_t most) {
    if (n < *cap) return block;
    if (n >= most) {
        (void)parse_fail(m, E_TOO_BIG, "more objects than any model has");
        return NULL;
    }
    size_t want = *cap ? 2 * *cap : FIRST_ROOM;
    while (want <= n)
        want *= 2;
    void *larger = mem_try_resize(block, *cap * size, want * size);
    if (!larger) (void)parse_fail(m, E_NOMEM, "no memory for its objects");
    if (larger) *cap = want;
    return larger;
}

static int pickle_parse_push(struct machine *m, uint32_t id) {
    uint32_t *stack = pickle_parse_grow(m, m->stack, &m->cap_stack, m->n_stack, sizeof *m->stack,
                                        PICKLE_STACK_MAX);
    if (!stack) return m->e->code;
    m->stack = stack;
    m->stack[m->n_stack++] = id;
    return 0;
}

/* A new node; 0 and an error when there is no room. */
static uint32_t node_new(struct machine *m, struct pickle_node node) {
    struct pickle *p = m->p;
    struct pickle_node *nodes = pickle_parse_grow(
        m, p->nodes, &p->cap_nodes, (size_t)p->n_nodes + 1, sizeof *p->nodes, PICKLE_NODES_MAX);
    if (!nodes) return 0;
    p->nodes = nodes;
    p->nodes[++p->n_nodes] = node;
    return p->n_nodes;
}

static int push_new(struct machine *m, struct pickle_node node) {
    uint32_t id = node_new(m, node);
    return id ? pickle_parse_push(m, id) : m->e->code;
}

/* The topmost value, taken off; 0 and an error when there is none. */
static uint32_t pop(struct machine *m) {
    if (!m->n_stack || m->stack[m->n_stack - 1] == MARK) {
        (void)parse_fail(m, E_FORMAT, "takes a value that isn't there");
        return 0;
    }
    return m->stack[--m->n_stack];
}

/* Where the values behind the topmost mark begin. */
static int find_mark(const struct machine *m, size_t *first) {
    *first = 1;
    for (size_t i = m->n_stack; i > 0; i--)
        if (m->stack[i - 1] == MARK) {
            *first = i;
            return 0;
        }
    return parse_fail(m, E_FORMAT, "a mark is missing");
}

static int pickle_parse_append(struct machine *m, uint32_t container, uint32_t value) {
    struct pickle *p = m->p;
    struct pickle_cell *cells = pickle_parse_grow(
        m, p->cells, &p->cap_cells, (size_t)p->n_cells + 1, sizeof *p->cells, PICKLE_NODES_MAX);
    if (!cells) return m->e->code;
    p->cells = cells;
    struct pickle_node *to = &p->nodes[container];
    p->cells[++p->n_cells] = (struct pickle_cell){.node = value};
    if (to->n++)
        p->cells[to->b].next = p->n_cells;
    else
        to->a = p->n_cells;
    to->b = p->n_cells;
    return 0;
}

/* ---- values ---- */

static int op_proto(struct machine *m, const struct operand *o) {
    if (m->at - m->bytes != 2) return parse_fail(m, E_FORMAT, "a second beginning");
    if (o->n >= PROTO_MIN && o->n <= PROTO_MAX) return 0;
    return err_set(m->e, E_UNSUPPORTED, "pickle: protocol %d; only 2 to 4 are read", (int)o->n);
}

static int op_frame(struct machine *m, const struct operand *o) {
    return o->n <= (uint64_t)(m->end - m->at) ? 0 : parse_fail(m, E_FORMAT, "truncated?");
}

static int op_none(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_NONE});
}

static int op_true(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_BOOL, .i = 1});
}

static int op_false(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_BOOL});
}

static int op_uint(struct machine *m, const struct operand *o) {
    return push_new(m, (struct pickle_node){.kind = PICKLE_INT, .i = (int64_t)o->n});
}

static int op_int32(struct machine *m, const struct operand *o) {
    return push_new(m, (struct pickle_node){.kind = PICKLE_INT, .i = (int32_t)(uint32_t)o->n});
}

/* Little-endian two's complement of any length. */
static int op_long(struct machine *m, const struct operand *o) {
    if (o->n > 8)
        return push_new(m, (struct pickle_node){.kind = PICKLE_BYTES,
                                                .n = (uint32_t)o->n,
                                                .text = (const char *)o->text});
    uint64_t v = o->n && o->text[o->n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = o->n; i > 0; i--)
        v = v << 8 | o->text[i - 1];
    return push_new(m, (struct pickle_node){.kind = PICKLE_INT, .i = (int64_t)v});
}

/* Big-endian, unlike all other numbers. */
static int op_float(struct machine *m, const struct operand *o) {
    uint64_t bits = 0;
    struct pickle_node node = {.kind = PICKLE_FLOAT};
    for (int i = 0; i < 8; i++)
        bits |= (o->n >> (8 * i) & 255) << (56 - 8 * i);
    memcpy(&node.f, &bits, sizeof node.f);
    return push_new(m, node);
}

static int op_text(struct machine *m, const struct operand *o) {
    return push_new(m, (struct pickle_node){.kind = PICKLE_TEXT,
                                            .n = (uint32_t)o->n,
                                            .text = (const char *)o->text});
}

static int op_bytes(struct machine *m, const struct operand *o) {
    return push_new(m, (struct pickle_node){.kind = PICKLE_BYTES,
                                            .n = (uint32_t)o->n,
                                            .text = (const char *)o->text});
}

/* ---- containers ---- */

static int op_list(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_LIST});
}

static int op_dict(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_DICT});
}

static int op_set(struct machine *m, const struct operand *o) {
    (void)o;
    return push_new(m, (struct pickle_node){.kind = PICKLE_SET});
}

static int op_mark(struct machine *m, const struct operand *o) {
    (void)o;
    return pickle_parse_push(m, MARK);
}

/* The values from `first` on go into a new container, which takes their place. */
static int gather(struct machine *m, size_t first, enum pickle_kind kind) {
    uint32_t id = node_new(m, (struct pickle_node){.kind = kind});
    int rc = id ? 0 : m->e->code;
    for (size_t i = first; i < m->n_stack && !rc; i++)
        rc = m->stack[i] == MARK ? parse_fail(m, E_FORMAT, "a mark among values")
                                 : pickle_parse_append(m, id, m->stack[i]);
    m->n_stack = first;
    return rc ? rc : pickle_parse_push(m, id);
}

/* n values become a tuple. */
static int op_tuple_of(struct machine *m, size_t n) {
    if (m->n_stack < n) return parse_fail(m, E_FORMAT, "takes values that aren't there");
    return gather(m, m->n_stack - n, PICKLE_TUPLE);
}
static int op_tuple0(struct machine *m, const struct operand *o) {
    (void)o;
    return op_tuple_of(m, 0);
}
static int op_tuple1(struct machine *m, const struct operand *o) {
    (void)o;
    return op_tuple_of(m, 1);
}
static int op_tuple2(struct machine *m, const struct operand *o) {
    (void)o;
    return op_tuple_of(m, 2);
}
static int op_tuple3(struct machine *m, const struct operand *o) {
    (void)o;
    return op_tuple_of(m, 3);
}

/* The values behind the mark, in the mark's place. */
static int gather_marked(struct machine *m, enum pickle_kind kind) {
    size_t first;
    int rc = find_mark(m, &first);
    if (rc) return rc;
    rc = gather(m, first, kind);
    if (rc) return rc;
    uint32_t id = pop(m);
    m->n_stack--; /* the mark */
    return pickle_parse_push(m, id);
}
static int op_tuple(struct machine *m, const struct operand *o) {
    (void)o;
    return gather_marked(m, PICKLE_TUPLE);
}
static int op_frozenset(struct machine *m, const struct operand *o) {
    (void)o;
    return gather_marked(m, PICKLE_SET);
}

/* The values from `first` on go into the container below them, when it is of that kind. Other
 * objects would do with them as they like: they are dropped. */
static int put_into(struct machine *m, size_t first, size_t below, enum pickle_kind kind) {
    if (below < 1 || m->stack[below - 1] == MARK)
        return parse_fail(m, E_FORMAT, "puts values into nothing");
    uint32_t into = m->stack[below - 1];
    if (kind == PICKLE_DICT && (m->n_stack - first) % 2)
        return parse_fail(m, E_FORMAT, "a key without a value");
    int rc = 0;
    for (size_t i = first; i < m->n_stack && !rc && m->p->nodes[into].kind == kind; i++)
        rc = m->stack[i] == MARK ? parse_fail(m, E_FORMAT, "a mark among values")
                                 : pickle_parse_append(m, into, m->stack[i]);
    m->n_stack = below;
    return rc;
}

static int put_n(struct machine *m, size_t n, enum pickle_kind kind) {
    if (m->n_stack < n + 1) return parse_fail(m, E_FORMAT, "takes values that aren't there");
    return put_into(m, m->n_stack - n, m->n_stack - n, kind);
}
static int op_append(struct machine *m, const struct operand *o) {
    (void)o;
    return put_n(m, 1, PICKLE_LIST);
}
static int op_setitem(struct machine *m, const struct operand *o) {
    (void)o;
    return put_n(m, 2, PICKLE_DICT);
}

static int put_marked(struct machine *m, enum pickle_kind kind) {
    size_t first;
    int rc = find_mark(m, &first);
    return rc ? rc : put_into(m, first, first - 1, kind);
}
static int op_appends(struct machine *m, const struct operand *o) {
    (void)o;
    return put_marked(m, PICKLE_LIST);
}
static int op_setitems(struct machine *m, const struct operand *o) {
    (void)o;
    return put_marked(m, PICKLE_DICT);
}
static int op_additems(struct machine *m, const struct operand *o) {
    (void)o;
    return put_marked(m, PICKLE_SET);
}

/* ---- what would be called ---- */

static int push_global(struct machine *m, uint32_t module, uint32_t name) {
    if (!module || !name) return m->e->code;
    if (!pickle_is(m->p, module, PICKLE_TEXT) || !pickle_is(m->p, name, PICKLE_TEXT))
        return parse_fail(m, E_FORMAT, "a name that is no text");
    return push_new(m, (struct pickle_node){.kind = PICKLE_GLOBAL, .a = module, .b = name});
}

static int op_global(struct machine *m, const struct operand *o) {
    uint32_t module =
        node_new(m, (struct pickle_node){
                        .kind = PICKLE_TEXT, .n = (uint32_t)o->n, .text = (const char *)o->text});
    uint32_t name = node_new(m, (struct pickle_node){.kind = PICKLE_TEXT,
                                                     .n = (uint32_t)o->n_line,
                                                     .text = (const char *)o->line});
    return push_global(m, module, name);
}

static int op_stack_global(struct machine *m, const struct operand *o) {
    (void)o;
    uint32_t name = pop(m);
    return push_global(m, name ? pop(m) : 0, name);
}

/* REDUCE and NEWOBJ. */
static int op_call(struct machine *m, const struct operand *o) {
    (void)o;
    uint32_t args = pop(m), what = args ? pop(m) : 0;
    if (!what) return m->e->code;
    if (!pickle_is(m->p, args, PICKLE_TUPLE))
        return parse_fail(m, E_FORMAT, "a call without a tuple");
    if (pickle_is_global(m->p, what, "collections", "OrderedDict") && !pickle_at(m->p, args)->n)
        return op_dict(m, NULL);
    return push_new(m, (struct pickle_node){.kind = PICKLE_CALL, .a = what, .b = args});
}

static int op_newobj_ex(struct machine *m, const struct operand *o) {
    return pop(m) ? op_call(m, o) : m->e->code; /* arguments by name are dropped */
}

static int op_build(struct machine *m, const struct operand *o) {
    (void)o;
    if (!pop(m)) return m->e->code;
    if (m->n_stack && m->stack[m->n_stack - 1] != MARK) return 0;
    return parse_fail(m, E_FORMAT, "sets a state on nothing");
}

static int op_persistent(struct machine *m, const struct operand *o) {
    (void)o;
    uint32_t id = pop(m);
    return id ? push_new(m, (struct pickle_node){.kind = PICKLE_PERSISTENT, .a = id}) : m->e->code;
}

/* ---- the memo and the stack ---- */

static int memo_put(struct machine *m, uint64_t i) {
    if (!m->n_stack || m->stack[m->n_stack - 1] == MARK)
        return parse_fail(m, E_FORMAT, "remembers nothing");
    if (i >= PICKLE_MEMO_MAX) return parse_fail(m, E_TOO_BIG, "remembers more than any model has");
    uint32_t *memo =
        pickle_parse_grow(m, m->memo, &m->cap_memo, (size_t)i, sizeof *m->memo, PICKLE_MEMO_MAX);
    if (!memo) return m->e->code;
    m->memo = memo;
    m->n_memo += !m->memo[i];
    m->memo[i] = m->stack[m->n_stack - 1];
    return 0;
}

static int op_put(struct machine *m, const struct operand *o) { return memo_put(m, o->n); }

static int op_memoize(struct machine *m, const struct operand *o) {
    (void)o;
    return memo_put(m, m->n_memo);
}

static int op_get(struct machine *m, const struct operand *o) {
    if (o->n >= m->cap_memo || !m->memo[o->n])
        return parse_fail(m, E_FORMAT, "asks for what was never remembered");
    return pickle_parse_push(m, m->memo[o->n]);
}

static int op_pop(struct machine *m, const struct operand *o) {
    (void)o;
    if (!m->n_stack) return parse_fail(m, E_FORMAT, "takes a value that isn't there");
    m->n_stack--;
    return 0;
}

static int op_pop_mark(struct machine *m, const struct operand *o) {
    (void)o;
    size_t first;
    int rc = find_mark(m, &first);
    if (!rc) m->n_stack = first - 1;
    return rc;
}

static int op_dup(struct machine *m, const struct operand *o) {
    (void)o;
    uint32_t id = pop(m);
    int rc = id ? pickle_parse_push(m, id) : m->e->code;
    return rc ? rc : pickle_parse_push(m, id);
}

static int op_stop(struct machine *m, const struct operand *o) {
    (void)o;
    m->p->root = pop(m);
    if (!m->p->root) return m->e->code;
    m->is_over = 1;
    return m->n_stack ? parse_fail(m, E_FORMAT, "ends with values left over") : 0;
}

/* ---- the table ---- */

/* What stands behind an opcode: nothing, a number of 1, 2, 4 or 8 bytes, a count of 1, 4 or 8 bytes
 * with as many bytes behind it, or two lines. */
enum behind { NOTHING, NUMBER_1, NUMBER_2, NUMBER_4, NUMBER_8, COUNT_1, COUNT_4, COUNT_8, LINES };

static const struct op {
    uint8_t code;
    enum behind behind;
    int (*run)(struct machine *m, const struct operand *o);
} ops[] = {
    {0x80, NUMBER_1, op_proto},       {0x95, NUMBER_8, op_frame},   {'.', NOTHING, op_stop},
    {'N', NOTHING, op_none},          {0x88, NOTHING, op_true},     {0x89, NOTHING, op_false},
    {'K', NUMBER_1, op_uint},         {'M', NUMBER_2, op_uint},     {'J', NUMBER_4, op_int32},
    {0x8a, COUNT_1, op_long},         {0x8b, COUNT_4, op_long},     {'G', NUMBER_8, op_float},
    {'X', COUNT_4, op_text},          {0x8c, COUNT_1, op_text},     {0x8d, COUNT_8, op_text},
    {'U', COUNT_1, op_text},          {'T', COUNT_4, op_text},      {'C', COUNT_1, op_bytes},
    {'B', COUNT_4, op_bytes},         {0x8e, COUNT_8, op_bytes},    {']', NOTHING, op_list},
    {'}', NOTHING, op_dict},          {0x8f, NOTHING, op_set},      {')', NOTHING, op_tuple0},
    {0x85, NOTHING, op_tuple1},       {0x86, NOTHING, op_tuple2},   {0x87, NOTHING, op_tuple3},
    {'(', NOTHING, op_mark},          {'t', NOTHING, op_tuple},     {0x91, NOTHING, op_frozenset},
    {'a', NOTHING, op_append},        {'e', NOTHING, op_appends},   {'s', NOTHING, op_setitem},
    {'u', NOTHING, op_setitems},      {0x90, NOTHING, op_additems}, {'c', LINES, op_global},
    {0x93, NOTHING, op_stack_global}, {'R', NOTHING, op_call},      {0x81, NOTHING, op_call},
    {0x92, NOTHING, op_newobj_ex},    {'b', NOTHING, op_build},     {'Q', NOTHING, op_persistent},
    {'q', NUMBER_1, op_put},          {'r', NUMBER_4, op_put},      {0x94, NOTHING, op_memoize},
    {'h', NUMBER_1, op_get},          {'j', NUMBER_4, op_get},      {'0', NOTHING, op_pop},
    {'1', NOTHING, op_pop_mark},      {'2', NOTHING, op_dup},
};

static const struct op *op_find(uint8_t code) {
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (ops[i].code == code) return &ops[i];
    return NULL;
}

/* A line without its end; moves behind that. */
static int pickle_parse_read_line(struct machine *m, const uint8_t **line, size_t *n) {
    enum { LINE_MAX_ = 1000 };
    size_t most = (size_t)(m->end - m->at) < LINE_MAX_ ? (size_t)(m->end - m->at) : LINE_MAX_;
    const uint8_t *stop = memchr(m->at, '\n', most);
    if (!stop) return parse_fail(m, E_FORMAT, "a name without an end");
    *line = m->at;
    *n = (size_t)(stop - m->at);
    m->at = stop + 1;
    return 0;
}

static int pickle_parse_read_number(struct machine *m, size_t n, uint64_t *v) {
    if ((size_t)(m->end - m->at) < n) return parse_fail(m, E_FORMAT, "truncated?");
    *v = 0;
    for (size_t i = n; i > 0; i--)
        *v = *v << 8 | m->at[i - 1];
    m->at += n;
    return 0;
}

static int read_operand(struct machine *m, enum behind behind, struct operand *o) {
    static const uint8_t widths[] = {[NUMBER_1] = 1, [NUMBER_2] = 2, [NUMBER_4] = 4, [NUMBER_8] = 8,
                                     [COUNT_1] = 1,  [COUNT_4] = 4,  [COUNT_8] = 8};
    if (behind == NOTHING) return 0;
    if (behind == LINES) {
        size_t n = 0;
        int rc = pickle_parse_read_line(m, &o->text, &n);
        o->n = n;
        return rc ? rc : pickle_parse_read_line(m, &o->line, &o->n_line);
    }
    int rc = pickle_parse_read_number(m, widths[behind], &o->n);
    if (rc || behind < COUNT_1) return rc;
    if (o->n > (uint64_t)(m->end - m->at)) return parse_fail(m, E_FORMAT, "truncated?");
    o->text = m->at;
    m->at += o->n;
    return 0;
}

static int pickle_parse_step(struct machine *m) {
    if (m->at == m->end) return parse_fail(m, E_FORMAT, "it has no end: truncated?");
    const struct op *op = op_find(*m->at);
    if (!op || (m->at == m->bytes && *m->at != 0x80))
        return err_set(m->e, m->at == m->bytes ? E_FORMAT : E_UNSUPPORTED,
                       "pickle, byte %zu: 0x%02x %s", (size_t)(m->at - m->bytes), *m->at,
                       m->at == m->bytes ? "doesn't begin one of protocol 2 to 4"
                                         : "is an opcode that torch.save doesn't write");
    struct operand o = {0};
    m->at++;
    int rc = read_operand(m, op->behind, &o);
    return rc ? rc : op->run(m, &o);
}

int pickle_parse(const void *bytes, size_t len, size_t *used, struct pickle **out, struct err *e) {
    *out = NULL;
    struct err why = {0};
    if (len > PICKLE_BYTES_MAX) len = PICKLE_BYTES_MAX; /* what follows may be another's */
    struct machine m = {.bytes = bytes, .at = bytes, .e = &why};
    m.end = m.bytes + len;
    m.p = mem_try(sizeof *m.p);
    int rc = m.p ? 0 : err_set(&why, E_NOMEM, "no memory for a pickle");
    while (!rc && !m.is_over)
        rc = pickle_parse_step(&m);
    mem_free(m.stack);
    mem_free(m.memo);
    if (rc) {
        pickle_free(m.p);
        return err_set(e, why.code, "%s", why.text);
    }
    *used = (size_t)(m.at - m.bytes);
    *out = m.p;
    return 0;
}
