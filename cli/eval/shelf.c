/* shelf.c - pictures by name. The last few are kept, since questions about a picture come together.
 * See eval.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/eval/eval.h"
#include "data/files.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

int eval_find_pictures(struct eval *v, const char *path, struct err *e) {
    char *dir = v->pictures;
    size_t cap = sizeof(v->pictures);
    int n = snprintf(dir, cap, "%s", v->cfg->images ? v->cfg->images : path);
    if (n < 0 || (size_t)n + 16 > cap) return err_set(e, E_INVALID, "the path is too long");
    if (v->cfg->images)
        return file_is_folder(dir) ? 0 : err_set(e, E_IO, "--images %s: no such folder", dir);
    if (!file_is_folder(dir)) {
        char *slash = strrchr(dir, '/');
        if (slash)
            slash[slash == dir] = '\0';
        else
            snprintf(dir, cap, ".");
    }
    size_t len = strlen(dir);
    snprintf(dir + len, cap - len, "/images");
    if (!file_is_folder(dir)) dir[len] = '\0';
    return 0;
}

enum { COCO_NAME = 27 }; /* characters of COCO_train2014_000000123456 */

/* The file of that name, with whichever ending exists. MiniGPT-v2's lists have COCO's names
 * followed by the number of the sentence. */
static int find_file(const struct eval *v, const char *name, char *path, size_t cap,
                     struct err *e) {
    static const char *const endings[] = {"", ".jpg", ".jpeg", ".png"};
    int lengths[2] = {(int)strlen(name), COCO_NAME};
    int ways = strncmp(name, "COCO_", 5) == 0 && lengths[0] > COCO_NAME ? 2 : 1;
    for (size_t i = 0; i < (size_t)ways * ARRAY_LEN(endings); i++) {
        int n = snprintf(path, cap, "%s/%.*s%s", v->pictures, lengths[i / ARRAY_LEN(endings)], name,
                         endings[i % ARRAY_LEN(endings)]);
        if (n > 0 && (size_t)n < cap && access(path, R_OK) == 0 && !file_is_folder(path)) return 0;
    }
    return err_set(e, E_NOT_FOUND, "%s/%s: no such picture", v->pictures, name);
}

int eval_picture(struct eval *v, const char *name, struct eng_picture **out, int *w, int *h,
                 struct err *e) {
    for (int i = 0; i < EVAL_SHELF; i++) {
        const struct eval_picture *p = &v->shelf[i];
        if (!p->name || strcmp(p->name, name) != 0) continue;
        *out = p->picture;
        *w = p->w;
        *h = p->h;
        return 0;
    }
    char path[EVAL_DIR_MAX + 300];
    uint8_t *rgb = NULL;
    struct eng_picture *picture = NULL;
    int rc = find_file(v, name, path, sizeof(path), e);
    if (rc == 0) rc = file_picture(path, &rgb, w, h, e);
    if (rc == 0) {
        rc = eng_picture_new(v->eng, rgb, *w, *h, &picture, e);
        if (rc) err_in(e, "%s", path);
    }
    mem_free(rgb);
    if (rc) return rc;
    struct eval_picture *p = &v->shelf[v->next++ % EVAL_SHELF];
    eng_picture_put(p->picture);
    mem_free(p->name);
    *p = (struct eval_picture){mem_strdup(name), picture, *w, *h};
    *out = picture;
    return 0;
}

int eval_crop(struct eval *v, const char *name, struct crop crop, struct eng_picture **out,
              struct err *e) {
    char path[EVAL_DIR_MAX + 300];
    uint8_t *rgb = NULL;
    int w, h, rc = find_file(v, name, path, sizeof(path), e);
    if (rc == 0) rc = file_picture(path, &rgb, &w, &h, e);
    if (rc) return rc;
    /* Its rows close up in place: a row's new place is never behind its old one. */
    size_t row = (size_t)crop.w * 3;
    for (int y = 0; y < crop.h; y++)
        memmove(rgb + (size_t)y * row,
                rgb + ((size_t)(crop.y + y) * (size_t)w + (size_t)crop.x) * 3, row);
    rc = eng_picture_new(v->eng, rgb, crop.w, crop.h, out, e);
    mem_free(rgb);
    return rc;
}

void eval_clear_pictures(struct eval *v) {
    for (int i = 0; i < EVAL_SHELF; i++) {
        eng_picture_put(v->shelf[i].picture);
        mem_free(v->shelf[i].name);
        v->shelf[i] = (struct eval_picture){0};
    }
}

int eval_save(const struct eval *v, const char *name, const uint8_t *rgb, int side, struct err *e) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.png", v->cfg->out, name);
    return file_write_png(path, rgb, side, side, e);
}
