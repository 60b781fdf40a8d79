/* lora_out.c - a LoRA that isn't merged goes out as an adapter folder (engine/files/adapter.h), in
 * the type it came in. */
#include <stdio.h>
#include <string.h>

#include "engine/files/adapter.h"
#include "engine/files/st_write.h"
#include "engine/import/hasher.h"
#include "engine/import/tensor.h"
#include "engine/import/writing.h"
#include "kernels/base/mem.h"
#include "kernels/base/version.h"

struct lora_out {
    const struct original_tensor **from; /* (n) */
    struct st_tensor *tensors;           /* (n) */
    char (*names)[ST_NAME_MAX + 1];      /* (n) */
    size_t n;
    unsigned places;
};

static int lora_fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    const struct lora_out *l = ud;
    tensor_read(&l->from[i]->t, l->from[i]->stride, (size_t)at, to, n);
    const struct st_tensor *of = &l->from[i]->t;
    return hasher_is_finite(of, to, n) ? 0 : hasher_refuse(of, e);
}

/* A side of the LoRA beside `weight`, "model.layers.0.self_attn.q_proj.weight". */
static void add_side(struct lora_out *l, const char *weight, const struct source *side, int is_b) {
    int n = (int)(strlen(weight) - strlen(".weight"));
    (void)snprintf(l->names[l->n], sizeof l->names[0], PEFT_PREFIX "%.*s.lora_%c.weight",
                   n < 200 ? n : 200, weight, is_b ? 'B' : 'A');
    l->from[l->n] = side->t;
    l->tensors[l->n] = side->t->t;
    l->tensors[l->n].name = l->names[l->n];
    l->n++;
}

static int lora_out_list_lora(const struct import *i, struct lora_out *l, struct err *e) {
    size_t most = 2 * i->n_entries;
    l->from = mem_try(most * sizeof *l->from);
    l->tensors = mem_try(most * sizeof *l->tensors);
    l->names = mem_try(most * sizeof *l->names);
    if (!l->from || !l->tensors || !l->names)
        return err_set(e, E_NOMEM, "no memory for an adapter");
    for (size_t k = 0; k < i->n_entries; k++) {
        const struct entry *t = &i->entries[k];
        if (!t->lora.a) continue;
        int rc = original_check(i->originals[t->lora.a->original], t->lora.a->t, e);
        if (!rc) rc = original_check(i->originals[t->lora.b->original], t->lora.b->t, e);
        if (rc) return rc;
        add_side(l, t->from->name, t->lora.a, 0);
        add_side(l, t->from->name, t->lora.b, 1);
        for (int p = 0; p < PEFT_PLACES; p++)
            if (strstr(t->from->name, peft_place_name((enum peft_place)p))) l->places |= 1u << p;
    }
    return 0;
}

static int lora_out_write_config(const struct import *i, const struct lora_out *l, const char *path,
                                 struct err *e) {
    struct peft_config c = {.r = i->rank, .alpha = i->alpha, .dropout = 0, .places = l->places};
    char *text = NULL;
    size_t len = 0;
    int rc = peft_print_config(&c, &text, &len, e);
    if (!rc) rc = newfile_write(path, text, len, e);
    mem_free(text);
    return rc;
}

/* The card speaks of the files as they are: they are read again, by the strict reader. */
int writing_adapter_card(const struct import *i, struct newfolder *f, struct err *e) {
    const struct model_text *t = &i->c.text;
    struct peft_sizes sizes = {t->layers, t->hidden_size, t->intermediate_size};
    struct adapter_card c = {.program = LAMMD_VERSION};
    struct peft *peft = NULL;
    char *text = NULL;
    size_t len = 0;
    (void)snprintf(c.base, sizeof c.base, "%s", i->facts.digest);
    int rc = peft_open(f->temp, &sizes, &peft, e);
    if (!rc) rc = adapter_vision_digest(c.base, NULL, c.vision, e);
    if (!rc) rc = adapter_text_digest(c.base, peft, c.text, e);
    if (!rc) rc = adapter_print_card(&c, &text, &len, e);
    if (!rc) rc = newfile_write(newfolder_file(f, ADAPTER_CARD), text, len, e);
    mem_free(text);
    peft_close(peft);
    return rc;
}

int writing_adapter_begin(struct import *i, struct newfolder *f, struct err *e) {
    static const char *const names[] = {PEFT_CONFIG, PEFT_MODEL, ADAPTER_CARD, NULL};
    static const struct st_text format = {"format", "pt"};
    struct lora_out l = {0};
    int rc = lora_out_list_lora(i, &l, e);
    struct st_new file = {l.tensors, l.n, &format, 1, lora_fill, &l};
    if (!rc) rc = newfolder_begin(f, i->o.adapter, names, e);
    if (!rc) rc = st_write(newfolder_file(f, PEFT_MODEL), &file, e);
    if (!rc) rc = lora_out_write_config(i, &l, newfolder_file(f, PEFT_CONFIG), e);
    mem_free(l.from);
    mem_free(l.tensors);
    mem_free(l.names);
    return rc;
}
