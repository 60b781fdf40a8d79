/* fake_adapters.c - the adapters of the fake engine, see fake_engine.h. A folder is an adapter when
 * it has a file `adapter_config.json`; that file's bytes are all there is of it. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/fake_engine.h"

struct eng_adapter {
    struct fake_adapters *all;
    atomic_int refs, state;
    struct eng_adapter_info info;
    struct err error;
    void (*wake)(void *ud, struct eng_adapter *adapter);
    void *ud;
};

void fake_slots(struct eng *e, int n) {
    fake_adapters(e)->slots = n;
    fake_set_slots(e, n);
}

void fake_load_slowly(struct eng *e, int is_on) { fake_adapters(e)->is_slow = is_on; }

int fake_adapters_alive(struct eng *e) { return atomic_load(&fake_adapters(e)->alive); }

void fake_loaded(struct eng *e, int code) {
    struct eng_adapter *a = fake_adapters(e)->last;
    if (code) err_set(&a->error, code, "the device said no");
    atomic_store(&a->state, code ? ENG_FAILED : ENG_DONE);
    if (a->wake) a->wake(a->ud, a);
}

static int read_it(const char *folder, char *text, size_t cap, struct err *err) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/adapter_config.json", folder);
    FILE *f = fopen(path, "r");
    if (!f)
        return err_set(err, E_NOT_FOUND, "%s: neither adapter_config.json nor overlay.safetensors",
                       folder);
    size_t n = fread(text, 1, cap - 1, f);
    fclose(f);
    text[n] = '\0';
    if (strncmp(text, "foreign", 7) != 0) return 0;
    return err_set(err, E_FORMAT, "%s: it was made for another base model", folder);
}

int eng_adapter_load(struct eng *e, const char *folder,
                     void (*wake)(void *ud, struct eng_adapter *adapter), void *ud,
                     struct eng_adapter **out, struct err *err) {
    struct fake_adapters *all = fake_adapters(e);
    char text[256];
    *out = NULL;
    int rc = read_it(folder, text, sizeof(text), err);
    if (rc) return rc;
    if (atomic_fetch_add(&all->alive, 1) >= all->slots) {
        atomic_fetch_sub(&all->alive, 1);
        return err_set(err, E_BUSY, "no berth is free");
    }
    struct eng_adapter *a = mem_must(sizeof(*a));
    uint64_t hash = 14695981039346656037u;
    for (const char *s = text; *s; s++)
        hash = (hash ^ (uint8_t)*s) * 1099511628211u;
    a->all = all;
    a->wake = wake;
    a->ud = ud;
    a->info =
        (struct eng_adapter_info){.rank = 8, .has_lora = 1, .parameters = 1000, .bytes = 4000};
    for (int k = 0; k < 4; k++)
        snprintf(a->info.digest + 16 * k, 17, "%016llx", (unsigned long long)(hash + (uint64_t)k));
    atomic_init(&a->refs, 1);
    all->last = a;
    if (!all->is_slow) {
        atomic_store(&a->state, ENG_DONE);
        if (wake) wake(ud, a);
    }
    *out = a;
    return 0;
}

enum eng_state eng_adapter_state(const struct eng_adapter *a) {
    return (enum eng_state)atomic_load(&a->state);
}

const struct err *eng_adapter_error(const struct eng_adapter *a) { return &a->error; }

const struct eng_adapter_info *eng_adapter_info(const struct eng_adapter *a) { return &a->info; }

struct eng_adapter *eng_adapter_get(struct eng_adapter *a) {
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void eng_adapter_put(struct eng_adapter *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) > 1) return;
    atomic_fetch_sub(&a->all->alive, 1);
    mem_free(a);
}
