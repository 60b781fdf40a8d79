/* manual.c - see manual.h: pages of roff (man(7)), and the example of lammd.conf. */
#include "cli/manual.h"

#include <inttypes.h>
#include <string.h>

#include "cli/value.h"
#include "kernels/base/buf.h"
#include "kernels/base/version.h"

enum { LINE_WIDTH = 78, PAGE_LINE_MAX = 4000 };

/* ---- roff ---- */

/* What roff would take for something else; hyphens of options must stay what they are. */
static void roff_char(char c, FILE *to) {
    switch (c) {
    case '\\': fputs("\\e", to); break;
    case '-': fputs("\\-", to); break;
    case '\'': fputs("\\(aq", to); break;
    case '`': fputs("\\(ga", to); break;
    case '^': fputs("\\(ha", to); break;
    case '~': fputs("\\(ti", to); break;
    default: fputc(c, to);
    }
}

static void roff_word(const char *text, size_t n, FILE *to) {
    for (size_t i = 0; i < n; i++)
        roff_char(text[i], to);
}

void manual_roff(const char *text, FILE *to) {
    size_t column = 0;
    while (*(text += strspn(text, " \n"))) {
        size_t n = strcspn(text, " \n");
        if (column && column + 1 + n > LINE_WIDTH) {
            fputc('\n', to);
            column = 0;
        } else if (column) {
            fputc(' ', to);
            column++;
        }
        if (!column && *text == '.') fputs("\\&", to);
        roff_word(text, n, to);
        column += n;
        text += n;
    }
    fputc('\n', to);
}

/* Lines that stay as they are. */
static void roff_lines(const char *lines, FILE *to) {
    fputs(".PP\n.RS 4\n.nf\n", to);
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        if (*lines == '.') fputs("\\&", to);
        roff_word(lines, n, to);
        fputc('\n', to);
        lines += n + (lines[n] == '\n');
    }
    fputs(".fi\n.RE\n", to);
}

/* ---- an option ---- */

/* What the row says of a value: bounds, words, the default. */
static void range_text(const struct config_row *r, struct buf *out) {
    int is_number = r->kind == VALUE_NUMBER || r->kind == VALUE_NUMBERS;
    if (is_number && r->most < CONFIG_BIG)
        (void)buf_printf(out, "From %" PRId64 " to %" PRId64 ".", r->least, r->most);
    if (r->kind == VALUE_NUMBER && r->start != 0)
        (void)buf_printf(out, "%sDefault: %" PRId64 ".", out->len ? " " : "", r->start);
    const char *const *words = r->kind == VALUE_WORD ? r->words : NULL;
    for (int i = 0; words && words[i]; i++)
        (void)buf_printf(out, "%s%s%s", i ? ", " : "One of ", words[i], words[i + 1] ? "" : ".");
}

static void roff_option(const struct config_row *r, const char *dashes, const char *sign,
                        const char *value, FILE *to) {
    struct buf range;
    buf_init(&range, 512);
    range_text(r, &range);
    fputs(".TP\n\\fB", to);
    roff_word(dashes, strlen(dashes), to);
    roff_word(r->name, strlen(r->name), to);
    fputs("\\fR", to);
    if (value) {
        fprintf(to, "%s\\fI", sign);
        roff_word(value, strlen(value), to);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    manual_roff(r->help, to);
    if (range.len) manual_roff((const char *)range.p, to);
    buf_clear(&range);
}

/* ---- the marks of a page ---- */

static void fill_options(enum config_cmd cmd, FILE *to) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    const char *title = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].name) title = rows[i].help;
        if (!(rows[i].cmds & (int)cmd)) continue;
        if (title) {
            fputs(".PP\n\\fI", to);
            roff_word(title, strlen(title), to);
            fputs("\\fR\n", to);
        }
        title = NULL;
        roff_option(&rows[i], "--", " ", rows[i].value, to);
    }
}

static void fill_command(const struct cmd *c, FILE *to) {
    char arguments[4096] = "";
    fputs(".SS \"lammd ", to);
    roff_word(c->name, strlen(c->name), to);
    fputs("\"\n\\fBlammd ", to);
    roff_word(c->name, strlen(c->name), to);
    fputs("\\fR\n", to);
    manual_roff(c->usage, to);
    fputs(".PP\n", to);
    manual_roff(c->about, to);
    if (c->arguments) {
        FILE *f = fmemopen(arguments, sizeof(arguments) - 1, "w");
        must(f);
        c->arguments(f);
        must(fclose(f) == 0);
        roff_lines(arguments, to);
    }
    fill_options(c->cmd, to);
    fputs(".PP\n\\fIExamples\\fR\n", to);
    roff_lines(c->examples, to);
}

static void fill_commands(FILE *to) {
    size_t n;
    const struct cmd *all = cmd_all(&n);
    for (size_t i = 0; i < n; i++)
        fill_command(&all[i], to);
}

static void fill_keys(FILE *to) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    const char *title = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct config_row *r = &rows[i];
        if (!r->name) title = r->help;
        if (!(r->cmds & CMD_SERVE) || r->is_of_line) continue;
        if (title) {
            fputs(".SS \"", to);
            roff_word(title, strlen(title), to);
            fputs("\"\n", to);
        }
        title = NULL;
        roff_option(r, "", " = ", r->kind == VALUE_FLAG ? "yes|no" : r->value, to);
    }
}

static void fill_line(const char *line, FILE *to) {
    static const char mark[] = "@version@";
    for (const char *at; (at = strstr(line, mark)); line = at + strlen(mark)) {
        fwrite(line, 1, (size_t)(at - line), to);
        fputs(LAMMD_VERSION, to);
    }
    fputs(line, to);
}

int manual_fill(FILE *page, FILE *to, struct err *e) {
    char line[PAGE_LINE_MAX + 2];
    for (int n = 1; fgets(line, sizeof(line), page); n++) {
        if (!strchr(line, '\n')) return err_set(e, E_TOO_BIG, "line %d is too long", n);
        if (strcmp(line, "@commands@\n") == 0)
            fill_commands(to);
        else if (strcmp(line, "@keys@\n") == 0)
            fill_keys(to);
        else if (*line == '@')
            return err_set(e, E_FORMAT, "line %d: there is no mark %.40s", n, line);
        else
            fill_line(line, to);
    }
    return 0;
}

/* ---- the example of lammd.conf ---- */

/* Words as comments, in lines of at most LINE_WIDTH. */
static void example_comment(const char *text, FILE *to) {
    int column = 0;
    while (*(text += strspn(text, " "))) {
        int n = (int)strcspn(text, " ");
        if (column && column + 1 + n > LINE_WIDTH) {
            fputc('\n', to);
            column = 0;
        }
        column += fprintf(to, "%s %.*s", column ? "" : "#", n, text);
        text += n;
    }
    fputc('\n', to);
}

static void example_row(const struct config_row *r, FILE *to) {
    struct buf text;
    buf_init(&text, 2048);
    (void)buf_printf(&text, "%s ", r->help);
    struct buf range;
    buf_init(&range, 512);
    range_text(r, &range);
    if (range.len) (void)buf_add(&text, range.p, range.len);
    must(!text.bad && !range.bad);
    fputc('\n', to);
    example_comment((const char *)text.p, to);
    switch (r->kind) {
    case VALUE_NUMBER: fprintf(to, "#%s = %" PRId64 "\n", r->name, r->start); break;
    case VALUE_WORD: fprintf(to, "#%s = %s\n", r->name, r->words[0]); break;
    case VALUE_FLAG: fprintf(to, "#%s = %s\n", r->name, value_flag_words[0]); break;
    case VALUE_TEXT:
    case VALUE_NUMBERS:
    case VALUE_LIST: fprintf(to, "#%s = %s\n", r->name, r->value); break;
    }
    buf_clear(&range);
    buf_clear(&text);
}

void manual_example(FILE *to) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    const char *title = NULL;
    fputs("# lammd.conf - every option of lammd serve that this file may have, explained.\n"
          "# See lammd.conf(5). Behind each = stands the default, or what is meant there.\n",
          to);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].name) title = rows[i].help;
        if (!(rows[i].cmds & CMD_SERVE) || rows[i].is_of_line) continue;
        if (title) fprintf(to, "\n# ---- %s ----\n", title);
        title = NULL;
        example_row(&rows[i], to);
    }
}
