/* command.c - `lammd batch IN.jsonl OUT.jsonl`: the options, the files and the engine of a batch.
 * See work.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch/idset.h"
#include "batch/work.h"
#include "cli/batch/progress.h"
#include "cli/cmd.h"
#include "cli/idle.h"
#include "kernels/base/clock.h"

enum { PARTS_MAX = 1000000, BATCH_PICTURE_MAX = 64 << 20, COMMAND_HELD_MAX = 256 << 20 };

/* "3/8" */
static int command_read_part(const char *text, struct work_options *o, struct err *e) {
    unsigned long long i, n;
    int end = 0;
    o->parts = 1;
    if (!text) return 0;
    if (sscanf(text, "%7llu/%7llu%n", &i, &n, &end) != 2 || text[end] || n == 0 || n > PARTS_MAX ||
        i >= n)
        return err_set(e, E_INVALID, "--part takes I/N, from 0/N to N-1/N, not \"%s\"", text);
    o->part = i;
    o->parts = n;
    return 0;
}

static int open_questions(const char *path, struct work_options *o, struct err *e) {
    struct stat s;
    o->path = path;
    o->questions = open(path, O_RDONLY | O_CLOEXEC);
    if (o->questions < 0 || fstat(o->questions, &s))
        return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return err_set(e, E_INVALID, "%s: the questions come from a file, which is read twice",
                       path);
    o->batch.created = (int64_t)s.st_mtim.tv_sec;
    return 0;
}

/* Where "file:" pictures lie. */
static void command_folder_of(const char *path, char *to, size_t size) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(to, size, ".");
    else
        snprintf(to, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* Nanoseconds that all devices together were at work. */
static uint64_t busy_ns(struct eng *eng) {
    struct eng_stats s;
    eng_stats(eng, &s);
    return s.pass_ns + s.vision_ns;
}

/* `busy`: the part of the time in which a device was at work. */
static void sum_up(const struct progress *p, const struct record *j, double busy) {
    fprintf(stderr,
            "%s: %llu lines, %llu of them new (%.2f a second, the device busy %.0f %% of the time)",
            j->path, (unsigned long long)j->lines, (unsigned long long)p->done, progress_pace(p),
            100 * busy);
    if (p->failed + j->failed)
        fprintf(stderr, "; %llu lines failed", (unsigned long long)(p->failed + j->failed));
    fputs("\n", stderr);
}

static void command_on_failed(void *ud, uint64_t line, const char *why) {
    progress_say(ud, line, why);
}

static void command_on_done(void *ud, enum work_end end) {
    struct progress *p = ud;
    p->done++;
    p->failed += end != WORK_ANSWERED;
}

static enum work_wish command_on_tick(void *ud) {
    progress_tick(ud);
    return WORK_GO_ON;
}

/* 1: lines failed. */
static int batch_ask(struct work_options *o, const char *out, struct api *api, struct eng *eng,
                     struct err *e) {
    struct idset *ids = idset_new();
    struct record j = {.fd = -1};
    struct progress p = {0};
    uint64_t total = 0;
    int is_all;
    char print[RECORD_PRINT_BYTES];
    snprintf(print, sizeof(print), "fp_%.12s", eng_info(eng)->digest);
    o->eng = eng;
    o->places = WORK_PLACES_OF_A_DEVICE * eng_devices(eng);
    o->answers = o->errors = &j;
    o->hooks = (struct work_hooks){&p, command_on_failed, command_on_done, command_on_tick};
    int rc = record_open(out, o->questions, &(struct record_how){.print = print}, ids, &j, e);
    if (rc == 0) rc = work_count(o, &total, e);
    if (rc == 0) {
        progress_begin(&p, total, j.lines);
        uint64_t before = busy_ns(eng), start = clock_ns();
        rc = work_run(o, api, ids, &is_all, e);
        double busy = (double)(busy_ns(eng) - before) / (double)(clock_ns() - start + 1);
        if (rc == 0) rc = record_sync(&j, e);
        progress_end(&p);
        sum_up(&p, &j, busy / eng_devices(eng));
        if (rc)
            fprintf(stderr,
                    "lammd: the batch isn't done. What %s has stays: mend what is said "
                    "below, and give the same command again.\n",
                    out);
    }
    record_close(&j);
    idset_free(ids);
    return rc ? rc : p.failed + j.failed > 0;
}

static int batch_with_engine(const struct config *cfg, struct work_options *o, struct err *e) {
    char model[4096], folder[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, model));
    command_folder_of(o->path, folder, sizeof(folder));
    opt.queue_tokens = UINT64_C(1) << 50; /* what is on its way has a bound of its own */
    struct api_options api_opt = {.picture_max = BATCH_PICTURE_MAX,
                                  .pixels_max = ENG_PICTURE_PIXELS_MAX,
                                  .costly_max = ENG_PICTURE_PIXELS_MAX,
                                  .picture_folder = folder};
    struct eng *eng = NULL;
    struct api *api = NULL;
    int rc = eng_open(&opt, &eng, e);
    if (rc == 0) rc = api_new(&api_opt, eng, &api, e);
    if (rc == 0) rc = batch_ask(o, cfg->rest.at[1], api, eng, e);
    api_free(api);
    eng_close(eng);
    return rc;
}

int cmd_batch(const struct config *cfg) {
    if (cfg->rest.n != 2) return cmd_misused(CMD_BATCH);
    struct err e = {0};
    struct work_options o = {.questions = -1,
                             .name = "line",
                             .is_ordered = !cfg->is_unordered,
                             .threads = (int)cfg->steppers,
                             .held_max = COMMAND_HELD_MAX,
                             .sent_max = UINT64_MAX};
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGXFSZ, &ignored, NULL); /* a file past its limit is an error like others */
    int rc = command_read_part(cfg->part, &o, &e);
    if (rc == 0) rc = open_questions(cfg->rest.at[0], &o, &e);
    if (rc == 0 && !cfg->is_eager) idle_be();
    if (rc == 0) rc = batch_with_engine(cfg, &o, &e);
    if (o.questions >= 0) close(o.questions);
    return rc < 0 ? cmd_fail(&e) : rc;
}
