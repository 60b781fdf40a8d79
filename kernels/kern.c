/* kern.c - chooses the device that computes.
 *
 * The backends are tables compiled in, and the one of the CUDA plugin, which is looked for when it
 * is asked for. A table is refused whole when its ABI or size differ or when any entry is missing:
 * there is no "supports", and no quiet fall-back to slow code. Only "auto" falls back, from a GPU
 * that can't be had to the CPU, and leaves a note that says why.
 *
 * Owns nothing. Thread: any.
 */
#include "kernels/kern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/plugin.h"
#include "kernels/ref/ref.h"
#ifdef KERN_HAS_CPU
#include "kernels/cpu/cpu.h"
#endif

static const struct kern_ops *const backends[] = {
    &kern_ref,
#ifdef KERN_HAS_CPU
    &kern_cpu,
#endif
};

/* From some member on a table has nothing but functions: look at it as the array of pointers that
 * it is. */
static int is_complete(const void *table, size_t from, size_t size) {
    const char *at = (const char *)table + from, *end = (const char *)table + size;
    for (; at < end; at += sizeof(void (*)(void))) {
        void (*fn)(void);
        memcpy(&fn, at, sizeof(fn));
        if (!fn) return 0;
    }
    return 1;
}

int kern_check(const struct kern_ops *ops, struct err *e) {
    if (ops->abi != KERN_ABI || ops->size != sizeof(*ops))
        return err_set(e, E_UNSUPPORTED, "backend: ABI %u of %u bytes, not %u of %zu", ops->abi,
                       ops->size, KERN_ABI, sizeof(*ops));
    if (!ops->name) return err_set(e, E_UNSUPPORTED, "backend without a name");
    if (!is_complete(ops, offsetof(struct kern_ops, score), sizeof *ops))
        return err_set(e, E_UNSUPPORTED, "backend %s: an operation is missing", ops->name);
    const struct kern_train_ops *t = ops->train;
    if (t && (t->size != sizeof *t ||
              !is_complete(t, offsetof(struct kern_train_ops, mat_set), sizeof *t)))
        return err_set(e, E_UNSUPPORTED, "backend %s: an operation of training is missing",
                       ops->name);
    return 0;
}

/* ---- counting ---- */

static uint64_t padded(int n, int step) {
    return step > 1 ? ((uint64_t)n + (uint64_t)step - 1) / (uint64_t)step * (uint64_t)step
                    : (uint64_t)n;
}

uint64_t kern_mat_bytes(const struct kern_mat_form *form, int n, int k, enum kern_dtype dtype,
                        int with_back) {
    int is_wide = form->k_16bit && k >= form->k_16bit && !with_back;
    size_t item = kern_dtype_bytes(form->step_16bit || is_wide ? dtype : KERN_F32);
    size_t cells, back = 0, bytes;
    int k_step = item < sizeof(float) ? form->step_16bit : 1;
    if (!mem_mul(padded(n, form->n_step), padded(k, k_step), &cells)) return UINT64_MAX;
    if (with_back && form->back_step && !mem_mul(padded(k, form->back_step), (size_t)n, &back))
        return UINT64_MAX;
    if (!mem_add(cells, back, &cells) || !mem_mul(cells, item, &bytes)) return UINT64_MAX;
    return bytes;
}

/* ---- forms of matrices ---- */

const char *kern_keep_name(int keep) {
    static const char *const names[] = {"auto", "f32",  "bf16",   "f16",   "fp8",
                                        "int8", "int4", "int8x8", "int4x8"};
    return keep >= 0 && keep < (int)ARRAY_LEN(names) ? names[keep] : NULL;
}

int kern_keep_find(const char *name, enum kern_keep *out, struct err *e) {
    const char *known;
    *out = KERN_KEEP_OWN;
    for (int i = 0; name && (known = kern_keep_name(i)) != NULL; i++)
        if (!strcmp(name, known)) {
            *out = (enum kern_keep)i;
            return 0;
        }
    return name ? err_set(e, E_INVALID, "weights as \"%.32s\": no such form", name) : 0;
}

/* ---- the plugin ---- */

int kern_plugin_open(const char *path, const struct kern_ops **out, struct err *e) {
    plugin_fn *fn = NULL;
    int rc = plugin_load(path, KERN_PLUGIN_SYMBOL, &fn, e);
    if (rc) return rc;
    const struct kern_ops *ops = ((kern_plugin_fn *)fn)();
    rc = ops ? kern_check(ops, e) : err_set(e, E_UNSUPPORTED, "no table");
    if (rc)
        (void)err_in(e, "plugin %s", path);
    else
        *out = ops;
    return rc;
}

/* The file of the CUDA plugin. 0 when there is none. */
static int find_plugin(char *path, size_t size) { return plugin_find("lammd-cuda.so", path, size); }

static int open_cuda(const char *plugin, const struct kern_ops **out, struct err *e) {
    char path[2200];
    if (plugin) return kern_plugin_open(plugin, out, e);
    if (find_plugin(path, sizeof path)) return kern_plugin_open(path, out, e);
    return err_set(e, E_NOT_FOUND, "lammd-cuda.so is not beside the program or in ../lib/lammd");
}

/* ---- choosing ---- */

/* "name" or "name:N"; the length of the name, or an error. */
static int read_spec(const char *spec, size_t *len, int *device, struct err *e) {
    enum { DEVICES_MAX = 1024 };
    *len = strcspn(spec, ":");
    *device = 0;
    if (!spec[*len]) return 0;
    const char *number = spec + *len + 1;
    size_t digits = strspn(number, "0123456789");
    if (digits < 1 || digits > 4 || number[digits])
        return err_set(e, E_INVALID, "\"%s\": behind the colon stands the number of a device",
                       spec);
    long n = strtol(number, NULL, 10);
    if (n >= DEVICES_MAX) return err_set(e, E_NOT_FOUND, "\"%s\": there is no such device", spec);
    *device = (int)n;
    return 0;
}

/* The GPU if it can be had, else the best that is compiled in and a note. */
static void choose_auto(const char *plugin, struct kern_choice *out) {
    const struct kern_ops *cuda = NULL;
    struct err why = {0};
    char path[2200];
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (!out->ops || backends[i]->score() > out->ops->score()) out->ops = backends[i];
    if (!plugin && !find_plugin(path, sizeof path)) return; /* nobody meant to have one */
    int rc = open_cuda(plugin, &cuda, &why);
    if (!rc && cuda->score() > out->ops->score()) {
        out->ops = cuda;
        return;
    }
    if (!rc && cuda->score() > 0) { /* plugin.cu says why it isn't more */
        (void)err_set(&why, E_UNSUPPORTED, "there is a GPU, but it has to be asked for: cuda");
    } else if (!rc) { /* what is missing says open() */
        struct kern *k = NULL;
        if (!cuda->open(&(struct kern_config){0}, &k, &why)) cuda->close(k);
    }
    (void)snprintf(out->note, sizeof out->note, "%s", why.text);
}

int kern_choose(const char *spec, const char *plugin, struct kern_choice *out, struct err *e) {
    size_t len;
    struct kern_choice c = {0};
    int rc = read_spec(spec, &len, &c.device, e);
    if (rc) return rc;
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (strlen(backends[i]->name) == len && !memcmp(spec, backends[i]->name, len))
            c.ops = backends[i];
    if (!c.ops && len == 4 && !memcmp(spec, "cuda", 4)) rc = open_cuda(plugin, &c.ops, e);
    if (!strcmp(spec, "auto")) choose_auto(plugin, &c);
    if (rc) return rc;
    if (!c.ops) return err_set(e, E_NOT_FOUND, "no backend \"%s\"", spec);
    rc = kern_check(c.ops, e);
    if (!rc) *out = c;
    return rc;
}

int kern_find(const char *name, const struct kern_ops **out, struct err *e) {
    struct kern_choice c;
    int rc = kern_choose(name, NULL, &c, e);
    if (!rc) *out = c.ops;
    return rc;
}
