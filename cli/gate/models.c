/* models.c - see models.h. */
#include "cli/gate/models.h"

#include <time.h>

#include "engine/train/train.h"

enum { WAIT_MS = 5 };

/* Until it is loaded, or has failed. */
static int wait_for_adapter(const struct eng_adapter *a, struct err *e) {
    const struct timespec pause = {0, WAIT_MS * 1000000L};
    while (eng_adapter_state(a) < ENG_DONE)
        nanosleep(&pause, NULL);
    if (eng_adapter_state(a) == ENG_DONE) return 0;
    const struct err *why = eng_adapter_error(a);
    return err_set(e, why->code, "%s", why->text);
}

/* The base with room for one adapter of that rank, and the adapter in it. */
static int open_shared(struct models *m, const char *base, const char *adapter, int rank,
                       struct err *e) {
    struct eng_options o = config_engine(m->eval[0].cfg, base);
    o.adapters = 1;
    o.adapter_rank = rank;
    o.adapter_overlays = 1;
    int rc = eng_open(&o, &m->eval[0].eng, e);
    if (rc) return rc;
    m->eval[1].eng = m->eval[0].eng;
    rc = eng_adapter_load(m->eval[0].eng, adapter, NULL, NULL, &m->adapter, e);
    if (rc == 0) rc = wait_for_adapter(m->adapter, e);
    return rc ? (err_in(e, "%s", adapter), rc) : 0;
}

/* With the usual room, or else with as much as can be trained. */
static int open_adapter(struct models *m, const char *base, const char *adapter, struct err *e) {
    struct err why = {0};
    int rc = open_shared(m, base, adapter, 0, &why);
    if (rc == E_TOO_BIG) {
        models_close(m);
        return open_shared(m, base, adapter, TRAIN_LORA_RANK_MAX, e);
    }
    return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static int open_two(struct models *m, const char *base, const char *against, struct err *e) {
    const char *const folders[2] = {base, against};
    int rc = 0;
    for (int k = 0; rc == 0 && k < 2; k++)
        rc = eval_open(&m->eval[k], folders[k], e);
    if (rc) return rc;
    const struct eng_info *a = eng_info(m->eval[0].eng), *b = eng_info(m->eval[1].eng);
    if (a->grid == b->grid) return 0;
    return err_set(e, E_INVALID, "%s has %d places a side and %s has %d: they can't be compared",
                   base, a->grid, against, b->grid);
}

int models_open(const struct config *cfg, const char *base, const char *adapter,
                const char *against, struct models *out, struct err *e) {
    *out = (struct models){.eval = {{.cfg = cfg}, {.cfg = cfg}}};
    int rc = adapter ? open_adapter(out, base, adapter, e) : open_two(out, base, against, e);
    for (int k = 0; rc == 0 && k < 2; k++)
        out->eval[k].grid = eng_info(out->eval[k].eng)->grid;
    if (rc) models_close(out);
    return rc;
}

void models_close(struct models *m) {
    eng_adapter_put(m->adapter);
    if (m->eval[1].eng != m->eval[0].eng) eng_close(m->eval[1].eng);
    eng_close(m->eval[0].eng);
    m->adapter = NULL;
    m->eval[0].eng = m->eval[1].eng = NULL;
}
