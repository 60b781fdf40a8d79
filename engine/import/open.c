/* open.c - what each tensor of the model is made of.
 *
 * All tensors of all originals get the names that they have here and stand in one list, the newest
 * of a name in front. The list of what a model of these sizes has is then walked: what is found is
 * used, what is not is missing, and what was never used is left over. Both are said by name, since
 * "does not fit" helps nobody who holds five files of a model in hand.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/peft.h"
#include "engine/files/smallfile.h"
#include "engine/import/internal.h"
#include "engine/import/pth.h"
#include "engine/import/want.h"
#include "kernels/base/mem.h"

enum { NOTES_MAX = 12 /* names that are said one by one */, ALPHA = 16 };

void import_note(const struct import *i, const char *fmt, ...) {
    char text[400];
    va_list args;
    if (!i->o.note) return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    i->o.note(i->o.ud, text);
}

/* ---- the list of sources ---- */

/* By name and kind, the last original first. */
static int by_source(const void *pa, const void *pb) {
    const struct source *a = pa, *b = pb;
    int order = strcmp(a->name, b->name);
    if (!order) order = (a->kind > b->kind) - (a->kind < b->kind);
    return order ? order : (a->original < b->original) - (a->original > b->original);
}

static int add_source(struct import *i, int original, const struct original_tensor *t,
                      struct err *e) {
    char name[ST_NAME_MAX + 1];
    enum names_kind kind = names_map(t->t.name, name);
    if (kind == NAMES_SPARE) return 0;
    struct source *s = &i->sources[i->n_sources];
    *s = (struct source){.kind = kind, .original = original, .t = t};
    s->name = arena_strdup(i->arena, name, strlen(name));
    if (!s->name) return err_set(e, E_NOMEM, "no memory for the tensors' names");
    i->n_sources++;
    return 0;
}

static int list_sources(struct import *i, struct err *e) {
    size_t n = 0;
    int rc = 0;
    for (int k = 0; k < i->o.n_originals; k++)
        n += i->originals[k]->n;
    i->arena = arena_new(n * (ST_NAME_MAX + 33) + 4096);
    i->sources = mem_try((n + 1) * sizeof *i->sources);
    if (!i->arena || !i->sources) return err_set(e, E_NOMEM, "no memory for %zu tensors", n);
    for (int k = 0; k < i->o.n_originals; k++)
        for (size_t t = 0; t < i->originals[k]->n && !rc; t++)
            rc = add_source(i, k, &i->originals[k]->tensors[t], e);
    qsort(i->sources, i->n_sources, sizeof *i->sources, by_source);
    return rc;
}

struct source *import_find(const struct import *i, const char *name, enum names_kind kind) {
    size_t lo = 0, hi = i->n_sources;
    while (lo < hi) { /* the first that isn't before it */
        size_t mid = (lo + hi) / 2;
        struct source key = {.name = name, .kind = kind, .original = IMPORT_ORIGINALS_MAX};
        if (by_source(&i->sources[mid], &key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct source *s = &i->sources[lo];
    return lo < i->n_sources && s->kind == kind && !strcmp(s->name, name) ? s : NULL;
}

/* ---- what the model wants ---- */

static const char *open_path_of(const struct import *i, const struct source *s) {
    return i->originals[s->original]->files[s->t->file].path;
}

/* "[3, 4]" */
struct shape_text {
    char text[100];
};
static struct shape_text print_sizes(const int64_t *shape, int ndim) {
    struct shape_text s = {"["};
    size_t at = 1;
    for (int k = 0; k < ndim; k++)
        at += shape[k] < 0 ? (size_t)snprintf(s.text + at, sizeof s.text - at, "%sa square and 1",
                                              k ? ", " : "")
                           : (size_t)snprintf(s.text + at, sizeof s.text - at, "%s%lld",
                                              k ? ", " : "", (long long)shape[k]);
    (void)snprintf(s.text + at, sizeof s.text - at, "]");
    return s;
}

/* Two tensors of one original that have one name here: which of them counts, nobody said. */
static int check_single(const struct import *i, const struct source *s, struct err *e) {
    const struct source *next = s + 1;
    if (next == i->sources + i->n_sources || next->original != s->original ||
        next->kind != s->kind || strcmp(next->name, s->name) != 0)
        return 0;
    return err_set(e, E_FORMAT, "%s: tensors %s and %s are one and the same in the model",
                   open_path_of(i, s), st_show(s->t->t.name).text, st_show(next->t->t.name).text);
}

/* A side whose size is open is that of pos_embed: a place for each patch of a square, and one. */
static int open_fits_side(int64_t need, int64_t has) {
    int64_t side = 1;
    if (need >= 0) return need == has;
    while (side * side + 1 < has)
        side++;
    return side * side + 1 == has;
}

static int check_source(const struct import *i, const struct source *s, const int64_t *shape,
                        int ndim, struct err *e) {
    const struct st_tensor *t = &s->t->t;
    int rc = check_single(i, s, e);
    if (rc) return rc;
    if (s->t->flaw)
        return err_set(e, E_FORMAT, "%s: tensor %s: %s", open_path_of(i, s), st_show(t->name).text,
                       s->t->flaw);
    if (t->dtype == ST_OTHER)
        return err_set(e, E_UNSUPPORTED, "%s: tensor %s: %s is not F32, BF16 or F16",
                       open_path_of(i, s), st_show(t->name).text, t->dtype_name);
    int fits = t->ndim == ndim;
    for (int k = 0; fits && k < ndim; k++)
        fits = open_fits_side(shape[k], t->shape[k]);
    if (fits) return 0;
    return err_set(e, E_FORMAT, "%s: tensor %s: has shape %s, needs %s", open_path_of(i, s),
                   st_show(t->name).text, print_sizes(t->shape, t->ndim).text,
                   print_sizes(shape, ndim).text);
}

struct choosing {
    struct import *i;
    struct err *e;
};

static double alpha_of(struct import *i, const struct source *a) {
    const struct pth *pth = i->originals[a->original]->files[a->t->file].pth;
    double alpha = pth ? pth_said(pth, "lora_alpha") : 0;
    if (i->o.lora_alpha > 0) return i->o.lora_alpha;
    if (alpha > 0) return alpha;
    if (!i->has_guessed_alpha)
        import_note(i,
                    "%s doesn't say its LoRA's alpha: %d, as in MiniGPT-v2; --lora-alpha sets it",
                    open_path_of(i, a), ALPHA);
    i->has_guessed_alpha = 1;
    return ALPHA;
}

/* The LoRA beside an entry, if there is one. */
static int choose_lora(struct import *i, struct entry *t, struct err *e) {
    const struct source *w = t->from;
    struct lora l = {import_find(i, w->name, NAMES_LORA_A), import_find(i, w->name, NAMES_LORA_B),
                     0};
    if (!l.a && !l.b) return 0;
    if (!l.a || !l.b)
        return err_set(e, E_FORMAT, "tensor %s: its LoRA has one side alone",
                       st_show(w->name).text);
    if (w->t->t.ndim != 2)
        return err_set(e, E_FORMAT, "tensor %s: a LoRA beside a vector", w->name);
    int64_t r = l.a->t->t.ndim == 2 ? l.a->t->t.shape[0] : 0;
    if (r < 1 || r > PEFT_RANK_MAX || (i->rank && r != i->rank))
        return err_set(e, E_FORMAT, "tensor %s: a LoRA of rank %lld", w->name, (long long)r);
    int rc = check_source(i, l.a, (int64_t[]){r, w->t->t.shape[1]}, 2, e);
    if (!rc) rc = check_source(i, l.b, (int64_t[]){w->t->t.shape[0], r}, 2, e);
    if (rc) return rc;
    if (l.a->original != l.b->original)
        return err_set(e, E_FORMAT,
                       "tensor %s: the sides of its LoRA are of two originals, %s and %s", w->name,
                       open_path_of(i, l.a), open_path_of(i, l.b));
    double alpha = alpha_of(i, l.a);
    if (i->rank && i->o.adapter && alpha != i->alpha)
        return err_set(e, E_FORMAT,
                       "tensor %s: a LoRA of alpha %g beside one of %g: no adapter has "
                       "both",
                       w->name, alpha, i->alpha);
    i->alpha = alpha;
    i->rank = (int)r;
    l.scale = (float)(i->alpha / (double)r);
    l.a->is_used = l.b->is_used = 1;
    t->lora = l;
    i->facts.merged++;
    return rc;
}

static int choose(void *ud, const struct want *w) {
    const struct choosing *c = ud;
    struct import *i = c->i;
    struct source *s = import_find(i, w->name, NAMES_WEIGHT);
    if (!s && w->is_optional) return 0;
    if (!s) {
        if (i->n_missing++ < NOTES_MAX) import_note(i, "missing: %s", w->name);
        return 0;
    }
    struct entry *t = &i->entries[i->n_entries++];
    t->from = s;
    s->is_used = 1;
    int rc = check_source(i, s, w->shape, w->ndim, c->e);
    if (!rc) rc = choose_lora(i, t, c->e);
    i->facts.parameters += s->t->t.elements;
    return rc;
}

/* An earlier one of the same name, or what published files carry along. */
static int is_left_over(const struct import *i, size_t k) {
    const struct source *s = &i->sources[k];
    if (s->is_used) return 0;
    if (k && s->kind != NAMES_UNKNOWN && s[-1].kind == s->kind && !strcmp(s[-1].name, s->name))
        return 0;
    if (config_is_spare_block(i, s->name)) return 0;
    return !(i->c.text.is_tied && !strcmp(s->name, "lm_head.weight"));
}

static int open_check_rest(struct import *i, struct err *e) {
    const char *first = NULL;
    for (size_t k = 0; k < i->n_sources; k++) {
        if (!is_left_over(i, k)) continue;
        if (!first) first = i->sources[k].t->t.name;
        if (i->n_left_over++ < NOTES_MAX)
            import_note(i, "left over: %s of %s", st_show(i->sources[k].t->t.name).text,
                        open_path_of(i, &i->sources[k]));
    }
    if (i->n_missing)
        return err_set(e, E_NOT_FOUND, "%zu tensors of the model are in none of the originals",
                       i->n_missing);
    if (!i->n_left_over || i->o.drops_unknown) return 0;
    return err_set(e, E_FORMAT,
                   "%zu tensors have no place in the model, such as %s: --drop-unknown leaves "
                   "them out",
                   i->n_left_over, st_show(first).text);
}

static int choose_all(struct import *i, struct err *e) {
    enum { PER_LAYER = 16, AROUND = 16 };
    size_t most = AROUND + PER_LAYER * (size_t)(i->c.vision.layers + i->c.text.layers);
    i->entries = mem_try(most * sizeof *i->entries);
    if (!i->entries) return err_set(e, E_NOMEM, "no memory for %zu tensors", most);
    int rc = want_each(&i->c, choose, &(struct choosing){i, e});
    if (!rc) rc = open_check_rest(i, e);
    i->facts.tensors = (int)i->n_entries;
    if (i->o.adapter) i->facts.merged = 0;
    return rc;
}

/* ---- opening ---- */

/* A stage-3 file without the tower of stage 2 looks whole, and sees little. */
static void note_tower(const struct import *i) {
    const struct source *tower = import_find(i, "visual_encoder.cls_token", NAMES_WEIGHT);
    const struct original *o = tower ? i->originals[tower->original] : NULL;
    if (!i->rank || !o) return;
    for (size_t k = 0; k < o->n; k++)
        if (strstr(o->tensors[k].t.name, "llama_proj.")) return;
    import_note(i,
                "the tower is the published one, of %s. That is right for MiniGPT-v2. A "
                "PAE-LaMM needs the checkpoint of its stage 2, too",
                o->path);
}

static void note_foreign(const struct import *i) {
    for (int k = 0; k < i->o.n_originals; k++)
        for (int f = 0; f < i->originals[k]->n_files; f++) {
            const struct pth *pth = i->originals[k]->files[f].pth;
            if (pth && pth_foreign(pth)[0])
                import_note(i, "%s names %s, which is not torch's; nothing was called",
                            i->originals[k]->files[f].path, pth_foreign(pth));
        }
}

static int take_tokenizer(struct import *i, struct err *e) {
    const char *from = i->o.tokenizer;
    struct err why = {0};
    int rc = 0;
    if (from)
        rc = smallfile_read(from, ORIGINAL_TOKENIZER_MAX, &i->tokenizer, &i->n_tokenizer, &why);
    for (int k = i->o.n_originals - 1; k >= 0 && !from; k--)
        if (i->originals[k]->tokenizer) {
            from = i->originals[k]->path;
            i->tokenizer = i->originals[k]->tokenizer; /* moves */
            i->n_tokenizer = i->originals[k]->n_tokenizer;
            i->originals[k]->tokenizer = NULL;
        }
    if (!from)
        return err_set(e, E_NOT_FOUND,
                       "no original has a tokenizer.model: name LLaMA-2's by --tokenizer");
    if (!rc) rc = spelling_check(i, &why);
    return rc ? err_set(e, rc, "%s: the tokenizer: %s", from, why.text) : 0;
}

static int open_all(struct import *i, struct err *e) {
    int rc = 0;
    for (int k = 0; k < i->o.n_originals && !rc; k++)
        rc = original_open(i->o.originals[k], &i->originals[k], e);
    if (!rc) rc = list_sources(i, e);
    if (rc) return rc;
    note_foreign(i);
    rc = config_make(i, e);
    if (!rc) rc = take_tokenizer(i, e);
    if (!rc) rc = choose_all(i, e);
    if (rc) return rc;
    note_tower(i);
    if (i->o.adapter && !i->rank) rc = err_set(e, E_INVALID, "no original has a LoRA to be kept");
    return rc;
}

int import_open(const struct import_options *o, struct import **out, struct err *e) {
    *out = NULL;
    if (o->n_originals < 1 || o->n_originals > IMPORT_ORIGINALS_MAX)
        return err_set(e, E_INVALID, "1 to %d originals", IMPORT_ORIGINALS_MAX);
    struct import *i = mem_try(sizeof *i);
    if (!i) return err_set(e, E_NOMEM, "no memory for an import");
    i->o = *o;
    int rc = open_all(i, e);
    if (rc) {
        import_close(i);
        return rc;
    }
    *out = i;
    return 0;
}

void import_close(struct import *i) {
    if (!i) return;
    for (int k = 0; k < i->o.n_originals; k++)
        original_close(i->originals[k]);
    arena_free(i->arena);
    mem_free(i->sources);
    mem_free(i->entries);
    mem_free(i->config);
    mem_free(i->tokenizer);
    mem_free(i);
}

const struct import_facts *import_facts(const struct import *i) { return &i->facts; }
