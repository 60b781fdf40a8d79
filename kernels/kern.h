/* kern.h - the vocabulary in which the model is written, and the door to the devices.
 *
 * Three nouns. A `struct kern` is one opened device: its memory, its threads, its streams. A
 * `kern_ptr` is an address in that memory; the host may not look through it. A `kern_mat` is a
 * weight matrix in whatever form the device likes best (packed panels, tiles, 16 bits).
 *
 *     const struct kern_ops *ops;
 *     int rc = kern_find("cpu", &ops, &e);
 *     if (!rc) rc = ops->open(&(struct kern_config){.threads = 2}, &k, &e);
 *     if (!rc) rc = ops->alloc(k, bytes, &x, &e);
 *     ops->rmsnorm(k, &(struct kern_norm){...});     // queued, in order
 *     rc = ops->get(k, host, x, bytes, &e);          // waits for what was queued before
 *
 * Threads: a `struct kern` belongs to one thread, the engine's step thread. A backend's own workers
 * are invisible from here.
 * Errors: a forward operation can't fail by its arguments (wrong ones are our bug: must()). A lost
 * device is reported by the next sync() or get(), and by every later one.
 * Numerics: activations are f32, but for what is handed to a product (kern_ops.x_dtype); sums are
 * f32 or wider. The result of a row never depends on how many other rows are in the call, where in
 * it the row stands, or how many threads work: sums have a fixed order. This is what makes a
 * pixel's answer the same alone and among four thousand.
 * Every operation is mandatory, is defined by kernels/ref, and is tested against it on every
 * backend. Compiles as C11 and as C++20.
 */
#ifndef KERNELS_KERN_H
#define KERNELS_KERN_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/op/act.h"
#include "kernels/op/attn.h"
#include "kernels/op/gemm.h"
#include "kernels/op/head.h"
#include "kernels/op/norm.h"
#include "kernels/op/optim.h"
#include "kernels/op/pos.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KERN_ABI 12u /* a plugin with another number is refused */

enum { KERN_MARKS = 2048, KERN_PICTURES_MOST = 4 }; /* see kern_ops.mark, pass_pictures */

struct kern;
struct kern_mat;
struct kern_ops;
typedef void kern_issue_fn(void *ud); /* see kern_ops.pass */

struct kern_config {
    int device;          /* index of the device; 0 for the CPU */
    int threads;         /* CPU: threads in all, the caller's included; 0: one per core */
    const char *isa;     /* for tests and benches; NULL or "auto": the backend's choice.
                        CPU: "portable", "avx2", "avx512"; "avx512bf16" and "amx", whose products
                        round what they multiply to bf16 and which auto never takes; each may have
                        "+portable", "+avx2", "+avx512", "+vnni" or "+amx8" behind it: how whole
                        numbers of 8 bits are multiplied, with the same bits. CUDA: "tile"
                        (its choice), "flat", "strict", each of which may have "+graphs" or "+base"
                        behind it */
    uint64_t memory_max; /* bytes of alloc and matrices together; 0: all that there is */
    /* What is worth a line of the log and no error, such as a fast way that is closed: rows may
     * have other bits from then on, once. Called from inside the table's functions, on the owner's
     * thread; `text` is one line, borrowed. NULL: nobody listens. */
    void (*note)(void *ud, const char *text);
    void *note_ud;
    const struct kern_ops *inner; /* kern_profile alone: the device that computes, */
    const char *profile;          /* and the file that gets the table of times */
};

struct kern_stats {
    uint64_t ops;        /* forward operations issued */
    uint64_t flops;      /* multiply-adds of gemm and attention, times two */
    uint64_t live_bytes; /* device memory held: alloc and matrices */
    uint64_t peak_bytes;
    uint64_t most_bytes;  /* that may be held: memory_max, or what was free at open if that is less;
                             0: nobody knows, as of a host's own memory */
    uint64_t found_bytes; /* where most_bytes is 0: what was free at open; 0: nobody knows */
    uint64_t allocations; /* device allocations since open */
    uint64_t replays;     /* passes that were recorded and then ran, see kern_ops.pass */
    uint64_t wait_ns;     /* of all threads together: in an operation without work, while another
                             one had some. Counted where kern_config.profile is given; a GPU: 0 */
    /* Devices of one backend that have the same number give the same bits. It is whole when all
     * matrices are there, and becomes another where a fast way is closed (kern_config.note). 0: all
     * of this backend in one process do. */
    uint64_t bits;
};

/* What a device could do at best, as measured on it. */
struct kern_peak {
    double flops;  /* a second, of f32 multiply-adds in registers (two for each) */
    double memory; /* bytes a second that are read from memory */
    int threads;   /* that did it, and that kern_stats.wait_ns is about */
};

/* ---- the tables; kernels/op/ has the arguments of the operations ---- */

/* How a device keeps matrices, for whoever counts memory before anything is opened
 * (kern_mat_bytes). */
struct kern_mat_form {
    int n_step, back_step; /* rows, and in a second pack that is there with_back columns, are padded
                              to multiples of these. back_step 0: one pack serves both ways */
    int step_16bit;        /* columns of 16-bit types are padded to multiples of it; 0: all matrices
                              are f32; else parts of one type keep it */
    int k_16bit; /* where step_16bit is 0: matrices of so many columns or more that have no second
                    pack keep 16-bit types; 0: none */
    int keeps_16bit; /* does a product by 16-bit weights round its x to 16 bits? Then what training
                        keeps for the way back loses little by 16 bits, too */
    uint64_t own_bytes; /* that it takes for itself at open, beside kern_stats.live_bytes: of a
                              CPU with one thread */
};

/* What training needs beside the forward operations. Gradients are f32. The headers say of each
 * whether it overwrites or adds. All sums have a fixed order, whatever the number of threads, so a
 * step has the same bits on one backend. They may be part of a pass. */
struct kern_train_ops {
    uint32_t size; /* sizeof(struct kern_train_ops) */

    void (*mat_set)(struct kern *k, const struct kern_mat_set *a);
    void (*zero)(struct kern *k, struct kern_ptr p, size_t bytes);

    void (*gemm_dx)(struct kern *k, const struct kern_gemm_dx *a);
    void (*gemm_dw)(struct kern *k, const struct kern_gemm_dw *a);
    void (*colsum)(struct kern *k, const struct kern_colsum *a);
    void (*layernorm_back)(struct kern *k, const struct kern_norm_back *a);
    void (*rmsnorm_back)(struct kern *k, const struct kern_norm_back *a);
    void (*gelu)(struct kern *k, const struct kern_gelu *a);
    void (*gelu_back)(struct kern *k, const struct kern_gelu *a);
    void (*swiglu_back)(struct kern *k, const struct kern_swiglu_back *a);
    void (*dropout)(struct kern *k, const struct kern_dropout *a);
    void (*convert)(struct kern *k, const struct kern_convert *a);
    void (*attn_full_back)(struct kern *k, const struct kern_attn_full_back *a);
    void (*attn_tree_back)(struct kern *k, const struct kern_attn_tree_back *a);
    void (*rope_back)(struct kern *k, const struct kern_rope_back *a);
    void (*embed_back)(struct kern *k, const struct kern_embed_back *a);
    void (*gather_back)(struct kern *k, const struct kern_gather_back *a);
    void (*xent)(struct kern *k, const struct kern_xent *a);
    void (*expect)(struct kern *k, const struct kern_expect *a);

    void (*axpy)(struct kern *k, const struct kern_axpy *a);
    void (*lerp)(struct kern *k, const struct kern_lerp *a);
    void (*sumsq)(struct kern *k, const struct kern_sumsq *a);
    void (*adamw)(struct kern *k, const struct kern_adamw *a);

    /* With that kern_config.isa; a wrong one: as without. No device is needed. */
    struct kern_mat_form (*form)(const char *isa);
};

struct kern_ops {
    uint32_t abi;                       /* KERN_ABI */
    uint32_t size;                      /* sizeof(struct kern_ops) */
    const char *name;                   /* "ref", "cpu", "cuda" */
    const struct kern_train_ops *train; /* NULL: this backend can't train */
    /* Computes and reads for about a second, with all it has. NULL: this backend doesn't tell. */
    void (*peak)(struct kern *k, struct kern_peak *out);

    /* How good a choice this backend is here: 0 = can't run on this machine, higher is better. */
    int (*score)(void);
    int (*open)(const struct kern_config *cfg, struct kern **out, struct err *e);
    void (*close)(struct kern *k); /* frees what is left; NULL is legal */
    /* One line for the log: "avx512, 2 threads". Valid until close. */
    const char *(*describe)(const struct kern *k);
    /* The type in which this device likes its pools of keys and values best, and whether it takes
     * another. All take f32 and bf16. */
    enum kern_dtype (*pool_dtype)(const struct kern *k);
    int (*takes_pool)(const struct kern *k, enum kern_dtype type);
    /* Token rows of its best pass: with more of them it goes hardly faster, and the first answers
     * come later. For whoever has no reason to take another number. At least 1, the same since
     * open. */
    int (*pass_rows)(const struct kern *k);
    /* Up to so many token rows a pass takes hardly longer than with one: reading the weights takes
     * most of it. A backend may only reckon it. At least 1, the same since open. */
    int (*tile_rows)(const struct kern *k);
    /* Pictures that go through the tower best in one call: 1 .. KERN_PICTURES_MOST, the same since
     * open. */
    int (*pass_pictures)(const struct kern *k);

    /* memory: alloc gives zeroed memory aligned to 64 bytes */
    int (*alloc)(struct kern *k, size_t bytes, struct kern_ptr *out, struct err *e);
    void (*free)(struct kern *k, struct kern_ptr p);
    void (*put)(struct kern *k, struct kern_ptr dst, const void *src, size_t bytes);
    int (*get)(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e);
    void (*copy)(struct kern *k, struct kern_ptr dst, struct kern_ptr src, size_t bytes);
    /* E_UNSUPPORTED: this device keeps no matrix so. */
    int (*mat_new)(struct kern *k, const struct kern_mat_src *src, struct kern_mat **out,
                   struct err *e);
    void (*mat_free)(struct kern *k, struct kern_mat *m); /* NULL is legal */
    /* Bytes that mat_new would take, of parts whose numbers nobody looks at. UINT64_MAX: too many,
     * or this device keeps no matrix so. */
    uint64_t (*mat_bytes)(const struct kern *k, const struct kern_mat_src *src);
    /* Its shape, form and how products by it are made, in a line for people: "12288 x 4096 bf16:
     * cuBLASLt id 66, tile 20, ...". Returns the length of all of it, like snprintf. Another line
     * after a fall-back (see kern_config.note). */
    int (*mat_describe)(const struct kern *k, const struct kern_mat *m, char *text, size_t n);
    /* The type in which products by it take x best: KERN_F32, or the 16 bits that they round x to
     * at any rate. The same as long as the matrix lives. */
    enum kern_dtype (*x_dtype)(const struct kern *k, const struct kern_mat *m);

    /* How products by the i-th of its kinds of matrices are made, in a line for the log: which
     * algorithm, what proved it, which others take its place at some numbers of rows. A last line
     * says how long choosing took. Returns the length of all of it, like snprintf; 0: there is no
     * i-th, as of a backend that has nothing to choose. */
    int (*products)(const struct kern *k, int i, char *text, size_t n);

    /* order: pass has `issue` issue the forward operations of a pass, and nothing else. Passes of
     * one `key` are the same operations in the same order, of about the same sizes: a backend may
     * record what is issued and run it as a whole. If that fails, nothing of the pass has happened,
     * and `issue` is called once more. So it must do the same each time, and what the operations
     * are told lives until pass returns. sync waits and reports a lost device. */
    void (*pass)(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud);
    int (*sync)(struct kern *k, struct err *e);
    void (*stats)(struct kern *k, struct kern_stats *out);

    /* time: mark sets mark i, one of KERN_MARKS, behind all that was issued so far, and doesn't
     * wait. marked waits for marks 0 .. n-1, which were set in this order, and gives the
     * nanoseconds between each two: ns[i] from mark i to mark i+1, n-1 of them. A lost device gives
     * E_DEVICE and no times. Neither is called while a pass is issued. */
    void (*mark)(struct kern *k, int i);
    int (*marked)(struct kern *k, int n, uint64_t *ns, struct err *e);

    /* forward */
    void (*gemm)(struct kern *k, const struct kern_gemm *a);
    void (*layernorm)(struct kern *k, const struct kern_norm *a);
    void (*rmsnorm)(struct kern *k, const struct kern_norm *a);
    void (*swiglu)(struct kern *k, const struct kern_swiglu *a);
    void (*patchify)(struct kern *k, const struct kern_patchify *a);
    void (*add_pos)(struct kern *k, const struct kern_add_pos *a);
    void (*embed)(struct kern *k, const struct kern_embed *a);
    void (*gather)(struct kern *k, const struct kern_gather *a);
    void (*rope)(struct kern *k, const struct kern_rope *a);
    void (*attn_full)(struct kern *k, const struct kern_attn_full *a);
    void (*attn_tree)(struct kern *k, const struct kern_attn_tree *a);
    void (*pick)(struct kern *k, const struct kern_pick *a);
};

/* A backend and which of its devices. */
struct kern_choice {
    const struct kern_ops *ops;
    int device;     /* for kern_config */
    char note[240]; /* "auto": why the GPU was not taken; empty: nothing to be told */
};

/* Choose by "ref", "cpu", "cuda", any of them with a device ("cuda:1"), or "auto": the best score.
 * `plugin` is the file that "cuda" comes from; NULL: lammd-cuda.so in the program's folder, the one
 * above, or ../lib/lammd. Checks ABI, size and completeness. E_NOT_FOUND for an unknown name or no
 * plugin, E_INVALID for a device that is no number, E_UNSUPPORTED for a table that does not fit.
 * Whether there is a device says open(). */
int kern_choose(const char *spec, const char *plugin, struct kern_choice *out, struct err *e);

/* The table alone, of the usual plugin. */
int kern_find(const char *name, const struct kern_ops **out, struct err *e);

/* Load a plugin and check its table; it stays loaded. A plugin exports KERN_PLUGIN_SYMBOL, a
 * kern_plugin_fn that returns its table. E_NOT_FOUND when it can't be loaded. */
#define KERN_PLUGIN_SYMBOL "lammd_kern_plugin"
typedef const struct kern_ops *kern_plugin_fn(void);
int kern_plugin_open(const char *path, const struct kern_ops **out, struct err *e);

/* Passes each operation on to kern_config.inner, with a mark behind it, and writes a table of times
 * to kern_config.profile at close (Markdown: calls, time, what was computed and moved in it, and
 * where the device measures its peak, the share of that). It records no passes. Its `train` is
 * always there; whether the device can train says `inner`. */
extern const struct kern_ops kern_profile;

/* The bytes of a matrix (n, k) of parts of that type. UINT64_MAX: it overflows. */
uint64_t kern_mat_bytes(const struct kern_mat_form *form, int n, int k, enum kern_dtype dtype,
                        int with_back);

/* The form of that name: "auto" (NULL, too), "f32", "bf16", "f16", "fp8", "int8", "int4", "int8x8",
 * "int4x8". E_INVALID: there is none. */
int kern_keep_find(const char *name, enum kern_keep *out, struct err *e);
/* The names, in the order of the enum; NULL behind the last. */
const char *kern_keep_name(int keep);

/* Is the table whole and of our ABI, and that of training if there is one? 0 or E_UNSUPPORTED. */
int kern_check(const struct kern_ops *ops, struct err *e);

#ifdef __cplusplus
}
#endif
#endif
