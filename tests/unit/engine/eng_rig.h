/* eng_rig.h - whole engines on the fixture models, and the plain loop they have to equal. */
#ifndef TESTS_UNIT_ENGINE_ENG_RIG_H
#define TESTS_UNIT_ENGINE_ENG_RIG_H

#include <stdint.h>

#include "engine/engine.h"

#define TINY        "tests/golden/tiny"
#define TINY_DIGITS "tests/golden/tiny-digits"
#define MINI        "models/lamm-mini" /* with room for a game's prompt; the fixtures have none */
enum { ENG_RIG_GRID = 16, ENG_RIG_ALL = 256 };

/* "cpu" where it is built in, else "ref". */
const char *eng_rig_backend(void);
struct eng *eng_rig_open(const struct eng_options *opt);
/* Picture number n: a made one of another size and content for each; 0 is the golden one. */
struct eng_picture *eng_rig_picture(struct eng *e, int n);
uint8_t *eng_rig_pixels(int n, int *w, int *h); /* mem_free */
/* All places, coarse to fine or so; each once. */
const struct eng_point *eng_rig_points(void);

/* Wait for the end and give the answers by place, y * grid + x; the job must be done and
 * complete. */
void eng_rig_collect(struct eng_job *j, const struct eng_point *points, uint32_t n,
                     struct eng_answer *by_place);
/* The same for all places of a picture through a fresh job. */
void eng_rig_ask_all(struct eng *e, struct eng_picture *picture, enum eng_estimate estimate,
                     int distribution, struct eng_answer *by_place);
int eng_rig_same(const struct eng_answer *a, const struct eng_answer *b, int n); /* bit by bit */
/* Pictures that this device has looked at. */
uint64_t eng_rig_seen(struct eng *e, int device);
void eng_rig_wait(struct eng_job *j); /* for its end */
/* Wait until the statistics show nothing running or waiting. */
void eng_rig_idle(struct eng *e, struct eng_stats *s);
/* Wait until this many bytes are in use: a job counts as ended before the engine lets go of it. */
void eng_rig_memory_back(uint64_t live_bytes);

/* One full prompt at a time, one token after the other, through model_run. */
struct plain;
struct plain *plain_open(const char *dir, int picture);
void plain_close(struct plain *p);
void plain_mode(struct plain *p, int x, int y, uint8_t *rgb);
/* Distribution of one channel given the values before it, by asking for all 256. What an engine may
 * leave out (a text whose beginning is less likely than 1/512) is left out when `is_cut`. */
void plain_channel(struct plain *p, int x, int y, const uint8_t *before, int channel, int is_cut,
                   double *out);

#endif
