/* table.c - the figures on the screen, and the table that is kept. See battery.h.
 *
 * The table has a head and one line for each figure of each run, tabs between. So a stage of a
 * training is compared with another one by sort, join or a spreadsheet, and stages whose exams have
 * other parts may stand in one file.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/battery/battery.h"
#include "data/files.h"

enum { TABLE_BYTES_MAX = 64 << 20, COLUMNS = 12 };
enum column { DATE, LABEL, MODEL, DIGEST, EXAM, PART, FIGURE, N, VALUE, LOW, HIGH, TRIVIAL };

static const char head[] =
    "date\tlabel\tmodel\tsha256\texam\tpart\tfigure\tn\tvalue\tlow\thigh\twithout looking\n";

/* ---- the screen ---- */

static void print_interval(const struct figure *f) {
    if (isnan(f->low))
        printf("%17s", "");
    else
        printf("  %6.2f to %6.2f", f->low, f->high);
}

/* What stands behind a figure: answers without looking, or bins. */
static void print_beside(const struct figure *f) {
    for (int k = 0; k < BATTERY_TRIVIALS && f->trivial[k].name; k++)
        printf("%s%s %.2f", k ? ", " : "   ", f->trivial[k].name, f->trivial[k].value);
    for (int k = 0; k < f->bins; k++)
        printf("%s %.2f", k ? "" : "   stated", f->stated[k]);
    for (int k = 0; k < f->bins; k++)
        printf("%s %.2f", k ? "" : ", found", f->found[k]);
    puts("");
}

void table_print(const struct battery_run *run, const struct figures *f) {
    int has_before = 0;
    for (int i = 0; i < f->n; i++)
        has_before |= !isnan(f->at[i].before);
    printf("%s: %s, sha256 %.12s; exam %.12s; %.0f s\n\n", run->label, run->model, run->digest,
           run->exam, run->seconds);
    printf("  %-10s %-24s %7s %8s  %16s", "", "", "n", "", "95 % interval");
    printf(has_before ? " %8s   %s\n" : "%.0s   %s\n", "before", "without looking");
    for (int i = 0; i < f->n; i++) {
        const struct figure *at = &f->at[i];
        int is_new = i == 0 || strcmp(at[-1].part, at->part) != 0;
        printf("  %-10.10s %-24.24s %7u %8.2f", is_new ? at->part : "", at->name, at->n, at->value);
        print_interval(at);
        if (has_before && isnan(at->before))
            printf(" %8s", "");
        else if (has_before)
            printf(" %8.2f", at->before);
        print_beside(at);
    }
}

/* ---- the file ---- */

/* A file that isn't there is an empty one. */
static int table_read(const char *path, struct buf *b, struct err *e) {
    buf_init(b, TABLE_BYTES_MAX);
    if (access(path, F_OK) && errno == ENOENT) return 0;
    int rc = file_read(path, b, e);
    if (rc || b->len == 0) return rc;
    if (b->len < sizeof(head) - 1 || memcmp(b->p, head, sizeof(head) - 1) != 0 ||
        b->p[b->len - 1] != '\n')
        return err_set(e, E_FORMAT,
                       "%s is no table of lammd eval battery: --table needs a new file or one of "
                       "its own",
                       path);
    return 0;
}

int table_check(const char *path, struct err *e) {
    struct buf b;
    int rc = table_read(path, &b, e);
    buf_clear(&b);
    return rc;
}

/* Cuts a line at its tabs, in place; how many columns it has. */
static int table_cut(char *line, char *columns[COLUMNS]) {
    int n = 0;
    for (char *next = line; next && n < COLUMNS; line = next) {
        next = strchr(line, '\t');
        if (next) *next++ = '\0';
        columns[n++] = line;
    }
    return n;
}

static void table_take(char *line, const struct battery_run *run, struct figures *f) {
    char *c[COLUMNS];
    if (table_cut(line, c) < COLUMNS || strcmp(c[EXAM], run->exam) != 0) return;
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->at[i].part, c[PART]) == 0 && strcmp(f->at[i].name, c[FIGURE]) == 0)
            f->at[i].before = strtod(c[VALUE], NULL);
}

int table_before(const char *path, const struct battery_run *run, struct figures *f,
                 struct err *e) {
    struct buf b;
    int rc = table_read(path, &b, e);
    for (size_t at = 0; rc == 0 && at < b.len;) {
        char *line = (char *)b.p + at, *end = memchr(line, '\n', b.len - at);
        *end = '\0'; /* the file ends with one */
        at += (size_t)(end - line) + 1;
        table_take(line, run, f);
    }
    buf_clear(&b);
    return rc;
}

static void table_write(struct buf *b, const struct battery_run *run, const struct figure *f) {
    buf_printf(b, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%u\t%.4f\t", run->date, run->label, run->model,
               run->digest, run->exam, f->part, f->name, f->n, f->value);
    if (isnan(f->low))
        buf_str(b, "\t\t");
    else
        buf_printf(b, "%.4f\t%.4f\t", f->low, f->high);
    for (int k = 0; k < BATTERY_TRIVIALS && f->trivial[k].name; k++)
        buf_printf(b, "%s%s %.2f", k ? ", " : "", f->trivial[k].name, f->trivial[k].value);
    buf_str(b, "\n");
}

int table_append(const char *path, const struct battery_run *run, const struct figures *f,
                 struct err *e) {
    struct buf b;
    int rc = table_read(path, &b, e);
    if (rc == 0 && b.len == 0) buf_str(&b, head);
    for (int i = 0; rc == 0 && i < f->n; i++)
        table_write(&b, run, &f->at[i]);
    if (rc == 0 && b.bad) rc = err_set(e, E_TOO_BIG, "%s: the table is full", path);
    if (rc == 0) rc = file_write(path, b.p, b.len, e);
    buf_clear(&b);
    return rc;
}
