/* recon.h - a picture and what the fake engine says of it, for the tests of /v1/reconstruct. */
#ifndef TESTS_UNIT_API_TASK_RECON_H
#define TESTS_UNIT_API_TASK_RECON_H

#include "tests/unit/api/rig.h"

enum { G = 32 }; /* the fake's grid; the picture is of the same size, so truth = picture */

struct recon {
    struct rig r;
    struct buf png;
    uint8_t truth[G * G * 3], said[G * G * 3];
};

void recon_open(struct recon *s);
void recon_close(struct recon *s);
/* The picture as the whole body. */
struct rig_request recon_raw(const struct recon *s, const char *query, const char *accept);
void recon_send(struct recon *s, const char *query, const char *accept);
/* Fails the test where the picture is not rgb (h, w, 3). */
void recon_check_png(const uint8_t *png, size_t len, const uint8_t *rgb, int w, int h);
void recon_check_url(const char *url, const uint8_t *rgb, int w, int h); /* of a data URL */

#endif
