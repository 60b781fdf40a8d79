/* memory.c - what a model holds on its device.
 *
 * Every allocation is noted in a table whose size follows from the number of layers. So closing is
 * one loop, however far opening had come when it failed.
 */
#include "engine/model/internal.h"
#include "kernels/base/mem.h"

int memory_init(struct memory *mem, int blocks_max, int mats_max, struct err *e) {
    mem->blocks_max = blocks_max;
    mem->mats_max = mats_max;
    mem->blocks = mem_try((size_t)blocks_max * sizeof *mem->blocks);
    mem->mats = mem_try((size_t)mats_max * sizeof(struct kern_mat *));
    return mem->blocks && mem->mats
               ? 0
               : err_set(e, E_NOMEM, "no memory for tables of %d entries", blocks_max + mats_max);
}

int memory_alloc(struct model *m, size_t bytes, struct kern_ptr *out, struct err *e) {
    struct memory *mem = &m->memory;
    struct kern_ptr p;
    must(mem->n_blocks < mem->blocks_max);
    int rc = m->ops->alloc(m->k, bytes ? bytes : 1, &p, e);
    if (rc) return rc;
    mem->blocks[mem->n_blocks++] = p;
    *out = p;
    return 0;
}

int memory_mat(struct model *m, const struct kern_mat_src *src, struct kern_mat **out,
               struct err *e) {
    struct memory *mem = &m->memory;
    must(mem->n_mats < mem->mats_max);
    int rc = m->ops->mat_new(m->k, src, out, e);
    if (rc) return rc;
    mem->mats[mem->n_mats++] = *out;
    return 0;
}

void memory_clear(struct model *m) {
    struct memory *mem = &m->memory;
    for (int i = 0; i < mem->n_mats; i++)
        m->ops->mat_free(m->k, mem->mats[i]);
    for (int i = 0; i < mem->n_blocks; i++)
        m->ops->free(m->k, mem->blocks[i]);
    mem_free(mem->mats);
    mem_free(mem->blocks);
    *mem = (struct memory){0};
}
