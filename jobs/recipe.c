/* recipe.c - see recipe.h.
 *
 * The base is read into lines of section, key and value. Three sections come out: [run], the stage
 * and the data. Keys that are said here are left out of what is copied.
 *
 * How long: steps that were asked for; else epochs times pictures by pictures of a step; else what
 * shows each picture EPOCHS times, but no more than the base says and no less than STEPS_LEAST.
 * The result is judged by its answers (`gate`), unless the base recipe says no.
 * Warm-up is shortened like the steps, and judgements and checkpoints come at least as often as
 * JUDGED and SAVED times a run.
 */
#include "jobs/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum {
    LINES_MAX = 512,
    BASE_MAX = 64 << 10,
    MADE_MAX = 128 << 10,
    EPOCHS = 8,
    STEPS_LEAST = 100,
    STEPS_MAX = 10000000,
    JUDGED = 5,
    SAVED = 10
};

enum section { IN_NONE, IN_RUN, IN_STAGE, IN_DATA, IN_OTHER_DATA };
struct line {
    enum section in;
    char *key, *value;
};
struct base {
    char *text;
    struct line lines[LINES_MAX];
    int n, n_stages, n_data;
    char stage[64];
};

/* ---- reading the base ---- */

static char *recipe_trim(char *s) {
    while (*s == ' ' || *s == '\t')
        s++;
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1]))
        s[--n] = '\0';
    return s;
}

static int base_bad(const char *why, struct err *e) {
    return err_set(e, E_FORMAT, "the recipe is not one for jobs: %s", why);
}

static int recipe_read_section(struct base *b, char *head, enum section *in, struct err *e) {
    size_t n = strlen(head);
    if (head[n - 1] != ']') return base_bad("a section that isn't closed", e);
    head[n - 1] = '\0';
    if (strcmp(head + 1, "run") == 0) {
        *in = IN_RUN;
    } else if (strncmp(head + 1, "stage ", 6) == 0) {
        *in = IN_STAGE;
        if (b->n_stages++) return base_bad("it has more than one stage", e);
        snprintf(b->stage, sizeof(b->stage), "%s", recipe_trim(head + 7));
    } else {
        *in = b->n_data++ ? IN_OTHER_DATA : IN_DATA;
    }
    return 0;
}

static int base_read(struct base *b, struct err *e) {
    enum section in = IN_NONE;
    char *next = b->text;
    while (next) {
        char *at = next, *end = strchr(at, '\n');
        next = end ? end + 1 : NULL;
        if (end) *end = '\0';
        at[strcspn(at, "#")] = '\0';
        at = recipe_trim(at);
        if (!*at) continue;
        if (*at == '[') {
            int rc = recipe_read_section(b, at, &in, e);
            if (rc) return rc;
            continue;
        }
        char *is = strchr(at, '=');
        if (!is || in == IN_NONE) return base_bad("a line that is no key", e);
        if (b->n == LINES_MAX) return base_bad("too many lines", e);
        *is = '\0';
        b->lines[b->n++] = (struct line){in, recipe_trim(at), recipe_trim(is + 1)};
    }
    return b->n_stages ? 0 : base_bad("it has no stage", e);
}

static const char *base_value(const struct base *b, enum section in, const char *key,
                              const char *otherwise) {
    for (int i = 0; i < b->n; i++)
        if (b->lines[i].in == in && strcmp(b->lines[i].key, key) == 0) return b->lines[i].value;
    return otherwise;
}

static double base_number(const struct base *b, enum section in, const char *key,
                          double otherwise) {
    const char *text = base_value(b, in, key, NULL);
    return text ? strtod(text, NULL) : otherwise;
}

/* ---- what is effective ---- */

static int set_bad(const char **param, const char *name, struct err *e, const char *why) {
    *param = name;
    return err_set(e, E_INVALID, "%s", why);
}

static int64_t whole(double v) { return (int64_t)(v + 0.5); }

static int set_length(const struct base *b, const struct recipe_ask *ask, struct jobs_how *how,
                      const char **param, struct err *e) {
    int64_t base_steps = whole(base_number(b, IN_STAGE, "steps", 0));
    double each = (double)ask->pictures / (double)how->batch; /* steps of an epoch */
    if (base_steps < 1) return base_bad("its stage has no steps", e);
    if (!how->steps && !ask->pictures) return 0; /* by and by */
    if (!how->steps && how->epochs > 0) {
        double steps = ceil(how->epochs * each);
        if (steps > STEPS_MAX) return set_bad(param, "n_epochs", e, "these are too many steps");
        how->steps = (int64_t)steps;
    } else if (!how->steps) {
        double steps = ceil(EPOCHS * each);
        how->steps = steps > (double)base_steps ? base_steps : (int64_t)steps;
        if (how->steps < STEPS_LEAST)
            how->steps = base_steps < STEPS_LEAST ? base_steps : STEPS_LEAST;
    }
    if (how->steps < 1) how->steps = 1;
    if (ask->pictures) how->epochs = (double)how->steps / each;
    return 0;
}

static void set_text(char *to, size_t size, const char *text) {
    if (!*to) snprintf(to, size, "%s", text);
}

static int recipe_set(const struct base *b, const struct recipe_ask *ask, struct jobs_how *how,
                      const char **param, struct err *e) {
    int has_lora = strcmp(base_value(b, IN_STAGE, "text", "lora"), "lora") == 0;
    *how = ask->how;
    if (!has_lora && (how->lora_r || how->lora_alpha > 0 || *how->lora_targets))
        return set_bad(param, "lammd.lora", e, "the recipe has no LoRA");
    if (strcmp(base_value(b, IN_STAGE, "text", "lora"), "full") == 0)
        return base_bad("it makes a whole model, and jobs make adapters", e);
    if (!how->batch) how->batch = whole(base_number(b, IN_STAGE, "samples", 4));
    if (how->multiplier <= 0) how->multiplier = 1;
    if (has_lora && !how->lora_r) how->lora_r = whole(base_number(b, IN_STAGE, "lora_r", 64));
    if (has_lora && how->lora_alpha <= 0)
        how->lora_alpha = base_number(b, IN_STAGE, "lora_alpha", 16);
    if (has_lora)
        set_text(how->lora_targets, sizeof(how->lora_targets),
                 base_value(b, IN_STAGE, "lora_targets", "q, v"));
    if (!how->vision)
        how->vision = strcmp(base_value(b, IN_STAGE, "tower", "no"), "yes") == 0 ? 1 : -1;
    if (!how->pack) how->pack = strcmp(base_value(b, IN_STAGE, "pack", "yes"), "yes") == 0 ? 1 : -1;
    set_text(how->tasks, sizeof(how->tasks), base_value(b, IN_DATA, "tasks", ""));
    return set_length(b, ask, how, param, e);
}

/* ---- writing ---- */

/* Is `word` one of a list with commas between? */
static int is_in(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; *at;) {
        at += strspn(at, " ,");
        size_t len = strcspn(at, " ,");
        if (len == n && memcmp(at, word, n) == 0) return 1;
        at += len;
    }
    return 0;
}

/* Copies the keys of a section that are not in the list. */
static void copy_keys(const struct base *b, enum section in, const char *but, const char *tasks,
                      struct buf *out) {
    for (int i = 0; i < b->n; i++) {
        const struct line *l = &b->lines[i];
        if (l->in != in || is_in(but, l->key)) continue;
        if (*tasks && strncmp(l->key, "ratio_", 6) == 0 && !is_in(tasks, l->key + 6)) continue;
        buf_printf(out, "%s = %s\n", l->key, l->value);
    }
}

static int64_t at_most_each(double every, int64_t steps, int64_t times) {
    int64_t n = whole(every), most = steps / times;
    if (most < 1) most = 1;
    return n < most ? n : most;
}

static void recipe_write_run(const struct base *b, const struct recipe_ask *ask,
                             const struct jobs_how *how, struct buf *out) {
    int64_t steps = how->steps ? how->steps : whole(base_number(b, IN_STAGE, "steps", 1));
    buf_str(out, "[run]\n");
    copy_keys(b, IN_RUN,
              ask->validation ? "seed model out device threads result checkpoint_every "
                                "judge_every validation"
                              : "seed model out device threads result checkpoint_every "
                                "judge_every",
              "", out);
    buf_printf(out, "model = %s\ndevice = %s\nthreads = %d\nresult = adapter\n", ask->model,
               ask->device, ask->threads);
    buf_printf(out, "seed = %" PRIu64 "\n", ask->seed);
    buf_printf(out, "checkpoint_every = %" PRId64 "\n",
               at_most_each(base_number(b, IN_RUN, "checkpoint_every", 200), steps, SAVED));
    buf_printf(out, "judge_every = %" PRId64 "\n",
               at_most_each(base_number(b, IN_RUN, "judge_every", 200), steps, JUDGED));
    if (ask->validation) buf_str(out, "validation = 0\n");
    if (!base_value(b, IN_RUN, "gate", NULL)) buf_str(out, "gate = yes\n");
}

static void write_stage(const struct base *b, const struct recipe_ask *ask,
                        const struct jobs_how *how, struct buf *out) {
    static const char *const rates[] = {"rate", "rate_start", "rate_end"};
    static const double usual[] = {1e-5, 1e-6, 1e-6};
    int64_t base_steps = whole(base_number(b, IN_STAGE, "steps", 1));
    int64_t steps = how->steps ? how->steps : base_steps;
    double warmup = base_number(b, IN_STAGE, "warmup", 0);
    if (steps < base_steps) warmup = floor(warmup * (double)steps / (double)base_steps);
    buf_printf(out, "\n[stage %s]\n", b->stage);
    copy_keys(b, IN_STAGE,
              "steps samples warmup rate rate_start rate_end tower pack lora_r lora_alpha "
              "lora_targets",
              ask->how.tasks, out);
    buf_printf(out, "steps = %" PRId64 "\nsamples = %" PRId64 "\nwarmup = %.0f\n", steps,
               how->batch, warmup);
    for (size_t i = 0; i < ARRAY_LEN(rates); i++)
        buf_printf(out, "%s = %.9g\n", rates[i],
                   how->multiplier * base_number(b, IN_STAGE, rates[i], usual[i]));
    buf_printf(out, "tower = %s\npack = %s\n", how->vision > 0 ? "yes" : "no",
               how->pack > 0 ? "yes" : "no");
    if (how->lora_r)
        buf_printf(out, "lora_r = %" PRId64 "\nlora_alpha = %.9g\nlora_targets = %s\n", how->lora_r,
                   how->lora_alpha, how->lora_targets);
}

static void write_data(const struct base *b, const char *name, const char *path, int is_judged,
                       const struct jobs_how *how, struct buf *out) {
    buf_printf(out, "\n[data %s]\npath = %s\n", name, path);
    copy_keys(b, IN_DATA, "path pictures split tasks weight stress validation", "", out);
    if (*how->tasks) buf_printf(out, "tasks = %s\n", how->tasks);
    if (is_judged) buf_str(out, "validation = yes\n");
}

static int base_open(const char *text, size_t len, struct base **out, struct err *e) {
    *out = NULL;
    if (len > BASE_MAX) return err_set(e, E_TOO_BIG, "the recipe has over %d bytes", BASE_MAX);
    struct base *b = *out = mem_must(sizeof(*b));
    b->text = mem_must(len + 1);
    memcpy(b->text, text, len);
    return base_read(b, e);
}

static void base_close(struct base *b) {
    if (b) mem_free(b->text);
    mem_free(b);
}

int recipe_make(const char *text, size_t len, const struct recipe_ask *ask,
                struct jobs_how *effective, const char **param, struct buf *out, struct err *e) {
    struct base *b;
    struct jobs_how how;
    int rc = base_open(text, len, &b, e);
    if (rc == 0) rc = recipe_set(b, ask, &how, param, e);
    if (rc == 0) {
        buf_printf(out, "# Made of %s.ini for one job.\n\n", how.recipe);
        recipe_write_run(b, ask, &how, out);
        write_stage(b, ask, &how, out);
        write_data(b, "train", ask->training, 0, &how, out);
        if (ask->validation) write_data(b, "check", ask->validation, 1, &how, out);
        rc = out->bad ? err_set(e, out->bad, "no memory for a recipe") : 0;
    }
    if (rc == 0) *effective = how;
    base_close(b);
    return rc;
}

/* ---- files ---- */

/* "NAME.ini" of the folder, given to the caller (mem_free). */
static int recipe_load(const char *folder, const char *name, char **text, size_t *len,
                       struct err *e) {
    char path[JOBS_PATH_MAX];
    if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(name))
        return err_set(e, E_INVALID, "a recipe's name has small letters, digits, - and _");
    snprintf(path, sizeof(path), "%s/%s.ini", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? err_set(e, E_NOT_FOUND, "there is no recipe %s", name)
                               : err_set(e, E_IO, "%s: %s", path, strerror(errno));
    *text = mem_must(BASE_MAX + 1);
    ssize_t n = pread(fd, *text, BASE_MAX + 1, 0);
    int rc = n < 0 ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
    close(fd);
    if (rc) mem_free(*text);
    *len = rc ? 0 : (size_t)n;
    return rc;
}

int recipe_make_from(const char *folder, const struct recipe_ask *ask, struct jobs_how *effective,
                     const char **param, struct buf *out, struct err *e) {
    char *text;
    size_t len;
    *param = "lammd.recipe";
    int rc = recipe_load(folder, ask->how.recipe, &text, &len, e);
    if (rc) return rc;
    rc = recipe_make(text, len, ask, effective, param, out, e);
    mem_free(text);
    if (rc == 0) *param = NULL;
    return rc;
}

/* The first sentence of the comment at its beginning, without "NAME.ini - ". */
static void recipe_say(const char *text, size_t len, char *to, size_t size) {
    const char *end = text + len, *dash;
    struct buf all;
    buf_init(&all, BASE_MAX);
    while (text < end && *text == '#') {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        text += 1 + (text + 1 < stop && text[1] == ' ');
        if (text >= stop) break; /* an empty line ends the paragraph */
        buf_printf(&all, "%s%.*s", all.len ? " " : "", (int)(stop - text), text);
        text = stop + (stop < end);
    }
    const char *said = all.len ? (const char *)all.p : "";
    if ((dash = strstr(said, " - ")) != NULL) said = dash + 3;
    const char *dot = strstr(said, ". ");
    size_t n = dot ? (size_t)(dot + 1 - said) : strlen(said);
    /* Plain characters alone: whoever shows it needs no more. */
    size_t at = 0;
    for (size_t i = 0; i < n && at + 1 < size; i++)
        if (said[i] >= ' ' && said[i] <= '~') to[at++] = said[i];
    to[at] = '\0';
    buf_clear(&all);
}

int recipe_look(const char *folder, const char *name, struct jobs_recipe *out, struct err *e) {
    struct recipe_ask ask = {.seed = 0};
    struct base *b;
    const char *param;
    char *text;
    size_t len;
    *out = (struct jobs_recipe){.about = ""};
    int rc = recipe_load(folder, name, &text, &len, e);
    if (rc) return rc;
    snprintf(ask.how.recipe, sizeof(ask.how.recipe), "%s", name);
    rc = base_open(text, len, &b, e);
    if (rc == 0) rc = recipe_set(b, &ask, &out->how, &param, e);
    if (rc == 0) {
        out->how.steps = whole(base_number(b, IN_STAGE, "steps", 0));
        out->aside = base_number(b, IN_RUN, "validation", 0.1);
        recipe_say(text, len, out->about, sizeof(out->about));
    }
    base_close(b);
    mem_free(text);
    return rc;
}
