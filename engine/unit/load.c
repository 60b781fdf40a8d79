/* load.c - adapters on their way into a unit's berths.
 *
 * Opening, checking and widening is done on the caller's thread. Then the adapter goes into the
 * queue of each unit, beside jobs. The step thread takes one layer of one adapter a turn, between
 * two passes, so what runs meanwhile is held up by the time of one copy. Nobody can have asked for
 * an adapter before all units have it, so a berth that is being filled is in no pass.
 */
#include <string.h>

#include "engine/unit/unit.h"

/* ---- the caller's side ---- */

static void describe_loaded(struct eng_adapter *a, const struct adapter *files,
                            const struct cargo *cargo, const char *content) {
    struct eng_adapter_info *i = &a->info;
    memcpy(i->digest, content, sizeof i->digest);
    i->has_lora = files->peft != NULL;
    i->has_overlay = files->overlay != NULL;
    i->rank = files->peft ? files->peft->c.r : 0;
    i->parameters = cargo_parameters(cargo);
    i->bytes = adapter_bytes(files);
}

static int load_check(const struct unit *u, const struct adapter *a, struct err *err) {
    const struct eng_info *i = &u->info;
    if (a->peft && a->peft->c.r > i->adapter_rank)
        return err_set(err, E_TOO_BIG, "r: its rank is %d, there is room for %d", a->peft->c.r,
                       i->adapter_rank);
    if (a->overlay && !i->adapter_overlays)
        return err_set(err, E_TOO_BIG, "it has an overlay, and no room was reserved for any");
    return 0;
}

/* The names of what makes its features and of all of it. */
static int name_content(const struct unit *u, const struct adapter *a, char vision[ADAPTER_DIGEST],
                        char content[ADAPTER_DIGEST], struct err *err) {
    char text[ADAPTER_DIGEST];
    const char *base = model_file_digest(u->model);
    int rc = adapter_vision_digest(base, a->overlay, vision, err);
    if (!rc) rc = adapter_text_digest(base, a->peft, text, err);
    if (!rc) rc = adapter_content_digest(vision, text, content, err);
    if (!a->overlay) vision[0] = '\0';
    return rc;
}

/* Into a berth of the table, for so many units. */
static int load_files(const struct unit *u, const struct adapter *files, struct berths *b,
                      int units, struct eng_adapter **out, struct err *err) {
    char vision[ADAPTER_DIGEST], content[ADAPTER_DIGEST];
    struct cargo *cargo;
    int rc = load_check(u, files, err);
    if (!rc) rc = name_content(u, files, vision, content, err);
    if (rc) return rc;
    int berth = berths_take(b, files->overlay != NULL);
    if (berth < 0)
        return err_set(err, E_BUSY, "all %d places for adapters%s are taken",
                       files->overlay ? b->overlays : b->n,
                       files->overlay ? " with an overlay" : "");
    rc = cargo_new(model_config(u->model), files, units, &cargo, err);
    if (rc) {
        berths_give(b, berth);
        return rc;
    }
    *out = loaded_new(b, berth, cargo, units);
    if (!*out) return err_set(err, E_NOMEM, "no memory for an adapter");
    describe_loaded(*out, files, cargo, content);
    memcpy((*out)->vision, vision, sizeof vision);
    return 0;
}

int unit_open_adapter(const struct unit *u, const char *folder, struct berths *b, int units,
                      struct eng_adapter **out, struct err *err) {
    const struct model_text *t = &model_config(u->model)->text;
    struct peft_sizes sizes = {t->layers, t->hidden_size, t->intermediate_size};
    struct adapter *files;
    *out = NULL;
    int rc = adapter_open(folder, &sizes, model_file_digest(u->model), &files, err);
    if (rc) return rc;
    rc = load_files(u, files, b, units, out, err);
    adapter_close(files);
    if (rc) (void)err_in(err, "%s", folder);
    return rc;
}

void unit_bring(struct unit *u, struct eng_adapter *a) {
    if (queue_push(u->queue, a)) loaded_end(a, E_CANCELLED, "the engine closes");
}

/* ---- the step thread's side ---- */

void load_take(struct unit *u, struct eng_adapter *a) {
    must(u->n_loading < ENG_ADAPTERS_MAX); /* each has a berth of its own */
    u->loading[u->n_loading++] = a;
}

/* The oldest leaves. */
static void load_end(struct unit *u, int code, const char *why) {
    struct eng_adapter *a = u->loading[0];
    u->n_loading--;
    memmove(u->loading, u->loading + 1, (size_t)u->n_loading * sizeof u->loading[0]);
    u->loaded_layers = 0;
    loaded_end(a, code, why);
}

void load_turn(struct unit *u) {
    if (!u->n_loading) return;
    struct eng_adapter *a = u->loading[0];
    if (!loaded_is_wanted(a)) {
        load_end(u, E_CANCELLED, "given up while it was loaded");
        return;
    }
    loaded_begin(a);
    if (!u->loaded_layers) model_berth_clear(u->model, a->berth);
    model_berth_fill(u->model, a->berth, a->cargo, u->loaded_layers);
    cargo_landed(a->cargo, u->loaded_layers++);
    if (u->loaded_layers == cargo_layers(a->cargo)) load_end(u, 0, NULL);
}

void load_end_all(struct unit *u, int code, const char *why) {
    while (u->n_loading)
        load_end(u, code, why);
}
