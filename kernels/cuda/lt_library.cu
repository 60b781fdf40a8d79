/* lt_library.cu - cuBLASLt itself: where it is found, and what it is told once.
 *
 * The library is looked for at run time, so that the plugin loads without it. A card without it
 * works, by our own products, and says so in the log.
 */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/lt.cuh"

#define LIBRARY "libcublasLt.so.13"

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"cublasLtCreate", offsetof(struct lt, Create)},
    {"cublasLtDestroy", offsetof(struct lt, Destroy)},
    {"cublasLtGetVersion", offsetof(struct lt, GetVersion)},
    {"cublasLtGetStatusName", offsetof(struct lt, GetStatusName)},
    {"cublasLtMatmul", offsetof(struct lt, Matmul)},
    {"cublasLtMatmulDescCreate", offsetof(struct lt, MatmulDescCreate)},
    {"cublasLtMatmulDescDestroy", offsetof(struct lt, MatmulDescDestroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct lt, MatmulDescSetAttribute)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct lt, MatrixLayoutCreate)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct lt, MatrixLayoutDestroy)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(struct lt, MatrixLayoutSetAttribute)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct lt, MatmulPreferenceCreate)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct lt, MatmulPreferenceDestroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct lt, MatmulPreferenceSetAttribute)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct lt, MatmulAlgoGetHeuristic)},
    {"cublasLtMatmulAlgoCheck", offsetof(struct lt, MatmulAlgoCheck)},
    {"cublasLtMatmulAlgoConfigGetAttribute", offsetof(struct lt, MatmulAlgoConfigGetAttribute)},
};

/* NULL, or the one that isn't there. */
static const char *find_functions(struct lt *lt) {
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        void *found = dlsym(lt->library, functions[i].name);
        if (!found) return functions[i].name;
        memcpy((char *)lt + functions[i].at, &found, sizeof found);
    }
    return NULL;
}

/* The first file of a pattern that can be loaded. */
static void *load_one_of(const char *pattern) {
    glob_t files;
    void *library = NULL;
    if (glob(pattern, 0, NULL, &files)) return NULL;
    for (size_t i = 0; i < files.gl_pathc && !library; i++)
        library = dlopen(files.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&files);
    return library;
}

/* As the system finds it, or where CUDA's own installer puts it. `why`: what the system said. */
static void *load_library(char (&why)[240]) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
    const char *said = dlerror();
    snprintf(why, sizeof why, "%s", said ? said : LIBRARY);
    library = load_one_of("/usr/local/cuda/lib64/" LIBRARY);
    return library ? library : load_one_of("/usr/local/cuda-13*/lib64/" LIBRARY);
}

static bool set_preference(const struct lt *lt) {
    uint64_t bytes = cuda_lt_bytes;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE, aligned = 16; /* x and y; w has more */
    cublasLtMatmulPreference_t p = lt->preference;
    return !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                             sizeof bytes) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                             &schemes, sizeof schemes) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                             &aligned, sizeof aligned) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                             &aligned, sizeof aligned) &&
           !lt->MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                             &aligned, sizeof aligned);
}

/* What is missing is left in `why`. */
static bool open_all(struct lt *lt, char (&why)[240]) {
    lt->library = load_library(why);
    if (!lt->library) return false;
    const char *missing = find_functions(lt);
    if (missing) {
        snprintf(why, sizeof why, LIBRARY " has no %s", missing);
        return false;
    }
    cublasStatus_t s = lt->Create(&lt->handle);
    snprintf(why, sizeof why, "cublasLtCreate: status %d (%s)", (int)s, lt->GetStatusName(s));
    if (s) return false;
    snprintf(why, sizeof why, "it refuses what we prefer");
    if (lt->MatmulPreferenceCreate(&lt->preference) || !set_preference(lt)) return false;
    snprintf(why, sizeof why, "no memory for its workspace of %zu MiB", cuda_lt_bytes >> 20);
    return cudaMalloc(&lt->workspace, cuda_lt_bytes) == cudaSuccess;
}

struct lt *lt_open(const struct kern *k, bool only_base) {
    struct lt *lt = (struct lt *)mem_must(sizeof *lt);
    lt->only_base = only_base;
    char why[240] = "";
    if (open_all(lt, why)) return lt;
    (void)cudaGetLastError(); /* or the next launch would be blamed for it */
    lt_close(lt);
    cuda_note(k, "no cuBLASLt, so products are our own, and slow: %s", why);
    return NULL;
}

void lt_close(struct lt *lt) {
    if (!lt) return;
    lt_shapes_free(lt);
    if (lt->workspace) (void)cudaFree(lt->workspace);
    if (lt->preference) (void)lt->MatmulPreferenceDestroy(lt->preference);
    if (lt->handle) (void)lt->Destroy(lt->handle);
    mem_free(lt); /* the library stays: it may have threads of its own */
}

int lt_version(const struct lt *lt) { return (int)lt->GetVersion(); }
