/* multipart.c - see multipart.h.
 *
 *     PREAMBLE --delimiter--> HEAD --blank line--> DATA --delimiter--> HEAD ...
 *         '------closing delimiter------> EPILOGUE <-----closing delimiter--'
 *
 * A delimiter is a line break, two dashes and the boundary; then two more dashes, or blanks and a
 * line break. While bytes could be one they are held. When they turn out to be none they are data,
 * all of them, because only the first byte of a delimiter can begin another.
 *
 * At the body's begin and behind a part's headers the delimiter's line break may be missing. It is
 * taken as given there: it is held, too, but is no data (n_given).
 *
 * Lines end in CR LF. When the first delimiter's line ends in LF alone, as scripts write it, so do
 * the others. TRAPS: a longer boundary that begins with ours, as a nested body may have, is data.
 */
#include "server/http/multipart.h"

#include <string.h>
#include <strings.h>

#include "kernels/base/err.h"

static int multipart_refuse(struct multipart *m, int rc, const char *why) {
    if (m->rc == 0) {
        m->rc = rc;
        m->why = why;
    }
    return m->rc;
}

static int multipart_is_blank(char c) { return c == ' ' || c == '\t'; }

/* ---- header values: word *(";" name "=" value) ---- */

/* A quoted value, from behind its first quote on, in place. Behind its last quote; NULL: there is
 * none. A backslash escapes a quote or a backslash; elsewhere it is one, as in C:\a.png. */
static char *unquote(char *s) {
    char *to = s;
    for (; *s && *s != '"'; s++) {
        if (s[0] == '\\' && (s[1] == '"' || s[1] == '\\')) s++;
        *to++ = *s;
    }
    if (!*s) return NULL;
    *to = '\0';
    return s + 1;
}

struct parameter {
    char *name, *value;
};

/* Where the parameters of a value begin. */
static char *behind_word(char *s) {
    s += strcspn(s, ";");
    return *s ? s + 1 : s;
}

/* The next parameter at *at, ended by NULs in place; *at moves behind it. 1: *p is it; 0: there is
 * none; -1: a quote is not closed. What has no `=` is passed over. */
static int next_parameter(char **at, struct parameter *p) {
    char *s = *at + strspn(*at, "; \t");
    size_t n = strcspn(s, "=;");
    for (; s[n] == ';'; n = strcspn(s, "=;"))
        s += n + strspn(s + n, "; \t");
    if (!s[n]) return 0;
    char *value = s + n + 1 + strspn(s + n + 1, " \t");
    char *end = *value == '"' ? unquote(value + 1) : value + strcspn(value, "; \t");
    if (!end) return -1;
    *at = behind_word(end);
    *end = '\0';
    s[strcspn(s, "= \t")] = '\0';
    *p = (struct parameter){.name = s, .value = *value == '"' ? value + 1 : value};
    return 1;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 8187: utf-8'en'caf%c3%a9.png -> the text, in place; NULL: another charset, or malformed. */
static char *decode_extended(char *s) {
    char *text = strncasecmp(s, "utf-8'", 6) == 0 ? strchr(s + 6, '\'') : NULL;
    if (!text) return NULL;
    char *to = ++text;
    for (char *from = text; *from; from++) {
        char c = *from;
        if (c == '%') {
            int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
            if (low < 0 || high + low == 0) return NULL;
            c = (char)(high * 16 + low);
            from += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return text;
}

/* ---- the headers of a part ---- */

/* name="image"; filename="a.png"; filename*=UTF-8''a.png */
static int read_disposition(struct multipart *m, char *value, struct multipart_part *part) {
    struct parameter p;
    char *at = behind_word(value);
    int got, is_extended = 0;
    while ((got = next_parameter(&at, &p)) == 1) {
        if (strcasecmp(p.name, "name") == 0) {
            if (part->name) return multipart_refuse(m, E_FORMAT, "a part has two names");
            part->name = p.value;
        } else if (strcasecmp(p.name, "filename*") == 0) {
            char *text = decode_extended(p.value);
            if (text) part->file_name = text;
            is_extended |= text != NULL;
        } else if (strcasecmp(p.name, "filename") == 0 && !is_extended) {
            part->file_name = p.value;
        }
    }
    return got ? multipart_refuse(m, E_FORMAT, "a part's Content-Disposition is malformed") : 0;
}

static int check_encoding(struct multipart *m, const char *value) {
    static const char *const plain[] = {"binary", "8bit", "7bit", ""};
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
        if (strcasecmp(value, plain[i]) == 0) return 0;
    }
    return multipart_refuse(
        m, E_UNSUPPORTED,
        "a part has a Content-Transfer-Encoding; send its bytes as they are (binary)");
}

/* One unfolded line, without its line break. */
static int multipart_read_header(struct multipart *m, char *line, struct multipart_part *part) {
    char *colon = strchr(line, ':');
    if (!colon) return multipart_refuse(m, E_FORMAT, "a line among a part's headers has no colon");
    char *name_end = colon, *value = colon + 1 + strspn(colon + 1, " \t");
    char *end = value + strlen(value);
    while (name_end > line && multipart_is_blank(name_end[-1]))
        name_end--;
    while (end > value && multipart_is_blank(end[-1]))
        end--;
    *name_end = *end = '\0';
    if (strcasecmp(line, "Content-Disposition") == 0) return read_disposition(m, value, part);
    if (strcasecmp(line, "Content-Transfer-Encoding") == 0) return check_encoding(m, value);
    if (strcasecmp(line, "Content-Type") == 0 && *value) part->type = value;
    return 0;
}

/* m->head, up to its blank line -> the sink's begin. */
static int multipart_read_head(struct multipart *m) {
    struct multipart_part part = {.name = NULL};
    m->head[m->n_head] = '\0';
    if (strlen(m->head) != m->n_head)
        return multipart_refuse(m, E_FORMAT, "a part's header has a NUL");
    for (char *line = m->head, *next; *line && m->rc == 0; line = next) {
        char *end = strchr(line, '\n');      /* each line has one */
        while (multipart_is_blank(end[1])) { /* folded */
            *end = ' ';
            if (end > line && end[-1] == '\r') end[-1] = ' ';
            end = strchr(end, '\n');
        }
        next = end + 1;
        if (end > line && end[-1] == '\r') end--;
        *end = '\0';
        multipart_read_header(m, line, &part);
    }
    if (m->rc == 0 && !part.name) multipart_refuse(m, E_FORMAT, "a part has no name");
    if (m->rc == 0) m->rc = m->sink->begin(m->ud, &part);
    return m->rc;
}

/* Take bytes of the headers up to the end of a line; how many. */
static size_t take_head(struct multipart *m, const char *bytes, size_t n) {
    const char *newline = memchr(bytes, '\n', n);
    size_t used = newline ? (size_t)(newline - bytes) + 1 : n;
    if (m->n_head + used > MULTIPART_HEAD_MAX) {
        multipart_refuse(m, E_FORMAT, "the headers of a part have over 4096 bytes");
        return used;
    }
    memcpy(m->head + m->n_head, bytes, used);
    m->n_head += used;
    if (!newline) return used;
    /* The blank line: a line break alone, or behind the one of the line before. */
    const char *h = m->head;
    size_t len = m->n_head - (m->n_head > 1 && h[m->n_head - 2] == '\r' ? 2 : 1);
    if (len && h[len - 1] != '\n') return used;
    m->n_head = len;
    if (multipart_read_head(m)) return used;
    m->state = MULTIPART_DATA;
    memcpy(m->held, "\r\n", 2);
    m->n_given = m->n_held = 2;
    return used;
}

/* ---- delimiters ---- */

/* What is held is no delimiter. */
static void let_go(struct multipart *m) {
    size_t n = m->n_held - m->n_given;
    if (m->state == MULTIPART_DATA && n) m->rc = m->sink->data(m->ud, m->held + m->n_given, n);
    m->n_held = m->n_given = 0;
}

/* What is held is one, whole. */
static void take_delimiter(struct multipart *m, int is_closing) {
    int is_first = m->state == MULTIPART_PREAMBLE;
    if (is_first) m->first = m->held[m->n_held - 2] == '\r' ? 0 : 1;
    m->n_held = m->n_given = m->n_head = 0;
    m->state = is_closing ? MULTIPART_EPILOGUE : MULTIPART_HEAD;
    if (!is_first) m->rc = m->sink->end(m->ud);
}

/* May c follow what is held? */
static int multipart_fits(const struct multipart *m, char c) {
    size_t n = m->n_held;
    char last = m->held[n - 1];
    if (n < m->delimiter_len) return c == m->delimiter[n];
    if (n == m->delimiter_len) return c == '-' || multipart_is_blank(c) || c == '\r' || c == '\n';
    if (last == '-') return c == '-';
    if (last == '\r') return c == '\n';
    return n < sizeof(m->held) - 2 && (multipart_is_blank(c) || c == '\r' || c == '\n');
}

/* Take bytes of the preamble or of a part's data; how many. */
static size_t take_data(struct multipart *m, const char *bytes, size_t n) {
    if (m->n_held == 0) {
        const char *at = memchr(bytes, m->delimiter[m->first], n);
        size_t run = at ? (size_t)(at - bytes) : n;
        if (run && m->state == MULTIPART_DATA) m->rc = m->sink->data(m->ud, bytes, run);
        if (run) return run;
        memcpy(m->held, m->delimiter, m->first + 1); /* its CR is given when LF is the first */
        m->n_given = m->first;
        m->n_held = m->first + 1;
        return 1;
    }
    if (!multipart_fits(m, *bytes)) {
        let_go(m);
        return 0;
    }
    m->held[m->n_held++] = *bytes;
    int is_closing = m->n_held == m->delimiter_len + 2 && *bytes == '-';
    if (is_closing || (m->n_held > m->delimiter_len && *bytes == '\n'))
        take_delimiter(m, is_closing);
    return 1;
}

/* ---- the body ---- */

/* One `boundary` of 1 to 70 visible characters, blanks between them. */
static int read_boundary(struct multipart *m, char *content_type) {
    struct parameter p;
    const char *boundary = NULL;
    char *at = behind_word(content_type);
    while (next_parameter(&at, &p) == 1) {
        if (strcasecmp(p.name, "boundary") != 0) continue;
        if (boundary) return multipart_refuse(m, E_FORMAT, "Content-Type has two boundaries");
        boundary = p.value;
    }
    size_t n = boundary ? strlen(boundary) : 0;
    if (n == 0)
        return multipart_refuse(m, E_FORMAT, "the multipart boundary is missing in Content-Type");
    if (n > MULTIPART_BOUNDARY_MAX)
        return multipart_refuse(m, E_FORMAT, "the multipart boundary has over 70 characters");
    for (size_t i = 0; i < n; i++) {
        if (boundary[i] < ' ' || boundary[i] > '~' || (i + 1 == n && boundary[i] == ' '))
            return multipart_refuse(m, E_FORMAT,
                                    "the multipart boundary has a character that is not legal");
    }
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, n + 1);
    m->delimiter_len = 4 + n;
    return 0;
}

int multipart_open(struct multipart *m, const char *content_type, const struct multipart_sink *sink,
                   void *ud) {
    size_t n = strlen(content_type);
    *m = (struct multipart){.sink = sink, .ud = ud, .first = 1, .n_held = 2, .n_given = 2};
    memcpy(m->held, "\r\n", 2);
    if (n > MULTIPART_HEAD_MAX)
        return multipart_refuse(m, E_FORMAT, "Content-Type has over 4096 bytes");
    memcpy(m->head, content_type, n + 1); /* it is written to while it is read */
    return read_boundary(m, m->head);
}

int multipart_feed(struct multipart *m, const char *bytes, size_t n) {
    while (n && m->rc == 0 && m->state != MULTIPART_EPILOGUE) {
        size_t used = m->state == MULTIPART_HEAD ? take_head(m, bytes, n) : take_data(m, bytes, n);
        bytes += used;
        n -= used;
    }
    return m->rc;
}

int multipart_end(struct multipart *m) {
    if (m->state == MULTIPART_PREAMBLE)
        multipart_refuse(m, E_FORMAT, "the boundary that Content-Type names is not in the body");
    else if (m->state != MULTIPART_EPILOGUE)
        multipart_refuse(m, E_FORMAT,
                         "the multipart body is cut short: its closing boundary is missing");
    return m->rc;
}

const char *multipart_why(const struct multipart *m) { return m->why; }
