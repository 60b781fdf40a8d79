/* pvp.c - `lammd eval pvp FOLDER`: pixel value prediction on a folder of pictures.
 *
 * Every picture is shrunk to the model's grid and every place of it is asked, once by `mode` (the
 * greedy answer) and once by `median`. The error is the mean of |answer - truth| over places and
 * channels, in levels of 0..255. Beside it stand baselines made from the truth itself: its mean
 * colour, and mosaics of k x k blocks in which each block has its mean colour. With --tiles N a
 * picture is cut into N x N parts that are asked by themselves, and truth and answer are N times as
 * large. Beside it stand then what is asked without tiles, and the true picture of the grid, both
 * enlarged by Pillow's bicubic: as many numbers, and no look at the parts. The paper gives its
 * RE without a unit. Read as the formula says (three channels summed, over 255, in per cent) it is
 * 300/255 of our levels; read as levels it is our figure. Both are printed (docs/model.md
 * section 7.1; docs/design.md, "Estimates").
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/eval/eval.h"
#include "cli/places.h"
#include "data/files.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { FILES_MAX = 100000, MOSAICS = 5 };
static const int mosaics[MOSAICS] = {1, 4, 8, 16, 32};
static const enum eng_estimate estimates[2] = {ENG_MODE, ENG_MEDIAN};

struct pvp {
    struct eval *eval;
    const struct config *cfg;
    struct eng *eng;
    int grid, tiles, side; /* side: tiles * grid */
    uint32_t n;            /* places of a tile */
    struct eng_point *points;
    uint8_t *answer[2]; /* (side, side, 3) by estimate */
    struct eval_calib calib[2];
    double error[2], mosaic[MOSAICS]; /* sums of a picture's mean */
    double plain[2], thumbnail;       /* the same, of what is enlarged */
    float *each[2];                   /* (pictures) */
    uint32_t pictures, refused;
    uint64_t ns;
};

/* ---- the folder ---- */

static int is_picture(const struct dirent *d) {
    const char *dot = strrchr(d->d_name, '.');
    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                   strcasecmp(dot, ".jpeg") == 0);
}

/* Names of the pictures in `dir`, sorted; *names and its strings are given to free_names. */
static int list_names(const char *dir, char ***out, int *n, struct err *e) {
    DIR *d = opendir(dir);
    if (!d) return err_set(e, E_IO, "%s: %s", dir, strerror(errno));
    char **list = mem_must(FILES_MAX * sizeof(*list));
    int count = 0;
    for (const struct dirent *at; count < FILES_MAX && (at = readdir(d));) {
        if (is_picture(at)) list[count++] = mem_strdup(at->d_name);
    }
    closedir(d);
    for (int i = 1; i < count; i++) { /* insertion sort: folders come nearly sorted */
        char *name = list[i];
        int at = i;
        for (; at > 0 && strcmp(list[at - 1], name) > 0; at--)
            list[at] = list[at - 1];
        list[at] = name;
    }
    *out = list;
    *n = count;
    return 0;
}

static void free_names(char **list, int n) {
    for (int i = 0; i < n; i++)
        mem_free(list[i]);
    mem_free(list);
}

/* ---- errors ---- */

static double mean_error(const uint8_t *a, const uint8_t *b, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)abs(a[i] - b[i]);
    return (double)sum / (double)n;
}

/* Error of the picture painted in k x k blocks of their rounded mean; `block` is scratch. */
static double mosaic_error(const uint8_t *truth, int grid, int k, uint8_t *block) {
    for (int by = 0; by < k; by++) {
        for (int bx = 0; bx < k; bx++) {
            int y0 = by * grid / k, y1 = (by + 1) * grid / k;
            int x0 = bx * grid / k, x1 = (bx + 1) * grid / k;
            long sum[3] = {0}, n = (long)(y1 - y0) * (x1 - x0);
            for (int y = y0; y < y1; y++)
                for (int i = x0 * 3; i < x1 * 3; i++)
                    sum[i % 3] += truth[y * grid * 3 + i];
            for (int y = y0; y < y1; y++)
                for (int i = x0 * 3; i < x1 * 3; i++)
                    block[y * grid * 3 + i] = (uint8_t)((sum[i % 3] + n / 2) / n);
        }
    }
    return mean_error(truth, block, (size_t)grid * (size_t)grid * 3);
}

/* ---- one picture ---- */

/* The answers about a picture -> rgb of rows of `stride` pixels. */
static int pvp_ask(struct pvp *v, struct eng_picture *picture, int which, uint8_t *rgb, int stride,
                   struct err *e) {
    struct eng_ask a = {.pictures = &picture,
                        .n_pictures = 1,
                        .points = v->points,
                        .n_points = v->n,
                        .estimate = estimates[which],
                        .distribution = 1,
                        .urgency = ENG_PICTURE};
    struct eng_job *job = NULL;
    int rc = eng_submit(v->eng, &a, &job, e);
    if (rc) return rc;
    (void)eng_job_wait(job, v->n, UINT64_MAX);
    uint32_t ready;
    const struct eng_answer *answers = eng_job_answers(job, &ready);
    if (eng_job_state(job) != ENG_DONE) {
        const struct err *why = eng_job_error(job);
        rc = err_set(e, why->code ? why->code : E_INTERNAL, "%s", why->text);
    }
    for (uint32_t i = 0; rc == 0 && i < ready; i++) {
        const struct eng_point *at = &v->points[answers[i].point];
        const uint8_t *right = eng_picture_truth(picture) + 3 * (size_t)answers[i].point;
        memcpy(rgb + 3 * ((size_t)at->y * (size_t)stride + at->x), answers[i].rgb, 3);
        for (int c = 0; c < 3 && v->tiles == 1; c++) /* of several, truths have other sizes */
            eval_calib_add(&v->calib[which], answers[i].mean_abs[c],
                           abs(answers[i].rgb[c] - right[c]));
    }
    eng_job_put(job);
    return rc;
}

/* The part of rgb (h, w, 3) as a picture; `truth`: see eng_intake_open. */
static int pvp_part(struct pvp *v, const uint8_t *rgb, int w, struct crop c, int truth,
                    struct eng_picture **out, struct err *e) {
    struct eng_intake *in;
    int rc = eng_intake_open(v->eng, c.w, c.h, 1, truth, &in, e);
    *out = NULL;
    if (rc) return rc;
    for (int y = 0; y < c.h; y++)
        eng_intake_row(in, rgb + 3 * ((size_t)(c.y + y) * (size_t)w + (size_t)c.x));
    return eng_intake_close(in, out, e);
}

/* What is said of all tiles of rgb (h, w, 3) -> v->answer. */
static int ask_tiles(struct pvp *v, const uint8_t *rgb, int w, int h, struct err *e) {
    int rc = 0;
    for (int i = 0; i < v->tiles * v->tiles && rc == 0; i++) {
        struct eng_picture *tile;
        size_t x = (size_t)(i % v->tiles * v->grid), y = (size_t)(i / v->tiles * v->grid);
        rc = pvp_part(v, rgb, w, crop_tile(v->tiles, i, w, h), 0, &tile, e);
        for (int k = 0; k < 2 && rc == 0; k++)
            rc = pvp_ask(v, tile, k, v->answer[k] + 3 * (y * (size_t)v->side + x), v->side, e);
        eng_picture_put(tile);
    }
    return rc;
}

/* rgb (grid, grid, 3), enlarged, against the truth (side, side, 3). */
static int enlarged_error(struct pvp *v, const uint8_t *rgb, const uint8_t *truth, double *sum,
                          struct err *e) {
    struct eng_picture *large;
    int rc = pvp_part(v, rgb, v->grid, (struct crop){0, 0, v->grid, v->grid}, v->side, &large, e);
    if (rc) return rc;
    size_t n = (size_t)v->side * (size_t)v->side * 3;
    *sum += mean_error(eng_picture_truth(large), truth, n);
    eng_picture_put(large);
    return 0;
}

/* What stands beside tiles; `whole` has the truth of the grid. */
static int judge_enlarged(struct pvp *v, struct eng_picture *whole, const uint8_t *truth,
                          struct err *e) {
    uint8_t *rgb = mem_must((size_t)v->n * 3);
    int rc = enlarged_error(v, eng_picture_truth(whole), truth, &v->thumbnail, e);
    for (int k = 0; k < 2 && rc == 0; k++) {
        rc = pvp_ask(v, whole, k, rgb, v->grid, e);
        if (rc == 0) rc = enlarged_error(v, rgb, truth, &v->plain[k], e);
    }
    mem_free(rgb);
    return rc;
}

static int pvp_save(const struct pvp *v, const char *name, const char *what, const uint8_t *rgb,
                    struct err *e) {
    char file[600];
    snprintf(file, sizeof(file), "%.*s.%s", (int)(strrchr(name, '.') - name), name, what);
    return eval_save(v->eval, file, rgb, v->side, e);
}

/* v->answer against the truth (side, side, 3). */
static int pvp_judge(struct pvp *v, const char *name, const uint8_t *truth, struct err *e) {
    for (int k = 0; k < 2; k++) {
        double error = mean_error(v->answer[k], truth, (size_t)v->side * (size_t)v->side * 3);
        v->each[k][v->pictures] = (float)error;
        v->error[k] += error;
        if (v->cfg->out && pvp_save(v, name, eng_estimate_words[estimates[k]], v->answer[k], e))
            return e->code;
    }
    if (v->cfg->out && pvp_save(v, name, "truth", truth, e)) return e->code;
    json_t *item = json_pack("{s:s}", "file", name);
    for (int k = 0; k < 2; k++)
        eval_set(item, eng_estimate_words[estimates[k]], v->each[k][v->pictures]);
    eval_item(v->eval, v->pictures, item);
    for (int k = 0; k < MOSAICS; k++) /* the answers are counted: their bytes serve as scratch */
        v->mosaic[k] += mosaic_error(truth, v->side, mosaics[k], v->answer[0]);
    if (eval_prints(v->eval))
        printf("%-40.40s mode %6.2f  median %6.2f\n", name, v->each[0][v->pictures],
               v->each[1][v->pictures]);
    return 0;
}

/* One picture, rgb (h, w, 3). */
static int pvp_look(struct pvp *v, const char *name, const uint8_t *rgb, int w, int h,
                    struct err *e) {
    struct eng_picture *large, *whole = NULL;
    const double plain[2] = {v->plain[0], v->plain[1]}, thumbnail = v->thumbnail;
    int rc = pvp_part(v, rgb, w, (struct crop){0, 0, w, h}, v->side, &large, e);
    if (rc) return rc;
    uint64_t start = clock_ns();
    rc = ask_tiles(v, rgb, w, h, e);
    v->ns += clock_ns() - start;
    if (rc == 0) rc = pvp_judge(v, name, eng_picture_truth(large), e);
    if (rc == 0 && v->tiles > 1) rc = eng_picture_new(v->eng, rgb, w, h, &whole, e);
    if (rc == 0 && v->tiles > 1) rc = judge_enlarged(v, whole, eng_picture_truth(large), e);
    eng_picture_put(whole);
    eng_picture_put(large);
    if (rc) return rc;
    json_t *item = json_pack("{s:s}", "file", name);
    for (int k = 0; k < 2; k++) {
        eval_set(item, eng_estimate_words[estimates[k]], (double)v->each[k][v->pictures]);
        if (v->tiles > 1) eval_set(item, k ? "plain_median" : "plain_mode", v->plain[k] - plain[k]);
    }
    if (v->tiles > 1) eval_set(item, "thumbnail", v->thumbnail - thumbnail);
    eval_item(v->eval, v->pictures++, item);
    return 0;
}

static int picture(struct pvp *v, const char *dir, const char *name, struct err *e) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    uint8_t *rgb = NULL;
    int w, h;
    struct err why = {0};
    int rc = file_picture(path, &rgb, &w, &h, &why);
    if (rc == 0 && (w < v->tiles || h < v->tiles))
        rc = err_set(&why, E_INVALID, "%s: %d x %d is too small for %d tiles a side", path, w, h,
                     v->tiles);
    if (rc) { /* a picture that can't be read is reported, and left out */
        mem_free(rgb);
        fprintf(stderr, "lammd: left out: %s\n", why.text);
        v->refused++;
        return 0;
    }
    rc = pvp_look(v, name, rgb, w, h, e);
    mem_free(rgb);
    return rc;
}

/* ---- the figures ---- */

static int pvp_by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void pvp_line(const char *name, double levels) {
    printf("  %-26s %7.2f %9.2f %%\n", name, levels, levels * 300 / 255);
}

static void pvp_print_table(struct pvp *v) {
    double n = v->pictures;
    double places = (double)v->side * v->side;
    printf("%u pictures left out, %.0f places each; %.0f answers a second\n\n", v->refused, places,
           2.0 * n * places / ((double)v->ns / 1e9));
    printf("  %-26s %7s %11s\n", "mean absolute error", "levels", "RE");
    for (int k = 0; k < 2; k++)
        pvp_line(eng_estimate_words[estimates[k]], v->error[k] / n);
    for (int k = 0; k < 2 && v->tiles > 1; k++)
        pvp_line(k ? "median, no tiles, enlarged" : "mode, no tiles, enlarged", v->plain[k] / n);
    if (v->tiles > 1) pvp_line("true grid, enlarged", v->thumbnail / n);
    for (int k = 0; k < MOSAICS; k++) {
        char name[32];
        snprintf(name, sizeof(name), "%d x %d thumbnail", mosaics[k], mosaics[k]);
        pvp_line(k ? name : "mean colour", v->mosaic[k] / n);
    }
    printf("  %-26s %7s %9s %%   (read as levels: 20.38)\n", "paper, tower frozen", "17.32",
           "20.38");
    printf("  %-26s %7s %9s %%   (read as levels: 6.65)\n\n", "paper, tower adapted", "5.65",
           "6.65");
    for (int k = 0; k < 2; k++) {
        const float *each = v->each[k];
        qsort(v->each[k], v->pictures, sizeof(*each), pvp_by_size);
        printf("  %-7s by picture: best %.2f, middle %.2f, worst %.2f\n",
               eng_estimate_words[estimates[k]], each[0], each[v->pictures / 2],
               each[v->pictures - 1]);
    }
}

static void pvp_report(const struct pvp *v) {
    double n = v->pictures;
    json_t *o = v->eval->report;
    eval_head(v->eval, v->pictures, "pictures");
    json_object_set_new(o, "left_out", json_integer(v->refused));
    json_object_set_new(o, "places", json_integer((json_int_t)v->side * v->side));
    json_object_set_new(o, "tiles", json_integer(v->tiles));
    for (int k = 0; k < 2; k++) {
        json_t *figures = json_object();
        eval_set(figures, "mae_levels", v->error[k] / n);
        eval_set(figures, "re_percent", v->error[k] / n * 300 / 255);
        eval_calib_set(figures, "calibration", &v->calib[k]);
        json_object_set_new(o, eng_estimate_words[estimates[k]], figures);
    }
    for (int k = 0; k < 3 && v->tiles > 1; k++) {
        static const char *const names[] = {"enlarged_mode", "enlarged_median", "enlarged_truth"};
        json_t *figures = json_object();
        eval_set(figures, "mae_levels", (k < 2 ? v->plain[k] : v->thumbnail) / n);
        json_object_set_new(o, names[k], figures);
    }
    for (int k = 0; k < MOSAICS; k++) {
        char name[32];
        snprintf(name, sizeof(name), "thumbnail_%d", mosaics[k]);
        json_t *figures = json_object();
        eval_set(figures, "mae_levels", v->mosaic[k] / n);
        json_object_set_new(o, name, figures);
    }
}

static int pvp_run(struct pvp *v, const char *dir, struct err *e) {
    char **list = NULL;
    int found = 0;
    if (list_names(dir, &list, &found, e)) return e->code;
    int n = v->cfg->limit && found > v->cfg->limit ? (int)v->cfg->limit : found;
    for (int k = 0; k < 2; k++) {
        v->each[k] = mem_must((size_t)(n + 1) * sizeof(*v->each[k]));
        v->answer[k] = mem_must((size_t)v->side * (size_t)v->side * 3);
    }
    v->points = places_of(v->grid);
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++)
        rc = picture(v, dir, list[i], e);
    if (rc == 0 && !v->pictures)
        rc = err_set(e, E_NOT_FOUND, "%s: no PNG or JPEG picture that can be read", dir);
    if (rc == 0) {
        v->eval->ns = v->ns;
        pvp_report(v);
        if (eval_prints(v->eval)) pvp_print_table(v);
    }
    for (int k = 0; k < 2; k++) {
        mem_free(v->each[k]);
        mem_free(v->answer[k]);
    }
    mem_free(v->points);
    free_names(list, found);
    return rc;
}

int eval_pvp(struct eval *v, const char *path, struct err *e) {
    struct pvp *p = mem_must(sizeof(*p));
    *p = (struct pvp){.eval = v, .cfg = v->cfg, .eng = v->eng, .grid = v->grid};
    p->n = (uint32_t)v->grid * (uint32_t)v->grid;
    p->tiles = (int)v->cfg->n_tiles;
    p->side = p->tiles * p->grid;
    int rc = pvp_run(p, path, e);
    mem_free(p);
    return rc;
}
