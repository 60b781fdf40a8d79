/* rounds.c - see rounds.h. */
#include "data/rounds.h"

#include <stdio.h>
#include <string.h>

#include "data/annot.h"
#include "data/files.h"
#include "kernels/base/mem.h"

static const struct rounds_rules games[] = {
    [ROUNDS_CAR_RACING] = {"car_racing", 2, ROUNDS_VALUES_MAX, 20},
    [ROUNDS_SPACE_INVADERS] = {"space_invaders", ROUNDS_FRAMES_MAX, 1, 5}};

int rounds_read_action(const struct rounds_rules *g, const json_t *v, uint8_t *to) {
    if (g->values > 1 && json_array_size(v) != (size_t)g->values) return E_FORMAT;
    for (int k = 0; k < g->values; k++) {
        const json_t *x = g->values > 1 ? json_array_get(v, (size_t)k) : v;
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > g->most)
            return E_FORMAT;
        to[k] = (uint8_t)json_integer_value(x);
    }
    return 0;
}

const struct rounds_rules *rounds_find(const char *name, enum rounds_game *game) {
    for (size_t i = 0; i < ARRAY_LEN(games); i++) {
        if (strcmp(name, games[i].name) != 0) continue;
        *game = (enum rounds_game)i;
        return &games[i];
    }
    return NULL;
}

static int read_step(const struct rounds_rules *g, const json_t *o, const struct annot_at *at,
                     struct rounds_step *to, struct err *e) {
    int rc = annot_names(o, "frames", (size_t)g->frames, at, to->frames, e);
    if (rc || rounds_read_action(g, json_object_get(o, "action"), to->action) == 0) return rc;
    return annot_bad(at, e, "\"action\" must be %s of 0 .. %d",
                     g->values > 1 ? "three whole numbers" : "a whole number", g->most);
}

static int rounds_read_game(struct rounds *r, const char *path, struct err *e) {
    const char *name;
    int rc = annot_text(r->root, "game", 1, &(struct annot_at){path, "rollout", 0}, &name, e);
    if (rc) return rc;
    r->rules = rounds_find(name, &r->game);
    if (r->rules) return 0;
    return err_set(e, E_FORMAT, "%s: game \"%.40s\" is neither car_racing nor space_invaders", path,
                   name);
}

int rounds_open(const char *path, int64_t limit, struct rounds *out, struct err *e) {
    char file[4096];
    memset(out, 0, sizeof(*out));
    int len =
        snprintf(file, sizeof(file), "%s%s", path, file_is_folder(path) ? "/rollout.json" : "");
    if (len < 0 || (size_t)len >= sizeof(file))
        return err_set(e, E_INVALID, "the path is too long");
    const json_t *list;
    int rc = annot_open(file, &out->root, e);
    if (rc == 0) rc = rounds_read_game(out, path, e);
    if (rc == 0) rc = annot_array(out->root, "steps", path, &list, e);
    if (rc) return rc;
    size_t n = json_array_size(list);
    if (limit && n > (size_t)limit) n = (size_t)limit;
    if (n == 0) return err_set(e, E_FORMAT, "%s: no step", path);
    out->at = mem_must(n * sizeof(*out->at));
    for (; rc == 0 && out->n < n; out->n++)
        rc = read_step(out->rules, json_array_get(list, out->n),
                       &(struct annot_at){path, "steps", out->n}, &out->at[out->n], e);
    return rc;
}

void rounds_close(struct rounds *r) {
    mem_free(r->at);
    json_decref(r->root);
    memset(r, 0, sizeof(*r));
}
