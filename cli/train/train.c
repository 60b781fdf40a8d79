/* train.c - `lammd train RECIPE.ini`: options and recipe become a run, or a plan, or a file of
 * samples. See run.h.
 *
 * SIGTERM and SIGINT are blocked before any thread begins, and looked for between steps. So they
 * end a run where it can be gone on with. After the first one a second one kills.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/idle.h"
#include "cli/train/check.h"
#include "cli/train/keys.h"
#include "cli/train/run.h"
#include "cli/train/take.h"
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
    if (r->cfg->take && !r->rank && take_is_stopped(&r->folder)) r->is_stopped = 1;
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

static int train_open_folder(struct run *r, struct err *e) {
    char out[4096];
    if (r->cfg->samples || r->cfg->take) return 0; /* none, or it was claimed */
    return r->rank ? folder_name(out_folder(r, out), &r->folder, e)
                   : folder_open(out_folder(r, out), &r->folder, e);
}

static int train(struct run *r, struct err *e) {
    r->saved = UINT64_MAX;
    r->journal.csv = r->journal.events = -1;
    int rc = train_open_folder(r, e);
    int has_folder = rc == 0;
    if (rc == 0) rc = mix_open(&r->recipe, r->rank != 0, on_reading, r, &r->mix, e);
    if (rc && has_folder) run_note_failure(r, rc, e);
    if (rc == 0) rc = r->cfg->samples ? dump_samples(r, r->cfg->samples, e) : run_all(r, e);
    mix_close(&r->mix);
    if (rc == E_CANCELLED && r->is_stopped) {
        *e = (struct err){0};
        rc = 0;
    }
    return rc;
}

static int train_recipe(struct run *r, const char *file, struct err *e) {
    char path[4096], here[4096];
    const struct recipe_sets sets = {r->cfg->sets.at, r->cfg->sets.n, getcwd(here, sizeof(here))};
    int rc = recipe_open(file, &sets, &r->recipe, e);
    if (rc) return rc;
    take_options(r, path);
    rc = r->cfg->is_plan ? plan_print(r, stdout, e) : train(r, e);
    recipe_close(&r->recipe);
    return rc;
}

/* The recipe of the command line, or one that waits. */
static int train_what(struct run *r, struct err *e) {
    char file[FOLDER_PATH_MAX];
    if (!r->cfg->take) return train_recipe(r, r->cfg->rest.at[0], e);
    int rc = take_claim(r->cfg->take, r->comm, &r->folder, e);
    if (rc == E_NOT_FOUND) {
        if (!r->rank) fprintf(stderr, "Nothing waits in %s.\n", r->cfg->take);
        return 0;
    }
    if (rc) return rc;
    folder_file(&r->folder, "job.ini", file);
    return train_recipe(r, file, e);
}

/* With other ranks, where there are some. After an error nobody waits for them: the process ends,
 * and its launcher ends them. */
static int train_ranks(struct run *r, struct err *e) {
    struct train_comm comm = {0};
    if (r->cfg->comm == CONFIG_ONE || r->cfg->samples || r->cfg->is_plan) return train_what(r, e);
    int rc = train_comm_open("mpi", getenv("LAMMD_COMM"), &comm, e);
    if (rc) return rc;
    r->comm = &comm;
    r->rank = comm.rank;
    r->size = comm.size;
    rc = train_what(r, e);
    if (rc == 0) train_comm_close(&comm);
    return rc;
}

int cmd_train(const struct config *cfg) {
    if (cfg->is_keys) {
        keys_print(stdout);
        return 0;
    }
    if (cfg->rest.n != (cfg->take ? 0 : 1)) return cmd_misused(CMD_TRAIN);
    if (cfg->is_idle) idle_be();
    if (cfg->is_check) return check_data(cfg);
    sigset_t set;
    stop_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct err e = {0};
    struct run *r = mem_must(sizeof(*r));
    r->cfg = cfg;
    r->size = 1;
    r->folder.lock = -1;
    int rc = train_ranks(r, &e);
    folder_close(&r->folder);
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
