/* bench_photo.c - see bench_photo.h. Thread: main's. */
#include "cli/bench_photo.h"

#include "data/files.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { SIDE = 480, MARK = 12 /* of the side, by what makes a picture another one */ };

/* Soft gradients, a disc and grain. */
static void photo_draw(uint8_t *rgb) {
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            int disc = (x - 200) * (x - 200) + (y - 260) * (y - 260) < 110 * 110;
            int grain = (int)(rng_u64(7, (uint64_t)(y * SIDE + x)) % 16);
            uint8_t *p = rgb + 3 * (y * SIDE + x);
            p[0] = (uint8_t)((disc ? 190 : x / 3) + grain);
            p[1] = (uint8_t)((disc ? 90 : y / 3) + grain);
            p[2] = (uint8_t)((disc ? 40 : 120 - x / 8) + grain);
        }
    }
}

int bench_photo_open(struct bench_photo *p, const char *path, struct err *e) {
    *p = (struct bench_photo){0};
    if (path) return file_picture(path, &p->rgb, &p->w, &p->h, e);
    p->w = p->h = SIDE;
    p->rgb = mem_must((size_t)SIDE * SIDE * 3);
    photo_draw(p->rgb);
    return 0;
}

int bench_photo_new(struct bench_photo *p, struct eng *eng, struct eng_picture **out,
                    struct err *e) {
    uint32_t id = ++p->made;
    int side = (p->w < p->h ? p->w : p->h) / MARK + 1;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++)
                p->rgb[3 * (y * p->w + x) + c] = (uint8_t)(id >> 4 * c << 4);
    return eng_picture_new(eng, p->rgb, p->w, p->h, out, e);
}
