/* fine_tuning.c - POST /v1/fine_tuning/jobs: what is asked is read, and a job made of it.
 *
 * The shape is OpenAI's; what lammd has beyond it stands under "lammd". Whatever isn't known is
 * refused by name, and "auto" and null are nothing. Which values the job has in the end, its answer
 * says. Idempotency-Key: the same key with the same request gets the same job again, with another
 * one a 409. Thread: a worker; counting the memory of a run takes it a moment.
 */
#include "api/admin/fine_tuning.h"

#include <stdio.h>
#include <string.h>

enum { METADATA_PAIRS = 16, METADATA_KEY = 64, METADATA_VALUE = 512, EPOCHS_MAX = 1000 };

struct create {
    struct jobs_new asked;
    char digest[65], metadata[JOBS_METADATA_MAX + 1];
    struct jobs_job job;
};

/* ---- values inside of objects ---- */

static int create_bad(struct api_call *c, const char *name, const json_t *v, const char *what) {
    return json_must_be(&c->problem, name, v, what);
}

/* Nothing, as OpenAI's clients say it. */
static int is_auto(const json_t *v) {
    return !v || json_is_null(v) ||
           (json_is_string(v) && strcmp(json_string_value(v), "auto") == 0);
}

static int check_names(struct api_call *c, const json_t *o, const char *in,
                       const char *const *known) {
    const char *name;
    json_t *v;
    char full[40];
    json_object_foreach((json_t *)(uintptr_t)o, name, v) {
        int is_known = 0;
        for (int i = 0; known[i]; i++)
            is_known |= strcmp(known[i], name) == 0;
        if (is_known) continue;
        snprintf(full, sizeof(full), "%s.%.20s", in, name);
        return problem_set(&c->problem, PROBLEM_UNKNOWN_PARAMETER, full, "%s is not known here",
                           full);
    }
    return 0;
}

static int take_whole(struct api_call *c, const json_t *o, const char *key, const char *name,
                      int64_t most, int64_t *to) {
    char what[64];
    const json_t *v = json_object_get(o, key);
    if (is_auto(v)) return 0;
    snprintf(what, sizeof(what), "a whole number from 1 to %lld", (long long)most);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > most)
        return create_bad(c, name, v, what);
    *to = json_integer_value(v);
    return 0;
}

static int take_real(struct api_call *c, const json_t *o, const char *key, const char *name,
                     double most, double *to) {
    char what[64];
    const json_t *v = json_object_get(o, key);
    if (is_auto(v)) return 0;
    snprintf(what, sizeof(what), "a number above 0, and %g at most", most);
    double n = json_is_number(v) ? json_number_value(v) : 0;
    if (!(n > 0 && n <= most)) return create_bad(c, name, v, what);
    *to = n;
    return 0;
}

static int take_flag(struct api_call *c, const json_t *o, const char *key, const char *name,
                     int *to) {
    const json_t *v = json_object_get(o, key);
    if (is_auto(v)) return 0;
    if (!json_is_boolean(v)) return create_bad(c, name, v, "true or false");
    *to = json_is_true(v) ? 1 : -1;
    return 0;
}

/* ["q", "v"] -> "q, v" */
static int take_words(struct api_call *c, const json_t *o, const char *key, const char *name,
                      const char *const *words, char *to, size_t size) {
    const json_t *v = json_object_get(o, key), *item;
    size_t i, at = 0;
    char what[200];
    if (is_auto(v)) return 0;
    int n = snprintf(what, sizeof(what), "a list of some of");
    for (int w = 0; words[w] && n < (int)sizeof(what); w++)
        n += snprintf(what + n, sizeof(what) - (size_t)n, "%s %s", w ? "," : "", words[w]);
    if (!json_is_array(v) || !json_array_size(v)) return create_bad(c, name, v, what);
    json_array_foreach(v, i, item) {
        const char *word = json_string_value(item);
        int is_known = 0;
        for (int w = 0; word && words[w]; w++)
            is_known |= strcmp(words[w], word) == 0;
        if (!is_known || i > 32 || at >= size) return create_bad(c, name, item, what);
        at += (size_t)snprintf(to + at, size - at, "%s%s", i ? ", " : "", word);
    }
    return at < size ? 0 : create_bad(c, name, v, what);
}

/* ---- the fields ---- */

static int read_hyper(struct api_call *c, const json_t *o, struct jobs_how *how) {
    static const char *const known[] = {"n_epochs", "batch_size", "learning_rate_multiplier", NULL};
    int64_t epochs = 0;
    if (is_auto(o)) return 0;
    if (!json_is_object(o)) return create_bad(c, "hyperparameters", o, "an object");
    int rc = check_names(c, o, "hyperparameters", known);
    if (!rc) rc = take_whole(c, o, "n_epochs", "n_epochs", EPOCHS_MAX, &epochs);
    if (!rc) rc = take_whole(c, o, "batch_size", "batch_size", 16384, &how->batch);
    if (!rc)
        rc = take_real(c, o, "learning_rate_multiplier", "learning_rate_multiplier", 1000,
                       &how->multiplier);
    if (epochs) how->epochs = (double)epochs;
    return rc;
}

/* {"type": "supervised", "supervised": {"hyperparameters": {...}}} */
static int read_method(struct api_call *c, const json_t *o, struct jobs_how *how) {
    static const char *const known[] = {"type", "supervised", NULL};
    static const char *const inner[] = {"hyperparameters", NULL};
    if (!o) return 0;
    if (!json_is_object(o)) return create_bad(c, "method", o, "an object");
    if (check_names(c, o, "method", known)) return -1;
    const json_t *type = json_object_get(o, "type"), *in = json_object_get(o, "supervised");
    if (!json_is_string(type) || strcmp(json_string_value(type), "supervised") != 0)
        return create_bad(c, "method.type", type, "\"supervised\", the one method there is");
    if (is_auto(in)) return 0;
    if (!json_is_object(in)) return create_bad(c, "method.supervised", in, "an object");
    if (check_names(c, in, "method.supervised", inner)) return -1;
    return read_hyper(c, json_object_get(in, "hyperparameters"), how);
}

static int read_lora(struct api_call *c, const json_t *o, struct jobs_how *how) {
    static const char *const known[] = {"r", "alpha", "targets", NULL};
    static const char *const targets[] = {"q", "k", "v", "o", "gate", "up", "down", NULL};
    if (is_auto(o)) return 0;
    if (!json_is_object(o)) return create_bad(c, "lammd.lora", o, "an object");
    int rc = check_names(c, o, "lammd.lora", known);
    if (!rc) rc = take_whole(c, o, "r", "lammd.lora.r", 512, &how->lora_r);
    if (!rc) rc = take_real(c, o, "alpha", "lammd.lora.alpha", 1e6, &how->lora_alpha);
    if (!rc)
        rc = take_words(c, o, "targets", "lammd.lora.targets", targets, how->lora_targets,
                        sizeof(how->lora_targets));
    return rc;
}

static int read_recipe(struct api_call *c, const json_t *o, struct jobs_how *how) {
    const json_t *v = json_object_get(o, "recipe");
    if (is_auto(v)) return 0;
    if (!json_is_string(v) || json_string_length(v) >= sizeof(how->recipe))
        return create_bad(c, "lammd.recipe", v, "the name of a recipe, such as \"own\"");
    snprintf(how->recipe, sizeof(how->recipe), "%s", json_string_value(v));
    return 0;
}

static int read_own(struct api_call *c, const json_t *o, struct jobs_how *how) {
    static const char *const known[] = {"recipe", "tasks", "lora", "vision", "pack", "steps", NULL};
    static const char *const tasks[] = {"pixels",  "mask",      "refer",     "identify",
                                        "caption", "grounding", "detection", "vqa",
                                        "chat",    "drive",     "shoot",     NULL};
    if (!o) return 0;
    if (!json_is_object(o)) return create_bad(c, "lammd", o, "an object");
    int rc = check_names(c, o, "lammd", known);
    if (!rc) rc = read_recipe(c, o, how);
    if (!rc) rc = take_words(c, o, "tasks", "lammd.tasks", tasks, how->tasks, sizeof(how->tasks));
    if (!rc) rc = read_lora(c, json_object_get(o, "lora"), how);
    if (!rc) rc = take_flag(c, o, "vision", "lammd.vision", &how->vision);
    if (!rc) rc = take_flag(c, o, "pack", "lammd.pack", &how->pack);
    if (!rc) rc = take_whole(c, o, "steps", "lammd.steps", 10000000, &how->steps);
    if (!rc && how->steps && how->epochs > 0)
        rc = problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "lammd.steps",
                         "give n_epochs or lammd.steps, not both");
    return rc;
}

int fine_tuning_read_metadata(struct api_call *c, const json_t *o, char *to) {
    const char *name;
    json_t *v;
    if (!json_is_object(o) || json_object_size(o) > METADATA_PAIRS)
        return create_bad(c, "metadata", o, "an object with 16 texts at most");
    json_object_foreach((json_t *)(uintptr_t)o, name, v) {
        if (strlen(name) > METADATA_KEY || !json_is_string(v) ||
            json_string_length(v) > METADATA_VALUE)
            return create_bad(c, "metadata", v, "texts of 512 bytes at most");
    }
    size_t n = json_dumpb(o, to, JOBS_METADATA_MAX, JSON_COMPACT);
    if (n > JOBS_METADATA_MAX) return create_bad(c, "metadata", o, "smaller");
    to[n] = '\0';
    return 0;
}

static int fine_tuning_read_model(struct api_call *c, struct input *in) {
    const char *model = NULL, *base = eng_info(c->api->eng)->name;
    if (input_text(in, "model", 256, &model)) return -1;
    if (!model || strcmp(model, base) == 0 || strcmp(model, "lammd") == 0) return 0;
    return problem_set(&c->problem, PROBLEM_MODEL_NOT_FOUND, "model",
                       "a job begins with the base model, %s", base);
}

static int read_objects(struct api_call *c, struct input *in, struct create *to) {
    json_t *o[5] = {NULL};
    static const char *const names[] = {"method", "hyperparameters", "lammd", "metadata",
                                        "integrations"};
    int rc = 0;
    for (size_t i = 0; !rc && i < ARRAY_LEN(names); i++)
        rc = input_json(in, names[i], &o[i]);
    if (!rc) rc = read_hyper(c, o[1], &to->asked.how);
    if (!rc) rc = read_method(c, o[0], &to->asked.how);
    if (!rc) rc = read_own(c, o[2], &to->asked.how);
    if (!rc && o[3]) rc = fine_tuning_read_metadata(c, o[3], to->metadata);
    if (!rc && o[3]) to->asked.metadata = to->metadata;
    if (!rc && o[4] && json_array_size(o[4]))
        rc = problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "integrations",
                         "there are no integrations: this server sends nothing to others");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_decref(o[i]);
    return rc;
}

static int create_read(struct api_call *c, struct input *in) {
    struct create *to = c->state;
    struct jobs_new *n = &to->asked;
    n->owner = fine_tuning_owner(c);
    n->seed = 1;
    int rc = fine_tuning_read_model(c, in);
    if (!rc) rc = input_text(in, "training_file", 60, &n->training_file);
    if (!rc) rc = input_text(in, "validation_file", 60, &n->validation_file);
    if (!rc) rc = input_text(in, "suffix", JOBS_SUFFIX_MAX, &n->suffix);
    if (!rc) rc = input_seed(in, "seed", &n->seed);
    if (!rc && !n->training_file)
        rc = problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "training_file",
                         "training_file is needed: the id that POST /v1/files gave");
    if (!rc) rc = read_objects(c, in, to);
    n->digest = to->digest;
    n->once = c->in.idempotency_key;
    return rc ? rc : fine_tuning_digest(c, to->digest);
}

/* ---- the job ---- */

static int create_refuse(struct api_call *c, int rc, const struct jobs_outcome *how,
                         const struct err *e) {
    enum problem_code code = PROBLEM_NONE;
    if (rc == E_NOT_FOUND && how->param && strstr(how->param, "_file"))
        code = PROBLEM_FILE_NOT_FOUND;
    else if (rc == E_NOT_FOUND)
        code = PROBLEM_INVALID_PARAMETER;
    else if (rc == E_UNSUPPORTED)
        code = PROBLEM_FILE_NOT_PROCESSED;
    else if (rc == E_TOO_BIG)
        code = PROBLEM_TOO_BIG;
    else if (rc == E_CANCELLED && how->param)
        code = PROBLEM_IDEMPOTENCY_CONFLICT;
    else if (rc == E_BUSY)
        code = how->is_owner ? PROBLEM_TOO_MANY_OWN_JOBS : PROBLEM_TOO_MANY_JOBS;
    if (code == PROBLEM_NONE) return fine_tuning_refuse(c, rc, how->param, e);
    return problem_set(&c->problem, code, how->param, e->text[0] ? "%s" : NULL, e->text);
}

static int create_ask(struct api_call *c) {
    struct create *s = c->state;
    struct jobs_outcome how;
    struct err e = {0};
    int rc = jobs_create(c->api->jobs, &s->asked, &s->job, &how, &e);
    return rc ? create_refuse(c, rc, &how, &e) : 1;
}

static int create_answer(struct api_call *c) {
    const struct create *s = c->state;
    fine_tuning_write(c, &s->job, &c->body);
    buf_char(&c->body, '\n');
    call_header_printf(c, "Location", "/v1/fine_tuning/jobs/%s", s->job.id);
    snprintf(c->summary, sizeof(c->summary), "job=%s", s->job.id);
    return call_answer(c, 200, "application/json");
}

static const char *const create_known[] = {
    "model",    "training_file",   "validation_file", "suffix", "seed", "method",
    "metadata", "hyperparameters", "integrations",    "lammd",  NULL};
static const struct input_wants create_wants = {.known = create_known, .only_json = 1};

const struct endpoint fine_tuning_create_endpoint = {.wants = &create_wants,
                                                     .media = &media_json,
                                                     .state_size = sizeof(struct create),
                                                     .enter = fine_tuning_enter,
                                                     .read = create_read,
                                                     .ask = create_ask,
                                                     .answer = create_answer};
