/* head.c - heads: a few rows of lm_head as a matrix of their own. */
#include "engine/model/room.h"
#include "kernels/base/mem.h"

/* Consecutive ids become one block of rows: the whole vocabulary is a single one. */
static int head_blocks(const struct model *m, const int32_t *ids, int n,
                       struct kern_mat_part *blocks) {
    size_t row = (size_t)m->c.text.hidden_size * kern_dtype_bytes(m->llama.head_dtype);
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (i && ids[i] == ids[i - 1] + 1) {
            blocks[count - 1].n++;
            continue;
        }
        blocks[count++] =
            (struct kern_mat_part){.data = (const char *)m->llama.head + (size_t)ids[i] * row,
                                   .n = 1,
                                   .dtype = m->llama.head_dtype};
    }
    return count;
}

int model_head_new(struct model *m, const int32_t *ids, int n, struct model_head **out,
                   struct err *e) {
    *out = NULL;
    if (n < 1) return err_set(e, E_INVALID, "a head without tokens");
    if (!m->llama.head) return err_set(e, E_UNSUPPORTED, "a model that learns has no heads");
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->c.text.vocab_size)
            return err_set(e, E_INVALID, "token %d is outside the vocabulary", ids[i]);
    struct model_head *h = mem_try(sizeof *h);
    struct kern_mat_part *blocks = mem_try((size_t)n * sizeof *blocks);
    int rc = h && blocks ? 0 : err_set(e, E_NOMEM, "no memory for a head of %d tokens", n);
    if (!rc) {
        struct kern_mat_src src = {.parts = blocks,
                                   .n_parts = head_blocks(m, ids, n, blocks),
                                   .k = m->c.text.hidden_size,
                                   .keep = room_keep(m, ROOM_BESIDE, m->llama.head_dtype)};
        rc = m->ops->mat_new(m->k, &src, &h->mat, e);
    }
    if (!rc && n > m->head_max) {
        if (m->is_planned) rc = plan_logits(m, n, e);
        if (!rc) m->head_max = n;
    }
    mem_free(blocks);
    if (rc) {
        model_head_free(m, h);
        return rc;
    }
    h->n = n;
    *out = h;
    return 0;
}

void model_head_free(struct model *m, struct model_head *h) {
    if (!h) return;
    m->ops->mat_free(m->k, h->mat);
    mem_free(h);
}
