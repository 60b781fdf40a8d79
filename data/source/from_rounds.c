/* from_rounds.c - a recorded round of a game as lines: see internal.h and data/rounds.h. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "data/rounds.h"
#include "data/source/internal.h"
#include "kernels/base/mem.h"

/* Where its frames lie, below the store's folder: "", "images/", "round-1/" ... */
static int rounds_prefix(const char *path, const char *frame, int is_below, char to[600],
                         struct err *e) {
    char file[4096 + 300];
    struct stat st;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    snprintf(file, sizeof(file), "%s/%s", path, frame);
    int is_inner = stat(file, &st) != 0;
    int n = snprintf(to, 600, "%s%s%s", is_below ? base : "", is_below ? "/" : "",
                     is_inner ? "images/" : "");
    return n >= 0 && n < 600 ? 0 : err_set(e, E_INVALID, "%s: the path is too long", path);
}

static json_t *rounds_line(const struct rounds *r, const struct rounds_step *at) {
    json_t *frames = json_array(), *action = json_array();
    for (int i = 0; i < r->rules->frames; i++)
        json_array_append_new(frames, json_string(at->frames[i]));
    for (int i = 0; i < r->rules->values; i++)
        json_array_append_new(action, json_integer(at->action[i]));
    if (r->rules->values == 1) {
        json_t *one = json_incref(json_array_get(action, 0));
        json_decref(action);
        action = one;
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:s}", "task", "act", "game", r->rules->name, "images",
                     frames, "action", action, "orient", "stored");
}

int source_from_rounds(struct source *s, const char *path, struct err *e) {
    struct rounds r;
    char prefix[600];
    int is_below = s->store != NULL;
    if (!is_below) s->store = store_new(path, NULL);
    int rc = rounds_open(path, 0, &r, e);
    if (rc == 0) rc = rounds_prefix(path, r.at[0].frames[0], is_below, prefix, e);
    struct source_file *f = rc == 0 ? source_make(s, path, e) : NULL;
    if (rc == 0 && !f) rc = E_TOO_BIG;
    if (f) {
        mem_free(f->prefix);
        f->prefix = mem_strdup(prefix);
    }
    for (uint32_t i = 0; rc == 0 && i < r.n; i++)
        rc = source_make_line(f, rounds_line(&r, &r.at[i]), e);
    rounds_close(&r);
    return rc;
}
