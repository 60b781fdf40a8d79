/* probe.c - see probe.h.
 *
 * One attribute is changed at a time, while the others are the best so far; and all of them again
 * while that brings something, since with a wrong one the next can hardly be told. Each choice is a
 * config.json of its own beside links to the other files, in a folder that is taken away at the
 * end. A choice has to be better by MARGIN to be taken, so that noise never moves a default.
 *
 * The points lie on a grid of their own whose columns and rows are the same, so that a transposed
 * answer is asked for as many places.
 */
#include "cli/import/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files.h"
#include "engine/files/newfile.h"
#include "engine/files/sums.h"
#include "kernels/base/mem.h"

enum { SIDE = 16, ROUNDS = 3, CONFIG_MAX = 1 << 20, PATH_ROOM = 4096 };

#define MARGIN 0.99

/* What else a model's folder has. */
static const char *const others[] = {"tokenizer.model", "model.safetensors", "weights.json",
                                     "changed.safetensors"};

struct probe {
    const struct config *cfg;
    char folder[PATH_ROOM], scratch[PATH_ROOM + 16];
    json_t *config; /* the best so far */
    uint8_t *rgb;   /* (h, w, 3) the photo */
    int w, h;
    double best; /* its error, in levels */
};

/* An attribute: where it stands, and the choices. */
struct attribute {
    const char *section, *key;
    const char *choices[2]; /* as JSON */
};
static const struct attribute attributes[] = {
    {NULL, "coord_order", {"\"yx\"", "\"xy\""}},
    {NULL, "inst_spaces", {"1", "2"}},
    {NULL, "bos_count", {"1", "2"}},
    {"text_config", "rms_norm_eps", {"1e-05", "1e-06"}},
};

static int probe_write_config(const char *folder, const json_t *config, struct err *e) {
    char path[PATH_ROOM + 64];
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9), n = json_dumpb(config, NULL, 0, flags);
    char *text = mem_must(n + 1);
    (void)json_dumpb(config, text, n, flags);
    text[n] = '\n';
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    int rc = newfile_write(path, text, n + 1, e);
    mem_free(text);
    return rc;
}

static int probe_read_config(struct probe *p, struct err *e) {
    char path[PATH_ROOM + 64];
    struct buf text;
    json_error_t why;
    buf_init(&text, CONFIG_MAX);
    (void)snprintf(path, sizeof path, "%s/config.json", p->folder);
    int rc = file_read(path, &text, e);
    if (!rc && !(p->config = json_loadb((const char *)text.p, text.len, 0, &why)))
        rc = err_set(e, E_FORMAT, "%s: not JSON", path);
    buf_clear(&text);
    return rc;
}

/* ---- the folder with a changed config ---- */

static void probe_drop_scratch(const struct probe *p) {
    char path[PATH_ROOM + 64];
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", p->scratch, others[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/config.json", p->scratch);
    (void)unlink(path);
    (void)rmdir(p->scratch);
}

static int probe_make_scratch(struct probe *p, struct err *e) {
    char real[PATH_ROOM], to[PATH_ROOM + 64], at[PATH_ROOM + 64];
    if (!realpath(p->folder, real)) return err_set(e, E_IO, "%s: %s", p->folder, strerror(errno));
    (void)snprintf(p->scratch, sizeof p->scratch, "%s.probe-XXXXXX", real);
    if (!mkdtemp(p->scratch)) return err_set(e, E_IO, "%s: %s", p->scratch, strerror(errno));
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        (void)snprintf(to, sizeof to, "%s/%s", real, others[i]);
        (void)snprintf(at, sizeof at, "%s/%s", p->scratch, others[i]);
        if (!access(to, F_OK) && symlink(to, at))
            return err_set(e, E_IO, "%s: %s", at, strerror(errno));
    }
    return 0;
}

/* ---- asking ---- */

static double error_of(const struct eng_job *job, const struct eng_picture *picture,
                       const struct eng_point *points, int grid) {
    uint32_t n;
    uint64_t sum = 0;
    const struct eng_answer *a = eng_job_answers(job, &n);
    const uint8_t *truth = eng_picture_truth(picture);
    for (uint32_t i = 0; i < n; i++) {
        const struct eng_point *at = &points[a[i].point];
        const uint8_t *right = truth + 3 * ((size_t)at->y * (size_t)grid + at->x);
        for (int c = 0; c < 3; c++)
            sum += (uint64_t)abs(a[i].rgb[c] - right[c]);
    }
    return n ? (double)sum / (3.0 * n) : 1e9;
}

static int ask_points(struct eng *eng, struct eng_picture *picture, double *error, struct err *e) {
    struct eng_point points[SIDE * SIDE];
    int grid = eng_info(eng)->grid, side = grid < SIDE ? grid : SIDE;
    for (int i = 0; i < side * side; i++)
        points[i] = (struct eng_point){.x = (uint16_t)(i % side * grid / side),
                                       .y = (uint16_t)(i / side * grid / side)};
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = points,
                          .n_points = (uint32_t)(side * side),
                          .estimate = ENG_MEDIAN,
                          .urgency = ENG_PICTURE};
    struct eng_job *job = NULL;
    int rc = eng_submit(eng, &ask, &job, e);
    if (rc) return rc;
    (void)eng_job_wait(job, ask.n_points, UINT64_MAX);
    const struct err *why = eng_job_error(job);
    if (eng_job_state(job) != ENG_DONE)
        rc = err_set(e, why->code ? why->code : E_INTERNAL, "%s", why->text);
    else
        *error = error_of(job, picture, points, grid);
    eng_job_put(job);
    return rc;
}

/* The mean error of the answers with that config. */
static int probe_try(struct probe *p, const json_t *config, double *error, struct err *e) {
    struct eng *eng = NULL;
    struct eng_picture *picture = NULL;
    int rc = probe_write_config(p->scratch, config, e);
    struct eng_options opt = config_engine(p->cfg, p->scratch);
    if (!rc) rc = eng_open(&opt, &eng, e);
    if (!rc) rc = eng_picture_new(eng, p->rgb, p->w, p->h, &picture, e);
    if (!rc) rc = ask_points(eng, picture, error, e);
    eng_picture_put(picture);
    eng_close(eng);
    return rc;
}

/* ---- choosing ---- */

static json_t *with_choice(const json_t *config, const struct attribute *a, json_t *value) {
    json_t *copy = json_deep_copy(config);
    json_object_set(a->section ? json_object_get(copy, a->section) : copy, a->key, value);
    return copy;
}

static int probe_is_same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return x - y < 1e-9 && y - x < 1e-9;
    }
    return json_equal(a, b);
}

static int probe_attribute(struct probe *p, const struct attribute *a, struct err *e) {
    const json_t *in = a->section ? json_object_get(p->config, a->section) : p->config;
    const json_t *now = json_object_get(in, a->key);
    double error[2] = {p->best, p->best};
    int rc = 0, taken = -1;
    for (int i = 0; i < 2 && !rc; i++) {
        json_t *value = json_loads(a->choices[i], JSON_DECODE_ANY, NULL);
        if (!probe_is_same(now, value)) {
            json_t *other = with_choice(p->config, a, value);
            rc = probe_try(p, other, &error[i], e);
            if (!rc && error[i] < MARGIN * p->best) {
                json_decref(p->config);
                p->config = other;
                p->best = error[i];
                taken = i;
                now = value;
            } else {
                json_decref(other);
            }
        }
        json_decref(value);
        if (taken >= 0) break;
    }
    if (!rc)
        fprintf(stderr, "%s: %s %.2f levels, %s %.2f%s\n", a->key, a->choices[0], error[0],
                a->choices[1], error[1], taken >= 0 ? ": changed" : "");
    return rc;
}

/* The sums are taken away first, so that a folder that is seen in between is not one that lies. */
static int probe_keep(struct probe *p, struct err *e) {
    char path[PATH_ROOM + 64], text[SUMS_TEXT];
    struct sums s;
    int rc = sums_read(p->folder, &s, e);
    (void)snprintf(path, sizeof path, "%s/" SUMS_FILE, p->folder);
    if (!rc && s.is_there && unlink(path)) rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    if (!rc) rc = probe_write_config(p->folder, p->config, e);
    if (rc || !s.is_there) return rc;
    int n = 0;
    for (int i = 0; i < s.n; i++)
        if (strcmp(s.at[i].name, "config.json")) s.at[n++] = s.at[i];
    s.n = n;
    (void)snprintf(path, sizeof path, "%s/config.json", p->folder);
    rc = sums_add(&s, path, "config.json", e);
    (void)snprintf(path, sizeof path, "%s/" SUMS_FILE, p->folder);
    size_t len = sums_write(&s, text);
    return rc ? rc : newfile_write(path, text, len, e);
}

static int probe_all(struct probe *p, struct err *e) {
    int rc = probe_try(p, p->config, &p->best, e);
    if (rc) return rc;
    double first = p->best, before = first + 1;
    for (int round = 0; round < ROUNDS && p->best < before && !rc; round++) {
        before = round ? p->best : before;
        for (size_t i = 0; i < ARRAY_LEN(attributes) && !rc; i++)
            rc = probe_attribute(p, &attributes[i], e);
    }
    return rc || p->best >= first ? rc : probe_keep(p, e);
}

int probe_run(const struct config *cfg, const char *folder, struct err *e) {
    struct probe p = {.cfg = cfg};
    if (snprintf(p.folder, sizeof p.folder, "%s", folder) >= PATH_ROOM)
        return err_set(e, E_INVALID, "the folder's name is too long");
    int rc = file_picture(cfg->probe, &p.rgb, &p.w, &p.h, e);
    if (!rc) rc = probe_read_config(&p, e);
    if (!rc) rc = probe_make_scratch(&p, e);
    if (!rc) rc = probe_all(&p, e);
    if (p.scratch[0]) probe_drop_scratch(&p);
    json_decref(p.config);
    mem_free(p.rgb);
    return rc;
}
