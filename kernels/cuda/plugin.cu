/* plugin.cu - lammd-cuda.so: the one symbol, the table behind it, and opening a device.
 *
 * The plugin carries its own copy of the floor (err, mem, half) and of the CUDA runtime; of the
 * program that loads it, it uses nothing. It can be loaded on a machine without driver or device:
 * then score() is 0 and open() says what is missing. cuBLASLt is looked for when a device is opened
 * (lt_library.cu), so that it need not be there either.
 *
 * kern_config.isa chooses among NULL, "auto" or "tile" (the default), "flat" and "strict": see enum
 * cuda_mode. "+graphs" behind any of them: passes that recur run as CUDA graphs (graph.cu).
 * "+base": cuBLASLt has one algorithm for all numbers of rows, and nothing is proved at open; it is
 * there to measure what choosing brings, and for a card that chokes on it (lt_choose.cu). Why tile
 * is the default: flat reads the keys of a stem again for every row, which is reckoned to cost
 * about as much as all else of a picture together. Why without graphs: no measurement has spoken
 * for them yet (docs/gpu.md).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/common.cuh"

enum { MAJOR_LEAST = 8 }; /* compute capability: bf16 on the tensor cores */
/* Rows of the best pass, and what must be free for the larger one: each row needs room for its
 * lane's keys and values, about 12 MiB for PAE-LaMM. Reckoned, not measured. */
enum { ROWS = 1024, ROWS_ROOMY = 2048 };
/* Reading the decoder's weights takes 2.8 ms of an H200. Multiplying rows by them takes 4.2 ms for
 * 256, so half of that for 128: up to about so many, reading hides it. All reckoned; a card is to
 * speak. */
enum { TILE_ROWS = 128 };
static const uint64_t roomy_bytes = 60000000000u;

/* ---- finding a device ---- */

/* How many devices there are; why not, in the words of somebody who has to mend it. */
static int count_devices(int *n, struct err *e) {
    int driver = 0;
    cudaError_t rc = cudaDriverGetVersion(&driver);
    if (rc != cudaSuccess || driver == 0)
        return err_set(e, E_UNSUPPORTED, "cuda: there is no NVIDIA driver");
    rc = cudaGetDeviceCount(n);
    (void)cudaGetLastError();
    if (rc == cudaErrorInsufficientDriver)
        return err_set(e, E_UNSUPPORTED, "cuda: the driver is for CUDA %d.%d, this needs %d.%d",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                       CUDART_VERSION % 1000 / 10);
    if (rc == cudaErrorNoDevice || (rc == cudaSuccess && *n == 0))
        return err_set(e, E_NOT_FOUND, "cuda: there is no device");
    if (rc != cudaSuccess) return err_set(e, E_DEVICE, "cuda: %s", cudaGetErrorString(rc));
    return 0;
}

static int find_device(int device, struct cudaDeviceProp *prop, struct err *e) {
    int n = 0, rc = count_devices(&n, e);
    if (rc) return rc;
    if (device < 0 || device >= n)
        return err_set(e, E_NOT_FOUND, "cuda: there is no device %d, only %d of them", device, n);
    cudaError_t cu = cudaGetDeviceProperties(prop, device);
    if (cu != cudaSuccess) return err_set(e, E_DEVICE, "cuda: %s", cudaGetErrorString(cu));
    if (prop->major < MAJOR_LEAST)
        return err_set(e, E_UNSUPPORTED, "cuda: device %d, %s, has compute capability %d.%d, not 8",
                       device, prop->name, prop->major, prop->minor);
    return 0;
}

/* Below the CPU's, so that "auto" stays there: no kernel has run on a GPU yet. `--device cuda`
 * takes it; the score goes up to 100 with the first whole report in docs/gpu.md. */
static int cuda_score(void) {
    struct cudaDeviceProp prop;
    return find_device(0, &prop, NULL) == 0 ? 5 : 0;
}

/* What kern_config.isa says. */
struct how {
    enum cuda_mode mode;
    bool has_graphs, only_base;
};

/* Is `name`, up to the next plus, this word? */
static bool is_word(const char *name, const char *word) {
    size_t len = strcspn(name, "+");
    return strlen(word) == len && memcmp(name, word, len) == 0;
}

/* MODE, with +graphs or +base behind it, or both. */
static int find_mode(const char *isa, struct how *out, struct err *e) {
    static const struct {
        const char *name;
        enum cuda_mode mode;
    } modes[] = {
        {"auto", CUDA_TILE}, {"flat", CUDA_FLAT}, {"tile", CUDA_TILE}, {"strict", CUDA_STRICT}};
    const char *name = isa ? isa : "auto", *more = name + strcspn(name, "+");
    size_t i = 0;
    *out = {};
    while (i < ARRAY_LEN(modes) && !is_word(name, modes[i].name))
        i++;
    bool is_known = i < ARRAY_LEN(modes);
    if (is_known) out->mode = modes[i].mode;
    for (; *more && is_known; more += strcspn(more, "+")) {
        bool is_graphs = is_word(++more, "graphs"), is_base = is_word(more, "base");
        is_known = is_graphs ? !out->has_graphs : is_base && !out->only_base;
        out->has_graphs |= is_graphs;
        out->only_base |= is_base;
    }
    if (is_known) return 0;
    return err_set(e, E_NOT_FOUND,
                   "cuda: \"%s\" is not flat, tile or strict, or one of them+graphs or +base",
                   name);
}

/* ---- opening ---- */

static void cuda_close(struct kern *k) {
    if (!k) return;
    (void)cudaSetDevice(k->device);
    if (k->stream) (void)cudaStreamSynchronize(k->stream);
    graphs_close(k);
    marks_close(k);
    while (k->mats)
        cuda_mat_free(k, k->mats);
    lt_close(k->lt);
    cuda_free_all(k);
    for (int i = 0; i < RING; i++)
        if (k->ring_free[i]) (void)cudaEventDestroy(k->ring_free[i]);
    if (k->ring) (void)cudaFreeHost(k->ring);
    if (k->stage_in) (void)cudaFree(k->stage_in);
    if (k->stage_out) (void)cudaFree(k->stage_out);
    if (k->stream) (void)cudaStreamDestroy(k->stream);
    mem_free(k);
}

/* Stream, ring and stages. */
static void open_parts(struct kern *k) {
    CUDA_TRY(k, cudaSetDevice(k->device));
    CUDA_TRY(k, cudaStreamCreateWithFlags(&k->stream, cudaStreamNonBlocking));
    CUDA_TRY(k, cudaMallocHost((void **)&k->ring, RING * RING_BYTES));
    for (int i = 0; i < RING; i++)
        CUDA_TRY(k, cudaEventCreateWithFlags(&k->ring_free[i], cudaEventDisableTiming));
    CUDA_TRY(k, cudaMalloc((void **)&k->stage_in, cuda_stage_bytes));
    CUDA_TRY(k, cudaMalloc((void **)&k->stage_out, cuda_stage_bytes));
}

/* What may be held. A little of the card is left alone: the runtime loads kernels as they are first
 * used, and takes memory in pages of 2 MiB. */
static void note_room(struct kern *k, uint64_t memory_max) {
    static const size_t spare = (size_t)256 << 20;
    size_t room = 0, total = 0;
    k->memory_max = memory_max;
    CUDA_TRY(k, cudaMemGetInfo(&room, &total));
    k->stats.most_bytes = room > spare ? room - spare : room;
    if (memory_max && memory_max < k->stats.most_bytes) k->stats.most_bytes = memory_max;
}

/* Is there code for this device? It is loaded with the first kernel. */
static __global__ void touch(int) {}

/* What there is to be done, in the words of somebody who has to mend it. */
static int check_code(struct kern *k, const struct cudaDeviceProp *prop, struct err *e) {
    touch<<<1, 1, 0, k->stream>>>(0);
    cudaError_t cu = cudaGetLastError();
    if (cu == cudaSuccess) cu = cudaStreamSynchronize(k->stream);
    int rc = E_UNSUPPORTED;
    switch (cu) {
    case cudaSuccess: return 0;
    case cudaErrorUnsupportedPtxVersion:
        err_set(e, rc, "the driver is too old to make code for it: install one for CUDA %d.%d",
                CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        break;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidPtx:
        err_set(e, rc,
                "lammd-cuda.so has no code for it: build it with make CUDA_ARCH=\"80 90 %d%d\"",
                prop->major, prop->minor);
        break;
    case cudaErrorJitCompilerNotFound:
    case cudaErrorJitCompilationDisabled:
        err_set(e, rc,
                "the driver may not make code for it: is its libnvidia-ptxjitcompiler "
                "installed, and CUDA_DISABLE_PTX_JIT unset?");
        break;
    default: rc = err_set(e, E_DEVICE, "%s", cudaGetErrorString(cu));
    }
    return err_in(e, "cuda: device %d, %s, compute capability %d.%d", k->device, prop->name,
                  prop->major, prop->minor),
           rc;
}

/* For people; and what of it decides about bits, together with the bases of products. NVIDIA
 * promises equal bits for the same architecture, number of multiprocessors, and release alone. */
static void tell_device(struct kern *k, const struct cudaDeviceProp *prop, const struct how *how) {
    static const char *const mode_names[] = {"flat", "tile", "strict"};
    char products[32] = "own products", chip[64];
    const char *mode = mode_names[how->mode];
    if (k->lt) snprintf(products, sizeof products, "cuBLASLt %d", lt_version(k->lt));
    if (how->mode == CUDA_STRICT) products[0] = '\0';
    snprintf(k->text, sizeof k->text, "%d, %.40s, %zu GiB, %s%s%s%s%s", k->device, prop->name,
             prop->totalGlobalMem >> 30, mode, how->has_graphs ? "+graphs" : "",
             how->only_base ? "+base" : "", products[0] ? ", " : "", products);
    snprintf(chip, sizeof chip, "%d.%d, %d multiprocessors", prop->major, prop->minor,
             prop->multiProcessorCount);
    cuda_mix_bits(k, prop->name);
    cuda_mix_bits(k, chip);
    cuda_mix_bits(k, mode);
    cuda_mix_bits(k, products);
}

static int cuda_open(const struct kern_config *cfg, struct kern **out, struct err *e) {
    *out = NULL;
    struct cudaDeviceProp prop;
    struct how how;
    int rc = find_mode(cfg->isa, &how, e);
    if (!rc) rc = find_device(cfg->device, &prop, e);
    if (rc) return rc;
    struct kern *k = (struct kern *)mem_must(sizeof *k);
    k->device = cfg->device;
    k->major = prop.major;
    k->l2_bytes = (size_t)prop.l2CacheSize;
    k->mode = how.mode;
    k->note = cfg->note;
    k->note_ud = cfg->note_ud;
    open_parts(k);
    if (k->lost.code) {
        rc = err_set(e, k->lost.code, "%s", k->lost.text);
        if (rc == E_NOMEM)
            (void)err_in(e, "%zu MiB of the card and %zu pinned are needed before the model",
                         2 * cuda_stage_bytes >> 20, RING * RING_BYTES >> 20);
        cuda_close(k);
        return rc;
    }
    rc = check_code(k, &prop, e);
    if (rc) {
        cuda_close(k);
        return rc;
    }
    if (how.has_graphs) graphs_open(k);
    if (how.mode != CUDA_STRICT) k->lt = lt_open(k, how.only_base);
    note_room(k, cfg->memory_max);
    tell_device(k, &prop, &how);
    *out = k;
    return 0;
}

static const char *cuda_describe(const struct kern *k) { return k->text; }

static enum kern_dtype cuda_pool_dtype(const struct kern *k) {
    return k->mode == CUDA_STRICT ? KERN_F32 : KERN_BF16;
}

static int cuda_takes_pool(const struct kern *, enum kern_dtype type) {
    return type == KERN_F32 || type == KERN_BF16;
}

/* most_bytes is what was free at open, within memory_max. */
static int cuda_pass_rows(const struct kern *k) {
    return k->stats.most_bytes > roomy_bytes ? ROWS_ROOMY : ROWS;
}

static int cuda_tile_rows(const struct kern *) { return TILE_ROWS; }

/* The tower has 1,025 rows a picture, which leave much of a large card idle. Reckoned, not
 * measured. */
static int cuda_pass_pictures(const struct kern *) { return KERN_PICTURES_MOST; }

/* ---- order ---- */

void cuda_lose(struct kern *k, const char *what, cudaError_t rc) {
    char call[64]; /* up to the parenthesis: the arguments say nothing to a reader of logs */
    snprintf(call, sizeof call, "%.*s", (int)strcspn(what, "("), what);
    int code = rc == cudaErrorMemoryAllocation ? E_NOMEM : E_DEVICE;
    if (!k->lost.code)
        err_set(&k->lost, code, "cuda: device %d: %s: %s", k->device, call, cudaGetErrorString(rc));
}

/* FNV-1a, and a mark between two texts. */
void cuda_mix_bits(struct kern *k, const char *text) {
    uint64_t h = k->stats.bits ? k->stats.bits : 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    h = (h ^ 0xffu) * 0x100000001b3u;
    k->stats.bits = h ? h : 1;
}

void cuda_note(const struct kern *k, const char *fmt, ...) {
    char text[400];
    if (!k->note) return;
    int n = snprintf(text, sizeof text, "cuda: device %d: ", k->device);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    va_end(ap);
    k->note(k->note_ud, text);
}

bool cuda_enter(struct kern *k, uint64_t multiply_adds) {
    k->stats.ops++;
    k->stats.flops += 2 * multiply_adds;
    CUDA_TRY(k, cudaSetDevice(k->device));
    return !k->lost.code;
}

void cuda_launched(struct kern *k, const char *kernel) {
    cudaError_t rc = cudaGetLastError();
    if (rc != cudaSuccess) cuda_lose(k, kernel, rc);
}

static void cuda_stats(struct kern *k, struct kern_stats *out) { *out = k->stats; }

static struct kern_mat_form cuda_form(const char *isa) {
    struct how how;
    (void)find_mode(isa, &how, NULL);
    bool is_strict = how.mode == CUDA_STRICT;
    return {.n_step = 1,
            .back_step = 0,
            .step_16bit = is_strict ? 0 : (int)cuda_row_16bit(1),
            .k_16bit = 0,
            .keeps_16bit = !is_strict,
            .own_bytes = 2 * cuda_stage_bytes + (is_strict ? 0 : cuda_lt_bytes)};
}

static const struct kern_train_ops train = {
    .size = sizeof(struct kern_train_ops),
    .mat_set = cuda_mat_set,
    .zero = cuda_zero,
    .gemm_dx = cuda_gemm_dx,
    .gemm_dw = cuda_gemm_dw,
    .colsum = cuda_colsum,
    .layernorm_back = cuda_layernorm_back,
    .rmsnorm_back = cuda_rmsnorm_back,
    .gelu = cuda_gelu,
    .gelu_back = cuda_gelu_back,
    .swiglu_back = cuda_swiglu_back,
    .dropout = cuda_dropout,
    .convert = cuda_convert,
    .attn_full_back = cuda_attn_full_back,
    .attn_tree_back = cuda_attn_tree_back,
    .rope_back = cuda_rope_back,
    .embed_back = cuda_embed_back,
    .gather_back = cuda_gather_back,
    .xent = cuda_xent,
    .expect = cuda_expect,
    .axpy = cuda_axpy,
    .lerp = cuda_lerp,
    .sumsq = cuda_sumsq,
    .adamw = cuda_adamw,
    .form = cuda_form,
};

static const struct kern_ops table = {
    .abi = KERN_ABI,
    .size = sizeof(struct kern_ops),
    .name = "cuda",
    .train = &train,
    .peak = nullptr, /* not measured: docs/gpu.md has the card's own figures */
    .score = cuda_score,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .pool_dtype = cuda_pool_dtype,
    .takes_pool = cuda_takes_pool,
    .pass_rows = cuda_pass_rows,
    .tile_rows = cuda_tile_rows,
    .pass_pictures = cuda_pass_pictures,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .put = cuda_put,
    .get = cuda_get,
    .copy = cuda_copy,
    .mat_new = cuda_mat_new,
    .mat_free = cuda_mat_free,
    .mat_bytes = cuda_mat_bytes,
    .mat_describe = cuda_mat_describe,
    .x_dtype = cuda_x_dtype,
    .products = cuda_products,
    .pass = cuda_pass,
    .sync = cuda_sync,
    .stats = cuda_stats,
    .mark = cuda_mark,
    .marked = cuda_marked,
    .gemm = cuda_gemm,
    .layernorm = cuda_layernorm,
    .rmsnorm = cuda_rmsnorm,
    .swiglu = cuda_swiglu,
    .patchify = cuda_patchify,
    .add_pos = cuda_add_pos,
    .embed = cuda_embed,
    .gather = cuda_gather,
    .rope = cuda_rope,
    .attn_full = cuda_attn_full,
    .attn_tree = cuda_attn_tree,
    .pick = cuda_pick,
};

extern "C" __attribute__((visibility("default"))) const struct kern_ops *lammd_kern_plugin(void) {
    return &table;
}
