/* framing.c - see framing.h. RFC 9112 sections 2.2 (lines), 3 (request line), 5 (fields), 6 (body)
 * and 7.1 (chunks).
 *
 *     START -> LINE -> VERSION -> FIELD -> NAME -> VALUE -> FIELD ... -> END -> START or a body
 *     body:   LENGTH, or SIZE -> EXTRA -> DATA -> DATA_END -> SIZE ... -> TRAILER
 *
 * Each state is a function of one byte. It says what becomes of the byte: PASS, DROP (it may come
 * later, as a CR does with its LF), or FAIL, which has already written what ends the request.
 */
#include "server/http/framing.h"

#include <stdio.h>
#include <string.h>

enum { EMPTY_LINES = 4, DIGITS_MAX = 15, EXTRA_MAX = 8192 };

enum state {
    START,      /* before a request line */
    START_LF,   /* an empty line's CR was read */
    METHOD,     /* in its first word */
    TARGET,     /* in its second */
    VERSION,    /* in its third, of which nothing was passed yet */
    LINE_LF,    /* its CR was read */
    FIELD,      /* at the beginning of a header line, or of the empty one */
    NAME,       /* in a header's name */
    VALUE,      /* in its value */
    VALUE_LF,   /* its CR was read */
    END_LF,     /* the CR of the empty line was read */
    LENGTH,     /* in a body of a known length */
    SIZE,       /* in a chunk's length */
    EXTRA,      /* in its extensions, which are dropped */
    SIZE_LF,    /* behind the CR that ends the two */
    DATA,       /* in the chunk */
    DATA_CR,    /* behind it */
    DATA_LF,    /* behind its CR */
    TRAILER,    /* at the beginning of a line behind the last chunk */
    TRAILER_IN, /* in such a line, which is dropped */
    TRAILER_LF, /* behind its CR */
    LAST_LF,    /* behind the CR of the empty line that ends the body */
    DEAF        /* the connection is going to be closed: nothing passes */
};

enum fate { PASS, DROP, FAIL };

static const char *const reasons[FRAMING_FAULTS] = {
    [FRAMING_BARE_LF] = "a line must end with CR LF, not with LF alone",
    [FRAMING_BARE_CR] = "a CR that is not followed by LF",
    [FRAMING_NUL] = "a header has a NUL byte",
    [FRAMING_FOLD] = "a header line must not be folded: it began with a blank",
    [FRAMING_NAME] = "a header line must be a word, a colon and a value",
    [FRAMING_LINE] = "a request line is a method, a target and HTTP/1.1, with a blank between them",
    [FRAMING_EMPTY_LINES] = "too many empty lines before a request",
    [FRAMING_LENGTH] = "Content-Length is not a number",
    [FRAMING_CODING] = "the only Transfer-Encoding accepted is chunked",
};

const char *framing_reason(const char *value, size_t n) {
    int fault = n == 1 ? value[0] - '0' : 0;
    return fault > FRAMING_FINE && fault < FRAMING_FAULTS ? reasons[fault] : NULL;
}

/* End the request here, whatever it was about to say, so that the gate refuses it. `so_far`: what
 * completes the part that has been passed. */
static enum fate fail_head(struct framing *f, struct buf *out, const char *so_far,
                           enum framing_fault why) {
    buf_printf(out, "%s\r\nHost: localhost\r\n" FRAMING_HEADER ": %d\r\n\r\n", so_far, why);
    f->state = DEAF;
    return FAIL;
}

/* libmicrohttpd answers a chunk that has no length with 400, and closes. */
static enum fate fail_chunk(struct framing *f, struct buf *out) {
    buf_str(out, "x\r\n");
    f->state = DEAF;
    return FAIL;
}

static enum fate go(struct framing *f, enum state next, enum fate fate) {
    f->state = next;
    return fate;
}

static int is_tchar(uint8_t c) {
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* ---- the request line ---- */

static enum fate at_start(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r' && f->lines < EMPTY_LINES) return go(f, START_LF, DROP);
    if (!is_tchar(c))
        return fail_head(f, out, "GET / HTTP/1.1",
                         c == '\n'   ? FRAMING_BARE_LF
                         : c == '\r' ? FRAMING_EMPTY_LINES
                                     : FRAMING_LINE);
    *f = (struct framing){.state = METHOD};
    return PASS;
}

static enum fate at_start_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_head(f, out, "GET / HTTP/1.1", FRAMING_BARE_CR);
    f->lines++;
    return go(f, START, DROP);
}

static enum fate at_method(struct framing *f, uint8_t c, struct buf *out) {
    if (c == ' ') return go(f, TARGET, PASS);
    return is_tchar(c) ? PASS : fail_head(f, out, " / HTTP/1.1", FRAMING_LINE);
}

static enum fate at_target(struct framing *f, uint8_t c, struct buf *out) {
    if (c == ' ') {
        f->n_value = 0;
        return go(f, VERSION, PASS);
    }
    return c > ' ' && c != 0x7f ? PASS : fail_head(f, out, " HTTP/1.1", FRAMING_LINE);
}

/* HTTP/d.d, passed as a whole: another version than ours gets libmicrohttpd's 505. */
static enum fate at_version(struct framing *f, uint8_t c, struct buf *out) {
    static const char form[] = "HTTP/0.0";
    if (c == '\r' && f->n_value == sizeof(form) - 1) {
        buf_add(out, f->value, f->n_value);
        return go(f, LINE_LF, DROP);
    }
    int is_digit = c >= '0' && c <= '9';
    if (f->n_value >= sizeof(form) - 1 ||
        (form[f->n_value] == '0' ? !is_digit : c != (uint8_t)form[f->n_value]))
        return fail_head(f, out, "HTTP/1.1", FRAMING_LINE);
    f->value[f->n_value++] = (char)c;
    return DROP;
}

/* ---- the headers ---- */

static enum fate at_line_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_head(f, out, "", FRAMING_BARE_CR);
    buf_str(out, "\r\n");
    return go(f, FIELD, DROP);
}

static enum fate at_field(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r') return go(f, END_LF, DROP);
    if (!is_tchar(c))
        return fail_head(f, out, "A: a",
                         c == '\n'               ? FRAMING_BARE_LF
                         : c == ' ' || c == '\t' ? FRAMING_FOLD
                                                 : FRAMING_NAME);
    f->name[0] = (char)(c | 32);
    f->n_name = 1;
    return go(f, NAME, PASS);
}

static int framing_named(const struct framing *f, const char *name) {
    return f->n_name == strlen(name) && memcmp(f->name, name, f->n_name) == 0;
}

/* What completes a header whose value has not been passed. */
static const char *some_value(const struct framing *f) {
    if (framing_named(f, "transfer-encoding")) return ": chunked";
    return framing_named(f, "content-length") ? ": 0" : ": a";
}

static enum fate at_name(struct framing *f, uint8_t c, struct buf *out) {
    if (c == ':') {
        f->is_framing = framing_named(f, "content-length") || framing_named(f, "transfer-encoding");
        f->n_value = 0;
        f->is_long = 0;
        return go(f, VALUE, f->is_framing ? DROP : PASS);
    }
    if (!is_tchar(c)) return fail_head(f, out, some_value(f), c ? FRAMING_NAME : FRAMING_NUL);
    if (f->n_name < sizeof(f->name)) f->name[f->n_name++] = (char)(c == '-' ? c : c | 32);
    return PASS;
}

/* The value of one of the two headers, which was held back until its line has ended. Where it makes
 * no sense the request goes on as one with no body, up to its refusal. */
static enum fate end_framing(struct framing *f, struct buf *out) {
    while (f->n_value && f->value[f->n_value - 1] == ' ')
        f->n_value--;
    if (f->name[0] == 't') {
        f->codings++;
        if (f->is_long || f->n_value != 7 || memcmp(f->value, "chunked", 7) != 0)
            return fail_head(f, out, some_value(f), FRAMING_CODING);
    } else {
        f->lengths++;
        f->left = 0;
        int is_number = !f->is_long && f->n_value >= 1;
        for (int i = 0; i < f->n_value && is_number; i++) {
            is_number = f->value[i] >= '0' && f->value[i] <= '9';
            f->left = f->left * 10 + (uint64_t)(f->value[i] - '0');
        }
        if (!is_number) return fail_head(f, out, some_value(f), FRAMING_LENGTH);
        if (f->n_value > 18) f->lengths = 2; /* libmicrohttpd answers 413 */
    }
    buf_str(out, ": ");
    buf_add(out, f->value, f->n_value);
    return DROP;
}

static enum fate fail_value(struct framing *f, struct buf *out, enum framing_fault why) {
    return fail_head(f, out, f->is_framing ? some_value(f) : "", why);
}

static enum fate at_value(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r') return go(f, VALUE_LF, DROP);
    if (c == '\n') return fail_value(f, out, FRAMING_BARE_LF);
    if (c == '\0') return fail_value(f, out, FRAMING_NUL);
    if (!f->is_framing) return PASS;
    char low = (char)(c == '\t' ? ' ' : c >= 'A' && c <= 'Z' ? c | 32 : c);
    if (low == ' ' && f->n_value == 0) return DROP;
    if (f->n_value < sizeof(f->value))
        f->value[f->n_value++] = low;
    else
        f->is_long = 1;
    return DROP;
}

static enum fate at_value_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_value(f, out, FRAMING_BARE_CR);
    if (f->is_framing && end_framing(f, out) == FAIL) return FAIL;
    buf_str(out, "\r\n");
    return go(f, FIELD, DROP);
}

static enum fate at_end_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_head(f, out, "A: a", FRAMING_BARE_CR);
    buf_str(out, "\r\n");
    if (f->codings + f->lengths > 1) return go(f, DEAF, DROP); /* it is refused */
    if (f->codings) {
        f->n_digits = 0;
        f->n_extra = 0;
        f->left = 0;
        return go(f, SIZE, DROP);
    }
    f->lines = 0;
    return go(f, f->left ? LENGTH : START, DROP);
}

/* ---- chunks ---- */

static enum fate at_size(struct framing *f, uint8_t c, struct buf *out) {
    int is_digit = c >= '0' && c <= '9', low = c | 32;
    if (is_digit || (low >= 'a' && low <= 'f')) {
        if (++f->n_digits > DIGITS_MAX) return fail_chunk(f, out);
        f->left = f->left * 16 + (uint64_t)(is_digit ? c - '0' : low - 'a' + 10);
        return DROP;
    }
    if (f->n_digits && c == '\r') return go(f, SIZE_LF, DROP);
    if (f->n_digits && (c == ';' || c == ' ' || c == '\t')) return go(f, EXTRA, DROP);
    return fail_chunk(f, out);
}

static enum fate at_extra(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r') return go(f, SIZE_LF, DROP);
    int is_text = c == '\t' || (c >= ' ' && c != 0x7f);
    return is_text && ++f->n_extra <= EXTRA_MAX ? DROP : fail_chunk(f, out);
}

static enum fate at_size_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_chunk(f, out);
    if (f->left == 0) return go(f, TRAILER, DROP); /* the last chunk is passed with its end */
    buf_printf(out, "%llx\r\n", (unsigned long long)f->left);
    return go(f, DATA, DROP);
}

static enum fate at_data_cr(struct framing *f, uint8_t c, struct buf *out) {
    return c == '\r' ? go(f, DATA_LF, PASS) : fail_chunk(f, out);
}

static enum fate at_data_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_chunk(f, out);
    f->n_digits = 0;
    return go(f, SIZE, PASS);
}

static enum fate at_trailer(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r') return go(f, LAST_LF, DROP);
    return is_tchar(c) ? go(f, TRAILER_IN, DROP) : fail_chunk(f, out);
}

static enum fate at_trailer_in(struct framing *f, uint8_t c, struct buf *out) {
    if (c == '\r') return go(f, TRAILER_LF, DROP);
    int is_text = c == '\t' || (c >= ' ' && c != 0x7f);
    return is_text && ++f->n_extra <= EXTRA_MAX ? DROP : fail_chunk(f, out);
}

static enum fate at_trailer_lf(struct framing *f, uint8_t c, struct buf *out) {
    return c == '\n' ? go(f, TRAILER, DROP) : fail_chunk(f, out);
}

static enum fate at_last_lf(struct framing *f, uint8_t c, struct buf *out) {
    if (c != '\n') return fail_chunk(f, out);
    buf_str(out, "0\r\n\r\n");
    f->lines = 0;
    return go(f, START, DROP);
}

/* ---- all of it ---- */

static enum fate one(struct framing *f, uint8_t c, struct buf *out) {
    static enum fate (*const steps[])(struct framing *, uint8_t, struct buf *) = {
        [START] = at_start,           [START_LF] = at_start_lf, [METHOD] = at_method,
        [TARGET] = at_target,         [VERSION] = at_version,   [LINE_LF] = at_line_lf,
        [FIELD] = at_field,           [NAME] = at_name,         [VALUE] = at_value,
        [VALUE_LF] = at_value_lf,     [END_LF] = at_end_lf,     [SIZE] = at_size,
        [EXTRA] = at_extra,           [SIZE_LF] = at_size_lf,   [DATA_CR] = at_data_cr,
        [DATA_LF] = at_data_lf,       [TRAILER] = at_trailer,   [TRAILER_IN] = at_trailer_in,
        [TRAILER_LF] = at_trailer_lf, [LAST_LF] = at_last_lf,
    };
    return steps[f->state](f, c, out);
}

/* How many of n bytes of a body pass as they are. */
static size_t body(struct framing *f, size_t n) {
    size_t take = f->left < n ? (size_t)f->left : n;
    f->left -= take;
    if (f->left == 0) f->state = f->state == DATA ? DATA_CR : START;
    return take;
}

int framing_feed(struct framing *f, const uint8_t *bytes, size_t n, struct buf *out) {
    for (size_t i = 0; i < n && f->state != DEAF;) {
        if (f->state == LENGTH || f->state == DATA) {
            size_t take = body(f, n - i);
            buf_add(out, bytes + i, take);
            i += take;
        } else {
            uint8_t c = bytes[i++];
            if (one(f, c, out) == PASS) buf_char(out, (char)c);
        }
    }
    return out->bad ? -1 : 0;
}
