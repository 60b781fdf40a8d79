/* train.c - `lammd train RECIPE.ini`: options and recipe become a run, or a plan, or a file of
 * samples. See run.h.
 *
 * SIGTERM and SIGINT are blocked before any thread begins, and looked for between steps. So they
 * end a run where it can be gone on with. After the first one a second one kills.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/train/keys.h"
#include "cli/train/run.h"
#include "kernels/base/mem.h"

/* ---- signals ---- */

static void stop_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

int run_stopped(struct run *r) {
    const struct timespec now = {0, 0};
    sigset_t set;
    stop_signals(&set);
    if (!r->is_stopped && sigtimedwait(&set, NULL, &now) > 0) {
        r->is_stopped = 1;
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    }
    return r->is_stopped;
}

static int on_reading(void *ud) { return run_stopped(ud); }

/* ---- options over the recipe ---- */

static void take_options(struct run *r, char path[4096]) {
    const struct config *cfg = r->cfg;
    struct recipe_run *run = &r->recipe.run;
    if (cfg->device) run->device = cfg->device;
    if (cfg->isa) run->isa = cfg->isa;
    if (cfg->threads) run->threads = cfg->threads;
    if (cfg->memory_mib) run->memory_mib = cfg->memory_mib;
    if (cfg->is_gated) run->gate = 1;
    if (cfg->steps) recipe_shorten(&r->recipe, cfg->steps);
    if (!run->device) run->device = "auto";
    r->model = cfg->model ? cfg->model : run->model ? run->model : config_model(cfg, path);
    recipe_digest(&r->recipe, r->recipe_digest);
}

/* "recipes/own.ini" -> "runs/own", unless somebody says where to. */
static const char *out_folder(const struct run *r, char path[4096]) {
    if (r->cfg->out) return r->cfg->out;
    if (r->recipe.run.out) return r->recipe.run.out;
    const char *name = strrchr(r->recipe.file, '/');
    name = name ? name + 1 : r->recipe.file;
    const char *dot = strrchr(name, '.');
    snprintf(path, 4096, "runs/%.*s", dot ? (int)(dot - name) : 255, name);
    return path;
}

/* ---- what is to be done ---- */

static int train(struct run *r, struct err *e) {
    char out[4096];
    r->folder.lock = -1;
    r->saved = UINT64_MAX;
    int rc = 0;
    if (!r->cfg->samples)
        rc = r->rank ? folder_name(out_folder(r, out), &r->folder, e)
                     : folder_open(out_folder(r, out), &r->folder, e);
    if (rc == 0) rc = mix_open(&r->recipe, r->rank != 0, on_reading, r, &r->mix, e);
    if (rc == 0) rc = r->cfg->samples ? dump_samples(r, r->cfg->samples, e) : run_all(r, e);
    mix_close(&r->mix);
    folder_close(&r->folder);
    if (rc == E_CANCELLED && r->is_stopped) {
        *e = (struct err){0};
        rc = 0;
    }
    return rc;
}

/* With other ranks, where there are some. After an error nobody waits for them: the process ends,
 * and its launcher ends them. */
static int train_ranks(struct run *r, struct err *e) {
    struct train_comm comm = {0};
    if (r->cfg->comm == CONFIG_ONE || r->cfg->samples) return train(r, e);
    int rc = train_comm_open("mpi", getenv("LAMMD_COMM"), &comm, e);
    if (rc) return rc;
    r->comm = &comm;
    r->rank = comm.rank;
    r->size = comm.size;
    rc = train(r, e);
    if (rc == 0) train_comm_close(&comm);
    return rc;
}

static int train_recipe(struct run *r, struct err *e) {
    char path[4096], here[4096];
    const struct recipe_sets sets = {r->cfg->sets.at, r->cfg->sets.n, getcwd(here, sizeof(here))};
    int rc = recipe_open(r->cfg->rest.at[0], &sets, &r->recipe, e);
    if (rc) return rc;
    take_options(r, path);
    rc = r->cfg->is_plan ? plan_print(r, stdout, e) : train_ranks(r, e);
    recipe_close(&r->recipe);
    return rc;
}

int cmd_train(const struct config *cfg) {
    if (cfg->is_keys) {
        keys_print(stdout);
        return 0;
    }
    if (cfg->rest.n != 1) return cmd_misused(CMD_TRAIN);
    sigset_t set;
    stop_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct err e = {0};
    struct run *r = mem_must(sizeof(*r));
    r->cfg = cfg;
    r->size = 1;
    int rc = train_recipe(r, &e);
    if (rc) {
        cmd_fail(&e);
        if (r->saved && r->saved != UINT64_MAX)
            fprintf(stderr,
                    "The checkpoint of step %" PRIu64 " is whole: the same command goes on from "
                    "there.\n",
                    r->saved);
    }
    mem_free(r);
    return rc ? 1 : 0;
}
