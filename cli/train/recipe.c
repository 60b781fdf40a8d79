/* recipe.c - a recipe's text becomes a checked struct recipe, and is written again. See recipe.h.
 *
 * Every value goes through the table of keys.c; what stands here is what a table can't say: which
 * sections there are, what must fit together, and what paths mean.
 */
#include "cli/train/recipe.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "cli/train/keys.h"
#include "data/files.h"
#include "data/ini.h"
#include "kernels/base/hex.h"

enum { TEXTS_MAX = 4 << 20, SAMPLES_MAX = 1 << 14 /* of a step: train.h */ };

struct reading {
    struct recipe *recipe;
    const struct ini *ini;
    const struct recipe_sets *sets;
    const char *dir;
    uint64_t used; /* a bit for each of `sets` that named a section's key */
    struct err *e;
};

/* ---- texts and paths ---- */

/* What ${NAME} stands for; NULL: nobody set it. */
static const char *recipe_set_of(const struct recipe_sets *sets, const char *name, size_t len) {
    for (int i = 0; sets && i < sets->n; i++)
        if (strncmp(sets->at[i], name, len) == 0 && sets->at[i][len] == '=')
            return sets->at[i] + len + 1;
    return NULL;
}

/* What the person at the terminal says is meant from where they stand, not from the recipe. */
static void add_value(const struct recipe_sets *sets, const char *value, struct buf *out) {
    if (!out->len && *value && *value != '/' && sets->dir) (void)buf_printf(out, "%s/", sets->dir);
    (void)buf_str(out, value);
}

/* `value` with every ${NAME} replaced. */
static int replace(struct reading *r, const struct ini_entry *at, struct buf *out) {
    const char *s = at->value;
    for (const char *dollar; (dollar = strstr(s, "${"));) {
        const char *name = dollar + 2, *end = strchr(name, '}');
        if (!end) return ini_bad(r->ini, at->line, r->e, "\"%s\": ${ without }", at->key);
        const char *value = recipe_set_of(r->sets, name, (size_t)(end - name));
        if (!value)
            return ini_bad(r->ini, at->line, r->e,
                           "\"%s\": nothing is known of ${%.*s}: add --set %.*s=VALUE", at->key,
                           (int)(end - name), name, (int)(end - name), name);
        (void)buf_add(out, s, (size_t)(dollar - s));
        add_value(r->sets, value, out);
        s = end + 1;
    }
    (void)buf_str(out, s);
    return out->bad ? ini_bad(r->ini, at->line, r->e, "\"%s\": the path is too long", at->key) : 0;
}

static int read_path(struct reading *r, const struct ini_entry *at, const char **out) {
    struct buf path;
    buf_init(&path, RECIPE_PATH_MAX);
    struct buf text;
    buf_init(&text, RECIPE_PATH_MAX);
    int rc = replace(r, at, &text);
    if (rc == 0 && !text.len)
        rc = ini_bad(r->ini, at->line, r->e, "\"%s\": a path is wanted", at->key);
    if (rc == 0) {
        if (text.p[0] != '/' && *r->dir) (void)buf_printf(&path, "%s/", r->dir);
        (void)buf_add(&path, text.p, text.len);
        *out = path.bad ? NULL : arena_strdup(r->recipe->mem, (const char *)path.p, path.len);
        if (!*out) rc = ini_bad(r->ini, at->line, r->e, "\"%s\": the path is too long", at->key);
    }
    buf_clear(&text);
    buf_clear(&path);
    return rc;
}

static int read_text(struct reading *r, const struct ini_entry *at, const char **out) {
    if (!*at->value) return ini_bad(r->ini, at->line, r->e, "\"%s\": a text is wanted", at->key);
    *out = arena_strdup(r->recipe->mem, at->value, strlen(at->value));
    return *out ? 0 : err_set(r->e, E_NOMEM, "%s: no memory to read it", r->ini->file);
}

/* ---- sections ---- */

static int unknown_key(struct reading *r, const struct ini_section *s, enum recipe_section in,
                       const struct ini_entry *at) {
    char near[64];
    if (keys_near(in, at->key, near))
        return ini_bad(r->ini, at->line, r->e, "[%s] knows no \"%s\"; did you mean \"%s\"?",
                       s->kind, at->key, near);
    return ini_bad(r->ini, at->line, r->e,
                   "[%s] knows no \"%s\"; lammd train --keys lists all keys", s->kind, at->key);
}

static int read_entry(struct reading *r, const struct ini_section *s, enum recipe_section in,
                      const struct ini_entry *at, void *fields) {
    int task;
    const struct key *k = keys_find(in, at->key, &task);
    if (!k) return unknown_key(r, s, in, at);
    const char **text = (const char **)(void *)((char *)fields + k->at);
    if (k->kind == KEY_PATH) return read_path(r, at, text);
    if (k->kind == KEY_TEXT) return read_text(r, at, text);
    struct err why = {0};
    int rc = keys_read(k, task, at->value, fields, &why);
    return rc ? ini_bad(r->ini, at->line, r->e, "\"%s\": %s", at->key, why.text) : 0;
}

/* "SECTION.KEY=VALUE" of the command line -> KEY and VALUE, where the section has that name. 0: it
 * is none of this section's. `key` has INI_NAME_MAX + 1 bytes; a longer key is cut, and so unknown.
 */
static int set_of_section(const char *set, const char *section, char *key, struct ini_entry *out) {
    size_t n = strlen(section);
    if (strncmp(set, section, n) != 0 || set[n] != '.') return 0;
    const char *name = set + n + 1, *value = strchr(name, '=');
    if (!value) return 0;
    snprintf(key, INI_NAME_MAX + 1, "%.*s", (int)(value - name), name);
    out->key = key;
    out->value = value + 1;
    return 1;
}

/* Keys of this section that the command line says: they count. */
static int read_sets(struct reading *r, const struct ini_section *s, enum recipe_section in,
                     void *fields) {
    char key[INI_NAME_MAX + 1];
    struct ini_entry at = {.line = s->line};
    struct reading here = *r;
    if (r->sets && r->sets->dir) here.dir = r->sets->dir;
    for (int i = 0; r->sets && i < r->sets->n; i++) {
        if (!set_of_section(r->sets->at[i], *s->name ? s->name : s->kind, key, &at)) continue;
        r->used |= UINT64_C(1) << i;
        int rc = read_entry(&here, s, in, &at, fields);
        if (rc) return err_in(r->e, "--set %s", r->sets->at[i]), rc;
    }
    return 0;
}

/* A key that is said to no section would be passed over in silence. */
static int check_sets(const struct reading *r) {
    for (int i = 0; r->sets && i < r->sets->n; i++) {
        const char *set = r->sets->at[i];
        size_t name = strcspn(set, ".="), end = strcspn(set, "=");
        if (set[name] != '.' || name > end || r->used >> i & 1) continue;
        return err_set(r->e, E_INVALID, "--set %s: %s has no section \"%.*s\"", set, r->ini->file,
                       (int)name, set);
    }
    return 0;
}

static int has_key(const struct ini_section *s, const char *key) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->at[i].key, key) == 0) return 1;
    return 0;
}

/* An earlier stage by name; -1: there is none. */
static int stage_named(const struct recipe *r, int end, const char *name) {
    for (int i = 0; i < end; i++)
        if (strcmp(r->stages[i].name, name) == 0) return i;
    return -1;
}

/* `like = OTHER` of a stage: its fields begin as the other's. */
static int take_like(struct reading *r, const struct ini_section *s, struct recipe_stage *to) {
    for (int i = 0; i < s->n; i++) {
        if (strcmp(s->at[i].key, "like") != 0) continue;
        int other = stage_named(r->recipe, r->recipe->n_stages - 1, s->at[i].value);
        if (other < 0)
            return ini_bad(r->ini, s->at[i].line, r->e, "\"like\": no stage before is \"%s\"",
                           s->at[i].value);
        *to = r->recipe->stages[other];
        to->from = NULL;
    }
    return 0;
}

static int read_section(struct reading *r, const struct ini_section *s, enum recipe_section in,
                        void *fields) {
    size_t n;
    const struct key *all = keys_all(&n);
    keys_start(in, fields);
    int rc = in == RECIPE_STAGE ? take_like(r, s, fields) : 0;
    if (rc) return rc;
    int is_like = in == RECIPE_STAGE && has_key(s, "like");
    for (int i = 0; i < s->n; i++) {
        rc = read_entry(r, s, in, &s->at[i], fields);
        if (rc) return rc;
    }
    for (size_t i = 0; i < n && !is_like; i++)
        if (all[i].in == in && all[i].start != all[i].start && !has_key(s, all[i].name))
            return ini_bad(r->ini, s->line, r->e, "[%s%s%s] needs a \"%s\"", s->kind,
                           *s->name ? " " : "", s->name, all[i].name);
    return read_sets(r, s, in, fields);
}

/* Where the fields of a section go; NULL: there are too many of its kind. */
static void *new_fields(struct recipe *r, enum recipe_section in, const char *name) {
    switch (in) {
    case RECIPE_RUN: return &r->run;
    case RECIPE_STAGE:
        if (r->n_stages == RECIPE_STAGES_MAX) return NULL;
        r->stages[r->n_stages].name = name;
        return &r->stages[r->n_stages++];
    case RECIPE_DATA:
        if (r->n_data == RECIPE_DATA_MAX) return NULL;
        r->data[r->n_data].name = name;
        return &r->data[r->n_data++];
    case RECIPE_SECTIONS: break;
    }
    return NULL;
}

static int take_section(struct reading *r, const struct ini_section *s) {
    int in = 0;
    while (in < RECIPE_SECTIONS && strcmp(recipe_sections[in], s->kind) != 0)
        in++;
    if (in == RECIPE_SECTIONS)
        return ini_bad(r->ini, s->line, r->e,
                       "there is no section [%s]; there are [run], [stage NAME] and [data NAME]",
                       s->kind);
    int wants_name = in != RECIPE_RUN;
    if (wants_name != (*s->name != '\0'))
        return ini_bad(r->ini, s->line, r->e,
                       wants_name ? "[%s] needs a name: [%s NAME]" : "[%s] takes no name", s->kind,
                       s->kind);
    const char *name = arena_strdup(r->recipe->mem, s->name, strlen(s->name));
    if (!name) return err_set(r->e, E_NOMEM, "%s: no memory to read it", r->ini->file);
    void *fields = new_fields(r->recipe, (enum recipe_section)in, name);
    if (!fields)
        return ini_bad(r->ini, s->line, r->e, "more [%s] than %d", s->kind,
                       in == RECIPE_STAGE ? RECIPE_STAGES_MAX : RECIPE_DATA_MAX);
    int rc = read_section(r, s, (enum recipe_section)in, fields);
    if (in == RECIPE_STAGE) r->recipe->stages[r->recipe->n_stages - 1].name = name;
    if (in == RECIPE_DATA) r->recipe->data[r->recipe->n_data - 1].name = name;
    return rc;
}

/* ---- what must fit together ---- */

static int bad_stage(const struct recipe *r, const struct recipe_stage *s, struct err *e,
                     const char *text) {
    return err_set(e, E_FORMAT, "%s: [stage %s]: %s", r->file, s->name, text);
}

static int check_ratios(const struct recipe *r, const struct recipe_stage *s, struct err *e) {
    int given = 0;
    double sum = 0;
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        given += s->ratio[t] >= 0;
        sum += s->ratio[t] > 0 ? s->ratio[t] : 0;
    }
    return given && sum <= 0 ? bad_stage(r, s, e, "every ratio is 0, so there is nothing to learn")
                             : 0;
}

static int check_stage(const struct recipe *r, const struct recipe_stage *s, struct err *e) {
    if (s->warmup >= s->steps) return bad_stage(r, s, e, "\"warmup\" must be below \"steps\"");
    if (!s->tower && !s->connector && s->text == TRAIN_TEXT_FROZEN)
        return bad_stage(r, s, e, "tower, connector and text are all frozen: nothing can learn");
    if (s->samples * (s->pack ? 1 : s->questions) > SAMPLES_MAX)
        return bad_stage(r, s, e, "samples * questions is over 16384");
    if (s->dense[TRAIN_DENSE_FEATURE] > 0 && !r->run.features)
        return bad_stage(r, s, e, "\"dense_feature\" needs \"features\" in [run]");
    if (s->text == TRAIN_TEXT_LORA && !s->lora_targets)
        return bad_stage(r, s, e, "\"lora_targets\" names none");
    return check_ratios(r, s, e);
}

/* Finds the stage that each begins with. */
static int find_parents(struct recipe *r, struct err *e) {
    for (int i = 0; i < r->n_stages; i++) {
        struct recipe_stage *s = &r->stages[i];
        s->parent = s->from ? stage_named(r, i, s->from) : i - 1;
        if (s->from && s->parent < 0)
            return bad_stage(r, s, e, "\"from\" doesn't name a stage before it");
    }
    return 0;
}

/* A stage hands its result on: an adapter cannot begin where whole weights learn. */
static int check_order(const struct recipe *r, struct err *e) {
    for (int i = 1; i < r->n_stages; i++) {
        const struct recipe_stage *b = &r->stages[i], *a = &r->stages[b->parent];
        int is_lora = a->text == TRAIN_TEXT_LORA;
        int is_same = b->text == TRAIN_TEXT_LORA && b->lora_r == a->lora_r &&
                      b->lora_targets == a->lora_targets && b->lora_rslora == a->lora_rslora &&
                      b->lora_alpha == a->lora_alpha;
        if (is_lora && !is_same)
            return bad_stage(
                r, b, e,
                "the stage it begins with has a LoRA, so this one needs the same lora_r, "
                "lora_alpha, lora_rslora and lora_targets");
    }
    return 0;
}

static int check_recipe(struct recipe *r, struct err *e) {
    if (!r->n_stages)
        return err_set(e, E_FORMAT, "%s: there is no [stage NAME], so there is nothing to do",
                       r->file);
    int learns = 0;
    for (int i = 0; i < r->n_data; i++)
        learns += !r->data[i].validation && r->data[i].weight > 0;
    if (!learns) return err_set(e, E_FORMAT, "%s: there is no [data NAME] to learn from", r->file);
    for (int i = 0; i < r->n_stages; i++) {
        int rc = check_stage(r, &r->stages[i], e);
        if (rc) return rc;
    }
    int rc = find_parents(r, e);
    return rc ? rc : check_order(r, e);
}

/* ---- the whole ---- */

int recipe_parse(const char *file, const char *dir, const char *text, size_t len,
                 const struct recipe_sets *sets, struct recipe *out, struct err *e) {
    struct ini ini = {0};
    int rc = ini_parse(file, text, len, &ini, e);
    if (rc) return rc;
    memset(out, 0, sizeof(*out));
    out->file = file;
    out->mem = arena_new(TEXTS_MAX);
    if (!out->mem) rc = err_set(e, E_NOMEM, "%s: no memory to read it", file);
    keys_start(RECIPE_RUN, &out->run);
    struct reading r = {.recipe = out, .ini = &ini, .sets = sets, .dir = dir, .e = e};
    for (int i = 0; rc == 0 && i < ini.n; i++)
        rc = take_section(&r, &ini.at[i]);
    if (rc == 0) rc = check_sets(&r);
    if (rc == 0) rc = check_recipe(out, e);
    ini_close(&ini);
    if (rc) recipe_close(out);
    return rc;
}

int recipe_open(const char *path, const struct recipe_sets *sets, struct recipe *out,
                struct err *e) {
    struct buf text;
    buf_init(&text, INI_BYTES_MAX);
    char whole[PATH_MAX];
    int rc = file_read(path, &text, e);
    /* The folder by its whole path, so that the recipe may be written down elsewhere. */
    const char *slash = NULL;
    if (rc == 0 && realpath(path, whole)) slash = strrchr(whole, '/');
    whole[slash ? slash - whole : 0] = '\0';
    if (rc == 0)
        rc = recipe_parse(path, whole, text.p ? (const char *)text.p : "", text.len, sets, out, e);
    buf_clear(&text);
    return rc;
}

void recipe_close(struct recipe *r) {
    arena_free(r->mem);
    *r = (struct recipe){0};
}

void recipe_shorten(struct recipe *r, int64_t steps) {
    for (int i = 0; i < r->n_stages; i++) {
        struct recipe_stage *s = &r->stages[i];
        if (s->steps <= steps) continue;
        s->warmup = (int64_t)((double)s->warmup * (double)steps / (double)s->steps);
        s->steps = steps;
    }
}

/* ---- writing ---- */

static void write_key(const struct key *k, const void *fields, int is_digest, struct buf *out) {
    const char *text = *(const char *const *)(const void *)((const char *)fields + k->at);
    int is_text = k->kind == KEY_TEXT || k->kind == KEY_PATH;
    int n = k->kind == KEY_BY_TASK ? SAMPLE_TASKS : 1;
    for (int t = 0; t < n; t++) {
        int is_real = k->kind == KEY_REAL || k->kind == KEY_BY_TASK;
        const double *v = (const double *)(const void *)((const char *)fields + k->at);
        if ((is_text && !text) || (is_real && v[t] < k->least)) continue; /* not given */
        if (is_digest && !k->is_digest) continue;
        buf_printf(out, "%s%s = ", k->name, n > 1 ? sample_task_words[t] : "");
        keys_write(k, t, fields, out);
        buf_char(out, '\n');
    }
}

static void write_section(enum recipe_section in, const char *name, const void *fields,
                          int is_digest, struct buf *out) {
    size_t n;
    const struct key *all = keys_all(&n);
    buf_printf(out, "%s[%s%s%s]\n", out->len ? "\n" : "", recipe_sections[in], *name ? " " : "",
               name);
    for (size_t i = 0; i < n; i++)
        if (all[i].in == in) write_key(&all[i], fields, is_digest, out);
}

void recipe_write(const struct recipe *r, int is_digest, struct buf *out) {
    write_section(RECIPE_RUN, "", &r->run, is_digest, out);
    for (int i = 0; i < r->n_stages; i++)
        write_section(RECIPE_STAGE, r->stages[i].name, &r->stages[i], is_digest, out);
    for (int i = 0; i < r->n_data; i++)
        write_section(RECIPE_DATA, r->data[i].name, &r->data[i], is_digest, out);
}

void recipe_digest(const struct recipe *r, char hex[65]) {
    struct buf text;
    unsigned char sum[SHA256_DIGEST_LENGTH];
    buf_init(&text, 16 << 20);
    recipe_write(r, 1, &text);
    must(!text.bad);
    SHA256(text.p, text.len, sum);
    hex_write(sum, sizeof(sum), hex);
    buf_clear(&text);
}

/* ---- what it asks for ---- */

int recipe_samples(const struct recipe_stage *s) {
    return (int)(s->pack ? s->samples : s->samples * s->questions);
}

int recipe_questions(const struct recipe_stage *s) { return s->pack ? (int)s->questions : 1; }

int64_t recipe_steps(const struct recipe *r) {
    int64_t n = 0;
    for (int i = 0; i < r->n_stages; i++)
        n += r->stages[i].steps;
    return n;
}

/* What is said for each task, and for each dense question. */
static void recipe_weights(const struct recipe_stage *s, struct train_options *o) {
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        o->soft[t] = (float)s->soft[t];
        o->teach[t] = (float)(s->teach_of[t] >= 0 ? s->teach_of[t] : s->teach);
    }
    for (int i = 0; i < TRAIN_DENSE; i++)
        o->dense[i] = (float)s->dense[i];
}

struct train_options recipe_train_options(const struct recipe *r, int stage) {
    const struct recipe_stage *s = &r->stages[stage];
    unsigned targets = (unsigned)s->lora_targets & (2u * TRAIN_LORA_DOWN - 1);
    double dropout = s->lora_dropout >= 0 ? s->lora_dropout : s->pack ? 0 : 0.05;
    struct train_options o = {
        .device = r->run.device,
        .isa = r->run.isa,
        .threads = (int)r->run.threads,
        .memory = (uint64_t)r->run.memory_mib << 20,
        .tower = (int)s->tower,
        .connector = (int)s->connector,
        .text = (enum train_text)s->text,
        .lora = {.r = (int)s->lora_r,
                 .alpha = (float)s->lora_alpha,
                 .is_rslora = (int)s->lora_rslora,
                 .dropout = (float)dropout,
                 .targets = targets},
        .rate = {.start = s->rate_start,
                 .peak = s->rate,
                 .end = s->rate_end,
                 .warmup = (uint64_t)s->warmup,
                 .steps = (uint64_t)s->steps},
        .tower_rate = s->tower_rate,
        .beta1 = s->beta1,
        .beta2 = s->beta2,
        .eps = s->eps,
        .decay = s->decay,
        .clip = s->clip,
        .average = s->average,
        .is_legal = (int)s->legal,
        .box_l1 = (float)s->box_l1,
        .box_giou = (float)s->box_giou,
        .hold = (float)s->hold,
        .hold_layer = (int)s->hold_layer,
        .hold_heads = (uint32_t)s->hold_heads,
        .hold_tasks = (unsigned)s->hold_tasks,
        .dense_rate = s->dense_rate,
        .dense_alone = (uint64_t)s->dense_alone,
        .teacher = s->teacher,
        .teach_top = (int)s->teach_top,
        .has_taught = s->rehearse > 0,
        .recompute = (int)s->recompute,
        .rows = (int)s->rows,
        .pictures = (int)s->pictures,
        .seed = (uint64_t)r->run.seed + (uint64_t)stage * UINT64_C(0x9e3779b97f4a7c15),
    };
    recipe_weights(s, &o);
    return o;
}
