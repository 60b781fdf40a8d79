/* recon.c - see recon.h. */
#include "tests/unit/api/task/recon.h"

#include "api/wire/base64.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

void recon_open(struct recon *s) {
    rig_open(&s->r, G);
    rig_png(&s->png, G, G);
    rig_rgb(s->truth, G, G);
    for (int i = 0; i < G * G; i++)
        fake_rgb(s->truth + 3 * i, s->said + 3 * i);
}

void recon_close(struct recon *s) {
    buf_clear(&s->png);
    rig_close(&s->r);
}

struct rig_request recon_raw(const struct recon *s, const char *query, const char *accept) {
    return (struct rig_request){.path = "/v1/reconstruct",
                                .query = query,
                                .type = "image/png",
                                .accept = accept,
                                .body = s->png.p,
                                .len = s->png.len};
}

void recon_send(struct recon *s, const char *query, const char *accept) {
    struct rig_request q = recon_raw(s, query, accept);
    rig_send(&s->r, &q);
}

void recon_check_png(const uint8_t *png, size_t len, const uint8_t *rgb, int w, int h) {
    struct picture pic;
    CHECK_EQ(picture_decode(png, len, 1 << 20, &pic.rgb, &pic.w, &pic.h, NULL), 0);
    CHECK_EQ(pic.w, w);
    CHECK_EQ(pic.h, h);
    CHECK_MEM(pic.rgb, rgb, (size_t)w * (size_t)h * 3);
    mem_free(pic.rgb);
}

void recon_check_url(const char *url, const uint8_t *rgb, int w, int h) {
    static const char head[] = "data:image/png;base64,";
    CHECK(url && strncmp(url, head, sizeof(head) - 1) == 0);
    uint8_t *png;
    size_t len, at;
    CHECK_EQ(base64_decode(url + sizeof(head) - 1, strlen(url) - sizeof(head) + 1, &png, &len, &at),
             0);
    recon_check_png(png, len, rgb, w, h);
    mem_free(png);
}
