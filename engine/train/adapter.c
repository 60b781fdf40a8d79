/* adapter.c - what learnt goes out as an adapter folder (engine/files/adapter.h), and comes in from
 * one when a stage begins.
 *
 * In: everything in the folder has to have a place here. What learns here but isn't in it begins as
 * it is: stage 2's tower as the base's, a LoRA behind a stage without one as a new one. A tower
 * that learnt and doesn't any more is carried along (carry.h). All is checked before any weight
 * changes.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/newfolder.h"
#include "engine/files/st_write.h"
#include "engine/train/carry.h"
#include "engine/train/out.h"
#include "kernels/base/mem.h"
#include "kernels/base/version.h"

/* Bits of train.h are places of peft.h. */
_Static_assert(TRAIN_LORA_Q == 1 << PEFT_Q && TRAIN_LORA_K == 1 << PEFT_K, "");
_Static_assert(TRAIN_LORA_V == 1 << PEFT_V && TRAIN_LORA_O == 1 << PEFT_O, "");
_Static_assert(TRAIN_LORA_GATE == 1 << PEFT_GATE && TRAIN_LORA_UP == 1 << PEFT_UP, "");
_Static_assert(TRAIN_LORA_DOWN == 1 << PEFT_DOWN && (int)TRAIN_LORA_RANK_MAX == PEFT_RANK_MAX, "");

static struct peft_sizes sizes_of(const struct train *t) {
    const struct model_text *c = &model_config(t->m)->text;
    return (struct peft_sizes){c->layers, c->hidden_size, c->intermediate_size};
}

static struct peft_config config_of(const struct train *t) {
    const struct train_lora *l = &t->o.lora;
    struct peft_config c = {.r = l->r,
                            .alpha = (double)l->alpha,
                            .is_rslora = l->is_rslora != 0,
                            .dropout = (double)l->dropout,
                            .places = l->targets};
    /* The folder's own name, without where it lies on this machine. */
    size_t n = strlen(t->model);
    while (n > 1 && t->model[n - 1] == '/')
        n--;
    size_t from = n;
    while (from && t->model[from - 1] != '/')
        from--;
    (void)snprintf(c.base, sizeof c.base, "%.*s", (int)(n - from), t->model + from);
    return c;
}

/* ---- out ---- */

/* Parameters of one kind as a file, then what is carried. */
struct saving {
    struct train *t;
    const struct param **params; /* (n); NULL: carried */
    struct st_tensor *tensors;
    char (*names)[ST_NAME_MAX + 1];
    size_t n;
};

static int adapter_fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    const struct saving *s = ud;
    at /= sizeof(float);
    n /= sizeof(float);
    if (s->params[i]) return out_get(s->t, out_block(s->t), s->params[i], at, to, n, e);
    st_floats(carry_find(s->t, s->names[i]), at, to, n);
    return 0;
}

static void add_param(struct saving *s, const struct param *p) {
    char *name = s->names[s->n];
    (void)snprintf(name, ST_NAME_MAX + 1, "%s%s", p->is_lora ? PEFT_PREFIX : "", p->name);
    s->params[s->n] = p;
    s->tensors[s->n++] = out_tensor(name, p);
}

static void add_carried(struct saving *s, const struct st_tensor *t) {
    char *name = s->names[s->n];
    (void)snprintf(name, ST_NAME_MAX + 1, "%s", t->name);
    struct st_tensor *to = &s->tensors[s->n++];
    *to = *t;
    to->name = name;
    to->dtype = ST_F32;
}

/* Writes the LoRA's or the other tensors. *n gets how many there are; no file for none. */
static int save_tensors(struct train *t, const char *path, int is_lora, size_t *n, struct err *e) {
    size_t most = (size_t)t->params.n;
    while (!is_lora && carry_at(t, most - (size_t)t->params.n))
        most++;
    struct saving s = {.t = t};
    s.params = mem_try((most + 1) * sizeof *s.params);
    s.tensors = mem_try((most + 1) * sizeof *s.tensors);
    s.names = mem_try((most + 1) * sizeof *s.names);
    int rc = s.params && s.tensors && s.names ? 0 : err_set(e, E_NOMEM, "no memory for names");
    for (int i = 0; i < t->params.n && !rc; i++)
        if (!t->params.at[i].is_dense && !t->params.at[i].is_lora == !is_lora)
            add_param(&s, &t->params.at[i]);
    const struct st_tensor *carried;
    for (size_t i = 0; !rc && !is_lora && (carried = carry_at(t, i)) != NULL; i++)
        add_carried(&s, carried);
    static const struct st_text format = {"format", "pt"}; /* as peft writes it */
    struct st_new file = {s.tensors, s.n, &format, 1, adapter_fill, &s};
    *n = s.n;
    if (!rc && s.n) rc = st_write(path, &file, e);
    mem_free(s.params);
    mem_free(s.tensors);
    mem_free(s.names);
    return rc;
}

static int save_config(struct train *t, const char *path, struct err *e) {
    struct peft_config c = config_of(t);
    char *text = NULL;
    size_t len = 0;
    int rc = peft_print_config(&c, &text, &len, e);
    if (!rc) rc = newfile_write(path, text, len, e);
    mem_free(text);
    return rc;
}

/* The card speaks of the files as they are: they are read again, by the strict reader. */
static int save_card(struct train *t, struct newfolder *f, int has_lora, int has_overlay,
                     const struct train_meta *m, struct err *e) {
    struct adapter_card c = {.seed = t->o.seed, .steps = t->steps, .program = LAMMD_VERSION};
    struct peft_sizes sizes = sizes_of(t);
    struct peft *peft = NULL;
    struct st *overlay = NULL;
    char *text = NULL;
    size_t len = 0;
    (void)snprintf(c.base, sizeof c.base, "%s", model_digest(t->m));
    (void)snprintf(c.data, sizeof c.data, "%s", m && m->data ? m->data : "");
    (void)snprintf(c.recipe, sizeof c.recipe, "%s", m && m->recipe ? m->recipe : "");
    int rc = has_lora ? peft_open(f->temp, &sizes, &peft, e) : 0;
    if (!rc && has_overlay) rc = st_open(newfolder_file(f, ADAPTER_OVERLAY), &overlay, e);
    if (!rc) rc = adapter_vision_digest(c.base, overlay, c.vision, e);
    if (!rc) rc = adapter_text_digest(c.base, peft, c.text, e);
    if (!rc) rc = adapter_print_card(&c, &text, &len, e);
    if (!rc) rc = newfile_write(newfolder_file(f, ADAPTER_CARD), text, len, e);
    mem_free(text);
    peft_close(peft);
    st_close(overlay);
    return rc;
}

static int save_all(struct train *t, struct newfolder *f, const struct train_meta *m,
                    const char *readme, struct err *e) {
    size_t n_lora = 0, n_overlay = 0;
    int rc = save_tensors(t, newfolder_file(f, PEFT_MODEL), 1, &n_lora, e);
    if (!rc && n_lora) rc = save_config(t, newfolder_file(f, PEFT_CONFIG), e);
    if (!rc) rc = save_tensors(t, newfolder_file(f, ADAPTER_OVERLAY), 0, &n_overlay, e);
    if (!rc) rc = save_card(t, f, n_lora > 0, n_overlay > 0, m, e);
    if (!rc && readme)
        rc = newfile_write(newfolder_file(f, ADAPTER_README), readme, strlen(readme), e);
    return rc;
}

int train_export_adapter(struct train *t, const char *folder, const struct train_meta *m,
                         const char *readme, struct err *e) {
    static const char *const names[] = {
        PEFT_CONFIG, PEFT_MODEL, ADAPTER_OVERLAY, ADAPTER_CARD, ADAPTER_README, ADAPTER_GATE, NULL};
    if (t->o.text == TRAIN_TEXT_FULL)
        return err_set(e, E_INVALID, "the whole decoder learnt: export a model, not an adapter");
    struct newfolder f;
    int rc = 0;
    if (out_is_mine(t)) {
        rc = newfolder_begin(&f, folder, names, e);
        if (!rc) rc = save_all(t, &f, m, readme, e);
        rc = newfolder_end(&f, rc, e);
    }
    return out_agree(t, rc, folder, e);
}

/* ---- in ---- */

static int adapter_check_lora(const struct train *t, const struct peft *p, struct err *e) {
    const struct train_lora *l = &t->o.lora;
    if (t->o.text != TRAIN_TEXT_LORA)
        return err_set(e, E_INVALID, "it has a LoRA, and the decoder doesn't learn by one here");
    if (p->c.r != l->r || p->c.is_rslora != (l->is_rslora != 0) ||
        fabs(p->c.alpha - (double)l->alpha) > 1e-6 * p->c.alpha)
        return err_set(e, E_FORMAT, "its LoRA has r %d, alpha %g%s; here it has r %d, alpha %g%s",
                       p->c.r, p->c.alpha, p->c.is_rslora ? ", rslora" : "", l->r, (double)l->alpha,
                       l->is_rslora ? ", rslora" : "");
    for (int i = 0; i < p->sizes.layers * PEFT_PLACES; i++) {
        int place = i % PEFT_PLACES, is_here = l->targets >> place & 1;
        if (is_here == (p->pairs[i].a != NULL)) continue;
        return err_set(e, E_FORMAT, "layer %d, %s: %s", i / PEFT_PLACES,
                       peft_place_name((enum peft_place)place),
                       is_here ? "it has no LoRA there" : "there is no LoRA here");
    }
    return 0;
}

/* Into masters, and into the average where one is kept. */
static int put_param(struct train *t, const struct param *p, const struct st_tensor *from,
                     struct err *e) {
    struct kern_ptr blocks[2] = {t->params.value, t->params.average};
    return out_put_tensor(t, blocks, 2, p, from, e);
}

static int put_lora(struct train *t, const struct peft *p, struct err *e) {
    int rc = 0;
    for (int i = 0; i < p->sizes.layers * PEFT_PLACES * 2 && !rc; i++) {
        const struct peft_pair *pair = &p->pairs[i / 2];
        char name[PEFT_NAME_MAX];
        if (!pair->a) continue;
        peft_name(name, i / 2 / PEFT_PLACES, (enum peft_place)(i / 2 % PEFT_PLACES), i % 2);
        const struct param *at = params_find(&t->params, name);
        must(at);
        rc = put_param(t, at, i % 2 ? pair->b : pair->a, e);
    }
    return rc;
}

/* *is_carried: something in it doesn't learn here. */
static int put_overlay(struct train *t, const struct st *overlay, int *is_carried, struct err *e) {
    int rc = 0;
    for (size_t i = 0; i < st_count(overlay) && !rc; i++) {
        const struct st_tensor *from = st_at(overlay, i);
        const struct param *p = params_find(&t->params, from->name);
        *is_carried |= !p;
        rc = p ? put_param(t, p, from, e) : carry_put(t, from, e);
    }
    return rc;
}

static int import(struct train *t, struct adapter *a, int *is_carried, struct err *e) {
    int rc = a->peft ? adapter_check_lora(t, a->peft, e) : 0;
    if (!rc && a->overlay) rc = carry_check(t, a->overlay, e);
    if (!rc && a->peft) rc = put_lora(t, a->peft, e);
    if (!rc && a->overlay) rc = put_overlay(t, a->overlay, is_carried, e);
    if (rc) return rc;
    params_settle(t);
    return t->ops->sync(t->k, e);
}

int train_import_adapter(struct train *t, const char *folder, struct err *e) {
    struct peft_sizes sizes = sizes_of(t);
    struct adapter *a;
    int is_carried = 0;
    if (t->steps || t->carried)
        return err_set(e, E_INVALID, "%s: an adapter is read before the first step, once", folder);
    int rc = adapter_open(folder, &sizes, model_digest(t->m), &a, e);
    if (rc) return rc;
    rc = import(t, a, &is_carried, e);
    if (rc)
        err_in(e, "%s", folder);
    else if (is_carried)
        t->carried = a;
    if (rc || !is_carried) adapter_close(a);
    return rc;
}
