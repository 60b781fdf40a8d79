/* pos.h - tokens, places and positions: how rows begin. */
#ifndef KERNELS_OP_POS_H
#define KERNELS_OP_POS_H

#include <stdint.h>

#include "kernels/op/types.h"

/* Cut a square picture into patches and normalise: y[(py*G+px), (c*P+iy)*P+ix] =
 * (rgb[py*P+iy][px*P+ix][c]/255 - mean[c]) / std[c], G = side/patch, patches in raster order. */
struct kern_patchify {
    int side, patch;
    struct kern_ptr rgb; /* (side, side, 3) u8 */
    float mean[3], std[3];
    struct kern_ptr y; /* (G*G, 3*P*P) */
};

/* x (1 + patches, width): row 0 = cls + pos[0]; row i += pos[i]. */
struct kern_add_pos {
    int rows, width;     /* rows = 1 + patches */
    struct kern_ptr cls; /* (width) */
    struct kern_ptr pos; /* (rows, width) */
    struct kern_ptr x;
};

/* y[i] = src[i] >= 0 ? table[src[i]] : feats[~src[i]]: token rows and picture rows in one go. */
struct kern_embed {
    int rows, width;
    struct kern_ptr src;   /* (rows) i32 */
    struct kern_ptr table; /* (vocab, width) of `dtype` */
    enum kern_dtype dtype;
    struct kern_ptr feats; /* (any, width) f32 */
    struct kern_ptr y;     /* (rows, width) */
};

/* y[i] = x[index[i]]. */
struct kern_gather {
    int rows, width;
    struct kern_ptr index; /* (rows) i32 */
    struct kern_ptr x;     /* (any, width) of `dtype` */
    struct kern_ptr y;     /* (rows, width) of it */
    enum kern_dtype dtype; /* as a y_dtype */
};

/* Rotary positions and the KV store. qkv (rows, 3*H*K): q, k, v, head-major inside each. Rotates q
 * in place and k on its way to the pool: pair (i, i + K/2) of each head turns by
 * pos * theta^(-2i/K) (the half-split form of Hugging Face's LLaMA). Row i's k and v go to slot
 * slot[i] of the pools, rounded to nearest, ties to even. With KERN_INT8 a head's scale is
 * that of its numbers after the turn. Angles are computed in double. */
struct kern_rope {
    int rows, heads, head_size;
    double theta;
    struct kern_ptr qkv;
    int ld;
    struct kern_ptr pos;    /* (rows) i32 */
    struct kern_ptr slot;   /* (rows) i32 */
    struct kern_ptr pool_k; /* (slots, H) heads of K of pool_dtype, of one layer */
    struct kern_ptr pool_v;
    enum kern_dtype pool_dtype;
};

/* ---- training ---- */

/* dy (rows, width) goes back to where embed took its rows from. Sources are listed once each:
 * source i is key[i], a token (>= 0) or ~(row of feats), and stands in the rows
 * from[off[i] .. off[i+1]), ascending, which are added in that order. dtable (vocab, width) += and
 * dfeats (any, width) +=, both f32; addr NULL: not wanted. */
struct kern_embed_back {
    int sources, width;
    struct kern_ptr key, off, from; /* i32 */
    struct kern_ptr dy;
    struct kern_ptr dtable, dfeats;
};

/* dx[index[i]] += dy[i]; no index stands twice. */
struct kern_gather_back {
    int rows, width;
    struct kern_ptr index; /* (rows) i32 */
    struct kern_ptr dy;    /* (rows, width) */
    struct kern_ptr dx;    /* (any, width) */
};

/* The way back through rope. dqkv (rows, 3*H*K): dq is there and is turned by minus its angle in
 * place. dk of the row is that of its slot, turned likewise, and dv that of its slot. */
struct kern_rope_back {
    int rows, heads, head_size;
    double theta;
    struct kern_ptr dqkv;
    int ld;
    struct kern_ptr pos, slot; /* (rows) i32 */
    struct kern_ptr dk, dv;    /* (slots, H*K) f32 */
};

#endif
