/* keys.c - the table of a recipe's keys, and what is made of it: values read and written, the list
 * that `lammd train --keys` prints.
 *
 * A row names the field that it fills by its offset in the struct of its section (recipe.h). What
 * no recipe says is the row's default. Numbers are decimal; bounds are those of the doors behind,
 * so that nothing is loaded before a value is refused.
 */
#include "cli/train/keys.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/near.h"

const char *const recipe_sections[] = {"run", "stage", "data", NULL};
static const char *const no_yes[] = {"no", "yes", NULL};
static const char *const exports[] = {"last", "best", NULL};
static const char *const results[] = {"adapter", "model", "both", NULL};
static const char *const mixes[] = {"samples", "steps", NULL};
static const char *const forms[] = {"all", "one", NULL};
static const char *const holds[] = {"place", "thing", NULL};
static const char *const orients[] = {"shown", "stored", NULL};

#define WHOLE_MAX 9007199254740991.0 /* what a double tells apart */
#define BIG       1e9                /* where nothing else bounds a number */
#define ALL_BITS  WHOLE_MAX          /* of KEY_BITS: every word */
#define NEEDED    NAN                /* there is no default: it must be said */

#define RUN(field)   RECIPE_RUN, offsetof(struct recipe_run, field)
#define STAGE(field) RECIPE_STAGE, offsetof(struct recipe_stage, field)
#define DATA(field)  RECIPE_DATA, offsetof(struct recipe_data, field)

#define ROW_(in_, at_, name_, kind_, digest_, lo_, hi_, start_, words_, help_)               \
    {                                                                                        \
        .in = (in_), .name = (name_), .kind = (kind_), .is_digest = (digest_), .at = (at_),  \
        .least = (lo_), .most = (hi_), .start = (start_), .words = (words_), .help = (help_) \
    }
#define ROW(...)                       ROW_(__VA_ARGS__)
#define TEXT(where, name, d, help)     ROW(where, name, KEY_TEXT, d, 0, 0, 0, NULL, help)
#define PATH(where, name, start, help) ROW(where, name, KEY_PATH, 0, 0, 0, start, NULL, help)
#define WHOLE(where, name, d, lo, hi, start, help) \
    ROW(where, name, KEY_WHOLE, d, lo, hi, start, NULL, help)
#define REAL(where, name, d, lo, hi, start, help) \
    ROW(where, name, KEY_REAL, d, lo, hi, start, NULL, help)
#define WORD(where, name, d, words, start, help) \
    ROW(where, name, KEY_WORD, d, 0, 0, start, words, help)
#define BITS(where, name, words, start, help) \
    ROW(where, name, KEY_BITS, 1, 0, 0, start, words, help)
#define TASKS(where, name, lo, hi, start, help) \
    ROW(where, name, KEY_BY_TASK, 1, lo, hi, start, NULL, help)

/* section and field, name, [does it change the weights?], [bounds], default, help */
static const struct key keys[] = {
    PATH(RUN(model), "model", 0, "folder of the model to begin with; not given: lamm-mini"),
    PATH(RUN(out), "out", 0, "folder for what comes of it; not given: runs/ and the recipe's name"),
    WHOLE(RUN(seed), "seed", 1, 0, WHOLE_MAX, 1, "of everything that is drawn"),
    TEXT(RUN(device), "device", 0, "cpu, ref or another that lammd serve takes; not given: auto"),
    TEXT(RUN(isa), "isa", 0, "which kernels compute; not given: auto"),
    WHOLE(RUN(threads), "threads", 0, 0, 256, 0, "that compute; 0: one for each core"),
    WHOLE(RUN(memory_mib), "memory_mib", 0, 0, BIG, 0, "to use at most; 0: all that is free"),
    WHOLE(RUN(checkpoint_every), "checkpoint_every", 0, 1, BIG, 200, "steps between checkpoints"),
    WHOLE(RUN(judge_every), "judge_every", 0, 0, BIG, 200,
          "steps between judgements by the validation part; 0: only before and after"),
    WHOLE(RUN(judge_samples), "judge_samples", 0, 1, 65536, 16, "samples of a judgement"),
    REAL(RUN(validation), "validation", 1, 0, 0.9, 0.1,
         "share of the data, by the pictures' digests, that is judged by and never learnt"),
    WORD(RUN(export_), "export", 0, exports, RECIPE_LAST,
         "which weights the result has: the last ones, or those of the best judgement"),
    WORD(
        RUN(result), "result", 0, results, RECIPE_ADAPTER,
        "an adapter beside the model, or a model that has it merged; where whole weights learnt it "
        "is a model"),
    PATH(RUN(features), "features", 0,
         "what another network saw in the pictures: tools/data/features.py"),
    WORD(RUN(gate), "gate", 0, no_yes, 0,
         "is the result compared with what it began with, by answers? gate.json says how it came "
         "out"),

    TEXT(STAGE(from), "from", 1,
         "the stage whose result it begins with; not given: the one before"),
    TEXT(STAGE(like), "like", 0,
         "an earlier stage; what isn't said here, `from` left aside, is as there"),
    WHOLE(STAGE(steps), "steps", 1, 1, BIG, NEEDED, "of this stage"),
    WHOLE(STAGE(samples), "samples", 1, 1, 16384, 4,
          "pictures, or sets of pictures, of a step; of all ranks together"),
    WHOLE(STAGE(questions), "questions", 1, 1, SAMPLE_TALKS_MAX, 16,
          "about each of them, packed behind the picture"),
    WORD(STAGE(pack), "pack", 1, no_yes, 1,
         "are the questions packed behind their picture? no: samples * questions pictures a step, "
         "of one question each"),
    WORD(STAGE(mix), "mix", 1, mixes, 0,
         "samples of a step are of all tasks, or of one source and task, as MiniGPT-v2 draws"),
    WHOLE(STAGE(pictures), "pictures", 1, 1, SAMPLE_PICTURES_MAX, 1, "of a sample, at most"),
    WHOLE(STAGE(rows), "rows", 1, 64, 65536, 2048, "tokens of a sample, at most"),
    WHOLE(STAGE(also), "also", 1, 0, SAMPLE_ALSO_MAX, 0,
          "questions more of each other task that the data knows of the picture"),
    WHOLE(STAGE(rehearse), "rehearse", 1, 0, SAMPLE_REHEARSE_MAX, 0,
          "questions more behind each picture, about what the model can do already"),
    TASKS(STAGE(ratio), "ratio_", 0, BIG, -1,
          "how often the task is drawn; none given: every task of the data alike"),
    WORD(STAGE(tower), "tower", 1, no_yes, 0, "does the vision tower learn?"),
    WORD(STAGE(connector), "connector", 1, no_yes, 1, "does the connector learn?"),
    WORD(STAGE(text), "text", 1, train_text_words, TRAIN_TEXT_LORA,
         "what of the language model learns"),
    WHOLE(STAGE(lora_r), "lora_r", 1, 1, TRAIN_LORA_RANK_MAX, 64, "rank of the LoRA"),
    REAL(STAGE(lora_alpha), "lora_alpha", 1, 0, BIG, 16, "its scale is alpha / r"),
    WORD(STAGE(lora_rslora), "lora_rslora", 1, no_yes, 0, "the scale is alpha / sqrt(r) instead"),
    BITS(STAGE(lora_targets), "lora_targets", train_lora_words, TRAIN_LORA_Q | TRAIN_LORA_V,
         "the matrices that have one"),
    REAL(STAGE(lora_dropout), "lora_dropout", 1, 0, 0.9, -1,
         "of the LoRA's input; not given: 0, or 0.05 with pack = no"),
    REAL(STAGE(rate), "rate", 1, 0, 1, 1e-5, "the learning rate behind the warm-up"),
    REAL(STAGE(rate_start), "rate_start", 1, 0, 1, 1e-6, "of the first step, where it warms up"),
    REAL(STAGE(rate_end), "rate_end", 1, 0, 1, 1e-6, "where the cosine ends"),
    WHOLE(STAGE(warmup), "warmup", 1, 0, BIG, 0, "steps from rate_start to rate"),
    REAL(STAGE(tower_rate), "tower_rate", 1, 1e-6, 1000, 1, "the tower's rate, times all others'"),
    REAL(STAGE(beta1), "beta1", 1, 0, 0.9999, 0.9, "of AdamW"),
    REAL(STAGE(beta2), "beta2", 1, 0, 0.999999, 0.999, "of AdamW"),
    REAL(STAGE(eps), "eps", 1, 1e-12, 1, 1e-8, "of AdamW"),
    REAL(STAGE(decay), "decay", 1, 0, 1, 0.05, "of matrices' weights"),
    REAL(STAGE(clip), "clip", 1, 0, BIG, 1, "norm of the gradient, at most; 0: any"),
    REAL(STAGE(average), "average", 1, 0, 0.999999, 0,
         "decay of a running average of the weights, which is then judged and exported; 0: none"),
    WORD(STAGE(legal), "legal", 1, no_yes, 0,
         "are numbers learnt among those that lammd, when it serves, allows? no: among all tokens"),
    TASKS(STAGE(soft), "soft_", 0, 64, 0,
          "numbers are learnt as a bell of this deviation; 0: the right one alone"),
    REAL(STAGE(box_l1), "box_l1", 1, 0, BIG, 0, "weight of the expected box's distance"),
    REAL(STAGE(box_giou), "box_giou", 1, 0, BIG, 0, "weight of the expected box's overlap (GIoU)"),
    REAL(STAGE(hold), "hold", 1, 0, BIG, 0, "weight of attention held to a place or a thing"),
    WHOLE(STAGE(hold_layer), "hold_layer", 1, 0, 255, 0, "whose attention is held, from 0"),
    WHOLE(STAGE(hold_heads), "hold_heads", 1, 0, 4294967295.0, 1, "its heads, a bit each"),
    BITS(STAGE(hold_tasks), "hold_tasks", sample_task_words, ALL_BITS,
         "the tasks whose attention is held"),
    WORD(STAGE(hold_mask), "hold_mask", 1, holds, 0,
         "where it is held while a mask is asked: to the place, or to the thing that is meant"),
    REAL(STAGE(dense[TRAIN_DENSE_INSIDE]), "dense_inside", 1, 0, BIG, 0,
         "weight of asking each picture token which of its places are inside the things named"),
    REAL(STAGE(dense[TRAIN_DENSE_BOX]), "dense_box", 1, 0, BIG, 0,
         "weight of asking it for the box of the thing that it shows"),
    REAL(STAGE(dense[TRAIN_DENSE_COLOUR]), "dense_colour", 1, 0, BIG, 0,
         "weight of asking it for the colours of its places, 0 to 1, by squared error"),
    REAL(STAGE(dense[TRAIN_DENSE_FEATURE]), "dense_feature", 1, 0, BIG, 0,
         "weight of asking it for what another network saw there, by squared error"),
    REAL(STAGE(dense_rate), "dense_rate", 1, 1e-6, 100000, 10,
         "the rate of what asks them, times all others'"),
    WHOLE(STAGE(dense_alone), "dense_alone", 1, 0, BIG, 0,
          "steps in which what asks learns alone, before the model learns by it"),
    PATH(STAGE(teacher), "teacher", 0, "folder of a model whose answers are learnt from"),
    REAL(STAGE(teach), "teach", 1, 0, 1, 0,
         "share of the teacher's answer in what is learnt; the rest is the right one's"),
    TASKS(STAGE(teach_of), "teach_", 0, 1, -1, "the same of one task; not given: as teach"),
    WHOLE(STAGE(teach_top), "teach_top", 1, 1, TRAIN_TEACH_TOP_MAX, 32,
          "its likeliest tokens, which are its answer"),
    WHOLE(STAGE(recompute), "recompute", 0, 0, 2, 0,
          "to save memory: 1: norms and activations are computed again, 2: whole layers"),

    PATH(DATA(path), "path", NEEDED, "folder or file; docs/training-data.md lists the formats"),
    PATH(DATA(pictures), "pictures", 0, "folder of a COCO file's pictures; not given: beside it"),
    TEXT(DATA(split), "split", 0, "of RefCOCO, as train; not given: all"),
    BITS(DATA(tasks), "tasks", sample_task_words, ALL_BITS, "that are taken from it"),
    REAL(DATA(weight), "weight", 1, 0, BIG, 1, "how often it is drawn, among the data of a task"),
    REAL(DATA(stress), "stress", 1, 1e-6, BIG, 1, "weight of its answers in the loss"),
    WORD(DATA(orient), "orient", 1, orients, RECIPE_SHOWN,
         "pictures as a viewer shows them, or as they are stored; COCO's always are stored"),
    REAL(DATA(crop), "crop", 1, 0.01, 1, 1,
         "share of a picture's area that a crop shows, at least"),
    REAL(DATA(jitter), "jitter", 1, 0, 1, 0, "of brightness, contrast and colour"),
    REAL(DATA(flip), "flip", 1, 0, 1, 0, "how often left and right change places"),
    WORD(DATA(forms), "forms", 1, forms, 0,
         "in which words it is asked: all of MiniGPT-v2's, or those alone that lammd asks in"),
    WHOLE(DATA(bad_lines), "bad_lines", 0, 0, BIG, 0, "that are left out; one more is an error"),
    WORD(DATA(validation), "validation", 1, no_yes, 0, "is all of it judged by, and never learnt?"),
};

const struct key *keys_all(size_t *n) {
    *n = ARRAY_LEN(keys);
    return keys;
}

static void *key_field(const struct key *k, const void *fields) {
    return (char *)(uintptr_t)fields + k->at;
}

/* ---- names ---- */

/* The index of the text in a list of words; -1: it isn't there. */
static int word_of(const char *const *words, const char *text, size_t len) {
    for (int i = 0; words[i]; i++)
        if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0) return i;
    return -1;
}

const struct key *keys_find(enum recipe_section in, const char *name, int *task) {
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct key *k = &keys[i];
        size_t n = strlen(k->name);
        *task = 0;
        if (k->in != in) continue;
        if (k->kind != KEY_BY_TASK && strcmp(k->name, name) == 0) return k;
        if (k->kind != KEY_BY_TASK || strncmp(k->name, name, n) != 0) continue;
        *task = word_of(sample_task_words, name + n, strlen(name + n));
        if (*task >= 0) return k;
    }
    return NULL;
}

const char *keys_near(enum recipe_section in, const char *name, char text[64]) {
    int best = near_most(name);
    int found = 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int n = keys[i].kind == KEY_BY_TASK ? SAMPLE_TASKS : 1;
        for (int t = 0; keys[i].in == in && t < n; t++) {
            char one[64];
            snprintf(one, sizeof(one), "%s%s", keys[i].name, n > 1 ? sample_task_words[t] : "");
            int d = near_distance(name, one);
            if (d >= best) continue;
            best = d;
            found = 1;
            memcpy(text, one, sizeof(one));
        }
    }
    return found ? text : NULL;
}

/* ---- values ---- */

void keys_start(enum recipe_section in, void *fields) {
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct key *k = &keys[i];
        double v = isnan(k->start) ? 0 : k->start;
        if (k->in != in) continue;
        switch (k->kind) {
        case KEY_TEXT:
        case KEY_PATH: *(const char **)key_field(k, fields) = NULL; break;
        case KEY_WHOLE:
        case KEY_WORD:
        case KEY_BITS: *(int64_t *)key_field(k, fields) = (int64_t)v; break;
        case KEY_REAL: *(double *)key_field(k, fields) = v; break;
        case KEY_BY_TASK:
            for (int t = 0; t < SAMPLE_TASKS; t++)
                ((double *)key_field(k, fields))[t] = v;
            break;
        }
        if (k->start == ALL_BITS && k->kind == KEY_BITS) *(int64_t *)key_field(k, fields) = -1;
    }
}

static void list_words(const struct key *k, char *to, size_t cap) {
    for (int i = 0; k->words[i]; i++) {
        size_t at = strlen(to);
        snprintf(to + at, cap - at, "%s%s", i ? ", " : "", k->words[i]);
    }
}

void keys_takes(const struct key *k, char *to, size_t cap) {
    int is_open = k->most == BIG || k->most == WHOLE_MAX;
    const char *what = k->kind == KEY_WHOLE ? "a whole number" : "a number";
    switch (k->kind) {
    case KEY_TEXT: snprintf(to, cap, "a text"); break;
    case KEY_PATH: snprintf(to, cap, "a path"); break;
    case KEY_WORD:
        snprintf(to, cap, "one of ");
        list_words(k, to, cap);
        break;
    case KEY_BITS:
        snprintf(to, cap, "some of ");
        list_words(k, to, cap);
        break;
    case KEY_WHOLE:
    case KEY_REAL:
    case KEY_BY_TASK:
        if (is_open)
            snprintf(to, cap, "%s from %.15g on", what, k->least);
        else
            snprintf(to, cap, "%s from %.15g to %.15g", what, k->least, k->most);
        break;
    }
}

static int key_bad(const struct key *k, const char *value, struct err *e) {
    char takes[160];
    keys_takes(k, takes, sizeof(takes));
    return err_set(e, E_INVALID, "it takes %s, not \"%.40s\"", takes, value);
}

/* "q, v" or "all" */
static int read_bits(const struct key *k, const char *value, int64_t *out, struct err *e) {
    int64_t bits = 0;
    if (strcmp(value, "all") == 0) {
        *out = -1;
        return 0;
    }
    for (const char *s = value;; s++) {
        s += strspn(s, " \t");
        size_t n = strcspn(s, ", \t");
        int i = word_of(k->words, s, n);
        if (i < 0) return key_bad(k, value, e);
        bits |= INT64_C(1) << i;
        s += n + strspn(s + n, " \t");
        if (!*s) break;
        if (*s != ',') return key_bad(k, value, e);
    }
    *out = bits;
    return 0;
}

static int keys_read_number(const struct key *k, const char *value, double *out, struct err *e) {
    const char *digits = k->kind == KEY_WHOLE ? "-0123456789" : "+-.0123456789eE";
    char *end;
    errno = 0;
    double v = strtod(value, &end);
    int is_number = *value && value[strspn(value, digits)] == '\0' && *end == '\0';
    if (!is_number || !isfinite(v) || v < k->least || v > k->most) return key_bad(k, value, e);
    *out = v;
    return 0;
}

int keys_read(const struct key *k, int task, const char *value, void *fields, struct err *e) {
    double v = 0;
    int rc = 0, i;
    switch (k->kind) {
    case KEY_TEXT:
    case KEY_PATH: return err_set(e, E_INTERNAL, "texts are read by recipe.c");
    case KEY_WORD:
        i = word_of(k->words, value, strlen(value));
        if (i < 0) return key_bad(k, value, e);
        *(int64_t *)key_field(k, fields) = i;
        return 0;
    case KEY_BITS: return read_bits(k, value, key_field(k, fields), e);
    case KEY_WHOLE:
    case KEY_REAL:
    case KEY_BY_TASK: rc = keys_read_number(k, value, &v, e);
    }
    if (rc) return rc;
    if (k->kind == KEY_WHOLE)
        *(int64_t *)key_field(k, fields) = (int64_t)v;
    else
        ((double *)key_field(k, fields))[task] = v;
    return 0;
}

static void write_bits(const struct key *k, int64_t bits, struct buf *out) {
    const char *comma = "";
    for (int i = 0; k->words[i]; i++) {
        if (!(bits >> i & 1)) continue;
        buf_printf(out, "%s%s", comma, k->words[i]);
        comma = ", ";
    }
}

/* As short as it may be without being another number. */
static void write_real(double v, struct buf *out) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf_str(out, text);
}

void keys_write(const struct key *k, int task, const void *fields, struct buf *out) {
    const void *at = key_field(k, fields);
    const char *text;
    switch (k->kind) {
    case KEY_TEXT:
    case KEY_PATH:
        text = *(const char *const *)at;
        buf_str(out, text ? text : "");
        break;
    case KEY_WHOLE: buf_printf(out, "%lld", (long long)*(const int64_t *)at); break;
    case KEY_WORD: buf_str(out, k->words[*(const int64_t *)at]); break;
    case KEY_BITS: write_bits(k, *(const int64_t *)at, out); break;
    case KEY_REAL:
    case KEY_BY_TASK: write_real(((const double *)at)[task], out); break;
    }
}

/* ---- the list ---- */

static void print_default(const struct key *k, FILE *to) {
    struct buf text;
    buf_init(&text, 256);
    int is_none = k->kind == KEY_TEXT || k->kind == KEY_PATH || k->start < k->least;
    if (isnan(k->start))
        buf_str(&text, "must be given");
    else if (k->kind == KEY_WORD)
        buf_str(&text, k->words[(int)k->start]);
    else if (k->kind == KEY_BITS && k->start == ALL_BITS)
        buf_str(&text, "all");
    else if (k->kind == KEY_BITS)
        write_bits(k, (int64_t)k->start, &text);
    else if (!is_none)
        buf_printf(&text, "%.15g", k->start);
    fprintf(to, " %.*s |", (int)text.len, text.p ? (const char *)text.p : "");
    buf_clear(&text);
}

void keys_print(FILE *to) {
    static const char *const titles[] = {"[run]", "[stage NAME]", "[data NAME]"};
    for (int in = 0; in < RECIPE_SECTIONS; in++) {
        fprintf(to, "%s| `%s` | takes | default | |\n|---|---|---|---|\n", in ? "\n" : "",
                titles[in]);
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            const struct key *k = &keys[i];
            if ((int)k->in != in) continue;
            char takes[200];
            keys_takes(k, takes, sizeof(takes));
            fprintf(to, "| `%s%s` | %s |", k->name, k->kind == KEY_BY_TASK ? "TASK" : "", takes);
            print_default(k, to);
            fprintf(to, " %s |\n", k->help);
        }
    }
}
