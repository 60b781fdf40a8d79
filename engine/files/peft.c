/* peft.c - the tensors of an adapter find their places beside the decoder's matrices.
 *
 * Invariants of an opened one:
 *   1. Each tensor of the file is the A or the B of exactly one pair.
 *   2. A pair has both, in the shapes that rank and sizes ask for, of a type that is computed with.
 *   3. When target_modules lists places, all layers have a pair at each of them, and nowhere else.
 */
#include "engine/files/peft.h"

#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "kernels/base/mem.h"

void peft_name(char out[PEFT_NAME_MAX], int layer, enum peft_place place, int is_b) {
    (void)snprintf(out, PEFT_NAME_MAX, "model.layers.%d.%s.lora_%c.weight", layer,
                   peft_place_name(place), is_b ? 'B' : 'A');
}

void peft_shape(const struct peft_sizes *s, enum peft_place place, int *n, int *k) {
    *n = place == PEFT_GATE || place == PEFT_UP ? s->ffn : s->width;
    *k = place == PEFT_DOWN ? s->ffn : s->width;
}

/* A number without sign or leading zeros below PEFT_LAYERS_MAX, and what stands behind it; -1:
 * there is none. */
static int read_layer(const char **at) {
    int n = 0, digits = 0;
    const char *s = *at;
    for (; s[digits] >= '0' && s[digits] <= '9' && digits < 4; digits++)
        n = 10 * n + (s[digits] - '0');
    if (!digits || digits > 3 || (digits > 1 && *s == '0') || n >= PEFT_LAYERS_MAX) return -1;
    *at = s + digits;
    return n;
}

/* Takes "model.layers.3.self_attn.q_proj.lora_A.weight" apart. 0 when it is something else. */
static int read_name(const char *s, int *layer, int *place, int *is_b) {
    static const char begin[] = "model.layers.";
    if (strncmp(s, begin, sizeof begin - 1)) return 0;
    s += sizeof begin - 1;
    *layer = read_layer(&s);
    if (*layer < 0 || *s++ != '.') return 0;
    for (*place = 0; *place < PEFT_PLACES; ++*place) {
        const char *name = peft_place_name((enum peft_place) * place);
        size_t n = strlen(name);
        if (strncmp(s, name, n)) continue;
        *is_b = !strcmp(s + n, ".lora_B.weight");
        return *is_b || !strcmp(s + n, ".lora_A.weight");
    }
    return 0;
}

static int peft_check_tensor(const struct peft *p, const struct st_tensor *t, int place, int is_b,
                             struct err *e) {
    int n, k;
    peft_shape(&p->sizes, (enum peft_place)place, &n, &k);
    int64_t want[2] = {is_b ? n : p->c.r, is_b ? p->c.r : k};
    if (t->dtype == ST_OTHER)
        return err_set(e, E_UNSUPPORTED, "tensor %s: %s is not F32, BF16 or F16",
                       st_show(t->name).text, t->dtype_name);
    if (t->ndim != 2 || t->shape[0] != want[0] || t->shape[1] != want[1])
        return err_set(e, E_FORMAT, "tensor %s: its shape is not [%lld, %lld]",
                       st_show(t->name).text, (long long)want[0], (long long)want[1]);
    return 0;
}

static int place_tensor(struct peft *p, const struct st_tensor *t, struct err *e) {
    enum { PREFIX_LEN = sizeof PEFT_PREFIX - 1 };
    int layer, place, is_b;
    if (strncmp(t->name, PEFT_PREFIX, PREFIX_LEN) ||
        !read_name(t->name + PREFIX_LEN, &layer, &place, &is_b))
        return err_set(e, E_FORMAT, "tensor %s: stands beside no matrix of the decoder",
                       st_show(t->name).text);
    if (layer >= p->sizes.layers)
        return err_set(e, E_FORMAT, "tensor %s: the model has %d layers", st_show(t->name).text,
                       p->sizes.layers);
    if (p->c.places && !(p->c.places >> place & 1))
        return err_set(e, E_FORMAT, "tensor %s: not among target_modules", st_show(t->name).text);
    int rc = peft_check_tensor(p, t, place, is_b, e);
    if (rc) return rc;
    struct peft_pair *pair = &p->pairs[layer * PEFT_PLACES + place];
    *(is_b ? &pair->b : &pair->a) = t;
    return 0;
}

/* Invariants 2 and 3, as to what is missing. */
static int check_pairs(struct peft *p, struct err *e) {
    for (int i = 0; i < p->sizes.layers * PEFT_PLACES; i++) {
        const struct peft_pair *pair = &p->pairs[i];
        int is_wanted = p->c.places >> (i % PEFT_PLACES) & 1;
        p->n_pairs += pair->a && pair->b;
        if (!pair->a == !pair->b && (pair->a || !is_wanted)) continue;
        char name[PEFT_NAME_MAX];
        peft_name(name, i / PEFT_PLACES, (enum peft_place)(i % PEFT_PLACES), pair->a != NULL);
        return err_set(e, E_FORMAT, "tensor " PEFT_PREFIX "%s: missing", name);
    }
    return p->n_pairs ? 0 : err_set(e, E_FORMAT, "no tensors: nothing matches the model");
}

static int read_config(const char *folder, struct peft *p, struct err *e) {
    char path[4096], *text = NULL;
    size_t len = 0;
    if (snprintf(path, sizeof path, "%s/" PEFT_CONFIG, folder) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the adapter folder's name is too long");
    int rc = smallfile_read(path, PEFT_CONFIG_MAX, &text, &len, e);
    if (!rc) rc = peft_parse_config(text, len, &p->c, e);
    mem_free(text);
    if (rc) err_in(e, "%s", path);
    return rc;
}

static int read_tensors(const char *folder, struct peft *p, struct err *e) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/" PEFT_MODEL, folder) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the adapter folder's name is too long");
    int rc = st_open(path, &p->st, e);
    if (rc) return rc == E_NOT_FOUND ? E_FORMAT : rc;
    size_t n = (size_t)p->sizes.layers * PEFT_PLACES;
    p->pairs = mem_try(n * sizeof *p->pairs);
    if (!p->pairs) rc = err_set(e, E_NOMEM, "no memory for %zu places", n);
    for (size_t i = 0; i < st_count(p->st) && !rc; i++)
        rc = place_tensor(p, st_at(p->st, i), e);
    if (!rc) rc = check_pairs(p, e);
    if (rc) err_in(e, "%s", path);
    return rc;
}

int peft_open(const char *folder, const struct peft_sizes *sizes, struct peft **out,
              struct err *e) {
    *out = NULL;
    must(sizes->layers >= 1 && sizes->layers <= PEFT_LAYERS_MAX);
    struct peft *p = mem_try(sizeof *p);
    if (!p) return err_set(e, E_NOMEM, "no memory for an adapter");
    p->sizes = *sizes;
    int rc = read_config(folder, p, e);
    if (!rc) rc = read_tensors(folder, p, e);
    if (rc) {
        peft_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

void peft_close(struct peft *p) {
    if (!p) return;
    st_close(p->st);
    mem_free(p->pairs);
    mem_free(p);
}
