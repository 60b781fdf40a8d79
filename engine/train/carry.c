/* carry.c - see carry.h. The list of params.c, made as if all of tower and connector learnt, says
 * which names and shapes there may be. The table below says where the model reads them. */
#include "engine/train/carry.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/net.h"
#include "engine/train/out.h"
#include "kernels/base/mem.h"

/* ---- where the model reads it ---- */

struct spot {
    const char *name;
    size_t at;  /* of the pointer, in struct vit_block or struct vit */
    int is_mat; /* else a vector */
    int thirds; /* of the vector that lie before it */
};
#define BLOCK(member) offsetof(struct vit_block, member)
#define VIT(member)   offsetof(struct vit, member)
static const struct spot block_spots[] = {
    {"norm1.weight", BLOCK(norm1_w), 0, 0},  {"norm1.bias", BLOCK(norm1_b), 0, 0},
    {"norm2.weight", BLOCK(norm2_w), 0, 0},  {"norm2.bias", BLOCK(norm2_b), 0, 0},
    {"attn.qkv.weight", BLOCK(qkv), 1, 0},   {"attn.q_bias", BLOCK(qkv_b), 0, 0},
    {"attn.v_bias", BLOCK(qkv_b), 0, 2},     {"attn.proj.weight", BLOCK(proj), 1, 0},
    {"attn.proj.bias", BLOCK(proj_b), 0, 0}, {"mlp.fc1.weight", BLOCK(fc1), 1, 0},
    {"mlp.fc1.bias", BLOCK(fc1_b), 0, 0},    {"mlp.fc2.weight", BLOCK(fc2), 1, 0},
    {"mlp.fc2.bias", BLOCK(fc2_b), 0, 0},
};
static const struct spot vit_spots[] = {
    {"visual_encoder.cls_token", VIT(cls), 0, 0},
    {"visual_encoder.pos_embed", VIT(pos), 0, 0},
    {"visual_encoder.patch_embed.proj.weight", VIT(patch), 1, 0},
    {"visual_encoder.patch_embed.proj.bias", VIT(patch_b), 0, 0},
    {"ln_vision.weight", VIT(ln_w), 0, 0},
    {"ln_vision.bias", VIT(ln_b), 0, 0},
    {"llama_proj.weight", VIT(proj), 1, 0},
    {"llama_proj.bias", VIT(proj_b), 0, 0},
};

static const struct spot *find_spot(const struct spot *spots, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(spots[i].name, name)) return &spots[i];
    return NULL;
}

/* The spot of a name that carry_check let pass, and the struct that it is in. */
static const struct spot *spot_of(const struct train *t, const char *name, const char **in) {
    static const char blocks[] = "visual_encoder.blocks.";
    const struct vit *vit = model_vit(t->m);
    *in = (const char *)vit;
    if (strncmp(name, blocks, sizeof blocks - 1))
        return find_spot(vit_spots, ARRAY_LEN(vit_spots), name);
    char *tail;
    unsigned long i = strtoul(name + sizeof blocks - 1, &tail, 10);
    must(i < (unsigned long)model_config(t->m)->vision.layers && *tail == '.');
    *in = (const char *)&vit->blocks[i];
    return find_spot(block_spots, ARRAY_LEN(block_spots), tail + 1);
}

/* ---- overlays ---- */

static int carry_check_tensor(const struct params *all, const struct st_tensor *t, struct err *e) {
    const struct param *p = params_find(all, t->name);
    if (!p)
        return err_set(e, E_FORMAT, "tensor %s: the model has none of that name",
                       st_show(t->name).text);
    if (!out_fits(t, p))
        return err_set(e, E_FORMAT, "tensor %s: another shape than the model's", p->name);
    return 0;
}

int carry_check(const struct train *t, const struct st *overlay, struct err *e) {
    const struct train_options whole = {.tower = 1, .connector = 1};
    struct params all;
    int rc = params_list(&all, model_config(t->m), &whole, e);
    if (rc) return rc;
    for (size_t i = 0; i < st_count(overlay) && !rc; i++)
        rc = carry_check_tensor(&all, st_at(overlay, i), e);
    params_clear(&all);
    return rc;
}

/* Rows of k numbers, `some` at a time: by `host`, and by where the pictures of a sample will be. */
static void put_matrix(struct train *t, struct kern_mat *mat, const struct st_tensor *from,
                       size_t some, float *host) {
    size_t rows = (size_t)from->shape[0], k = (size_t)from->elements / rows;
    for (size_t row = 0; row < rows; row += some) {
        size_t n = rows - row < some ? rows - row : some;
        st_floats(from, row * k, host, n * k);
        t->ops->put(t->k, t->b.rgb, host, n * k * sizeof *host);
        t->back->mat_set(
            t->k, &(struct kern_mat_set){
                      .w = mat, .row0 = (int)row, .rows = (int)n, .src = t->b.rgb, .ld = (int)k});
    }
}

/* Takes nothing of the device: all that was counted is there, and more there may not be. */
int carry_put(struct train *t, const struct st_tensor *tensor, struct err *e) {
    enum { STEP = 1 << 20 };
    const char *in;
    const struct spot *spot = spot_of(t, tensor->name, &in);
    must(spot);
    size_t n = (size_t)tensor->elements, rows = spot->is_mat ? (size_t)tensor->shape[0] : 1;
    size_t k = n / rows, room = t->b.idle_bytes / sizeof(float), most = room < STEP ? room : STEP;
    size_t some = most / k < rows ? most / k : rows;
    if (some < 1) some = 1;
    must(!spot->is_mat || some * k <= room);
    float *host = mem_try(some * k * sizeof *host);
    if (!host) return err_set(e, E_NOMEM, "no memory for %zu numbers", some * k);
    if (spot->is_mat) {
        struct kern_mat *mat;
        memcpy(&mat, in + spot->at, sizeof mat);
        put_matrix(t, mat, tensor, some, host);
    } else {
        struct kern_ptr vec;
        memcpy(&vec, in + spot->at, sizeof vec);
        st_floats(tensor, 0, host, n);
        vec = kern_at(vec, (size_t)spot->thirds * n * sizeof *host);
        t->ops->put(t->k, vec, host, n * sizeof *host);
    }
    mem_free(host);
    return 0;
}

const struct st_tensor *carry_find(const struct train *t, const char *name) {
    if (!t->carried || params_find(&t->params, name)) return NULL;
    return st_find(t->carried->overlay, name);
}

const struct st_tensor *carry_at(const struct train *t, size_t i) {
    for (size_t k = 0; t->carried && k < st_count(t->carried->overlay); k++) {
        const struct st_tensor *tensor = st_at(t->carried->overlay, k);
        if (!params_find(&t->params, tensor->name) && i-- == 0) return tensor;
    }
    return NULL;
}

const char *carry_digest(const struct train *t) {
    return t->carried ? t->carried->card.vision : "";
}
