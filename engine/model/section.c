/* section.c - what adapters add to a pass: for each section, two thin products beside each of the
 * decoder's (berth.h).
 *
 * The base's product is made once for all rows. A section's rows then get theirs on top. Rows of no
 * section are left alone, so they have the bits of a model without adapters; and since a row's bits
 * never depend on other rows of a call, those of a section have the bits that they have alone.
 */
#include "engine/model/internal.h"

static size_t section_floats(int row, int ld) { return (size_t)row * (size_t)ld * sizeof(float); }

/* Where the outputs of a place begin in their product's row. */
static int column_of(const struct model_config *c, int place) {
    const int at[PEFT_PLACES] = {[PEFT_K] = c->text.hidden_size,
                                 [PEFT_V] = 2 * c->text.hidden_size,
                                 [PEFT_UP] = c->text.intermediate_size};
    return at[place];
}

/* A bit for each place of a stack that the section's adapter has in a layer. */
static unsigned places_of(const struct model *m, const struct model_section *s, int layer,
                          int stack) {
    return m->berths[s->berth].layers[layer].places & berth_places(stack);
}

enum kern_dtype section_x_dtype(const struct model *m, const struct sections *list, int layer,
                                int stack, const struct kern_mat *w) {
    for (int i = 0; i < list->n; i++)
        if (places_of(m, &list->at[i], layer, stack)) return KERN_F32;
    return m->ops->x_dtype(m->k, w);
}

static void issue_one_section(struct model *m, const struct model_section *s, int layer,
                              const struct section_product *p) {
    const struct berth *b = &m->berths[s->berth];
    const struct berth_layer *l = &b->layers[layer];
    unsigned here = places_of(m, s, layer, p->stack);
    int n = __builtin_popcount(here) * b->rank;
    struct kern_ptr inside = m->work.inside, y = kern_at(p->y, section_floats(s->row0, p->ldy));
    if (!n) return;
    must(p->x_dtype == KERN_F32);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = s->rows,
                                           .x = kern_at(p->x, section_floats(s->row0, p->ldx)),
                                           .ldx = p->ldx,
                                           .w = l->a[p->stack],
                                           .y = inside,
                                           .ldy = n,
                                           .n = n});
    for (int place = 0; place < PEFT_PLACES; place++) {
        if (!(here >> place & 1)) continue;
        size_t column = (size_t)column_of(&m->c, place) * sizeof(float);
        m->ops->gemm(m->k, &(struct kern_gemm){.m = s->rows,
                                               .x = inside,
                                               .ldx = n,
                                               .w = l->b[place],
                                               .y = kern_at(y, column),
                                               .ldy = p->ldy,
                                               .accumulate = 1,
                                               .k = b->rank});
        inside = kern_at(inside, (size_t)b->rank * sizeof(float));
    }
}

void section_issue(struct model *m, const struct sections *list, int layer,
                   const struct section_product *p) {
    for (int i = 0; i < list->n; i++)
        issue_one_section(m, &list->at[i], layer, p);
}

void section_of_rows(const struct model_pass *p, struct sections *out) {
    out->n = p->n_sections;
    for (int i = 0; i < p->n_sections; i++)
        out->at[i] = p->sections[i];
}

static int berth_of_row(const struct model_pass *p, int row) {
    for (int i = 0; i < p->n_sections; i++)
        if (row >= p->sections[i].row0 && row < p->sections[i].row0 + p->sections[i].rows)
            return p->sections[i].berth;
    return MODEL_BASE;
}

void section_of_picks(const struct model_pass *p, struct sections *out) {
    int before = MODEL_BASE;
    out->n = 0;
    for (int i = 0; p->n_sections && i < p->picks; i++) {
        int berth = berth_of_row(p, p->pick_row[i]);
        if (berth != MODEL_BASE && berth == before) {
            out->at[out->n - 1].rows++;
        } else if (berth != MODEL_BASE) {
            must(out->n < SECTIONS_MAX);
            out->at[out->n++] = (struct model_section){.row0 = i, .rows = 1, .berth = berth};
        }
        before = berth;
    }
}

void section_check(const struct model *m, const struct model_pass *p) {
    int row = 0;
    must(p->n_sections >= 0 && p->n_sections <= MODEL_BERTHS_MAX);
    for (int i = 0; i < p->n_sections; i++) {
        const struct model_section *s = &p->sections[i];
        must(s->row0 >= row && s->rows >= 1 && s->rows <= p->rows - s->row0);
        must(s->berth >= 0 && s->berth < m->plan.berths && m->berths[s->berth].is_filled);
        row = s->row0 + s->rows;
    }
}
