/* sampler_rig.c - see sampler_rig.h. */
#include "sampler_rig.h"

#include <stdio.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "tests/check.h"
#include "tests/unit/data/tars.h"

const struct sampler_form sampler_rig_form = {.grid = GRID,
                                              .is_yx = 1,
                                              .image_size = 32,
                                              .tokens_w = 4,
                                              .tokens_h = 4,
                                              .has_things = 1,
                                              .resize = resize_picture};

struct source *sampler_rig_source(struct rig *r, const char *lines) {
    struct buf tar;
    struct source *s;
    struct err e = {0};
    rig_open(r);
    buf_init(&tar, 1 << 20);
    for (int i = 0; i < PICTURES; i++) {
        struct buf b;
        char name[16];
        buf_init(&b, 1 << 16);
        tars_png(&b, 20 + i, 16, i);
        snprintf(name, sizeof(name), "%d.png", i);
        tars_add(&tar, name, '0', b.p, b.len);
        buf_clear(&b);
    }
    tars_add(&tar, "x.jsonl", '0', lines, strlen(lines));
    tars_end(&tar);
    const char *path = rig_bytes(r, "x.tar", tar.p, tar.len);
    if (source_open(path, &(struct source_options){0}, &s, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    const struct source_report *p = source_report(s);
    if (p->bad) test_failed(__FILE__, __LINE__, "%s: %s", p->errors[0].code, p->errors[0].reason);
    buf_clear(&tar);
    return s;
}

struct sampler *sampler_rig_open(const struct sampler_entry *mix, uint32_t n, uint32_t items) {
    struct sampler *s;
    struct err e = {0};
    const struct sampler_options o = {
        .mix = mix, .n_mix = n, .seed = 5, .items = items, .form = sampler_rig_form};
    if (sampler_open(&o, &s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return s;
}

struct sampler_draw *sampler_rig_draw(const struct sampler *s, uint64_t step, uint32_t item) {
    struct sampler_draw *d;
    struct err e = {0};
    if (sampler_draw(s, step, item, &d, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return d;
}
