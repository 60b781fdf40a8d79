/* painting.h - the pixels of /v1/reconstruct: which are asked, in which order, and what came.
 *
 * A painting has tiles x tiles parts, each a picture of its own for the model: a crop of the
 * request's, as large as it is there. One tile is the picture itself. Each tile is asked for its
 * places coarse to fine: first every 16th in both directions, then what every 8th adds, and so on.
 * For a stream that is two rounds through the tiles: the coarse places of all of them first, so
 * that the whole picture stands early.
 *
 * A few jobs run at a time. What has been told of a job is dropped with it, and crops are made when
 * they are due (crops.h). So a painting of 64 tiles holds as many pictures and answers as one of 8.
 *
 *     painting_begin(c, p);
 *     painting_tell(c, p, most, told, ud);     what is there, and not told yet
 *     painting_go_on(c, p);                    worker: asks what is due
 */
#ifndef API_TASK_PAINTING_H
#define API_TASK_PAINTING_H

#include "api/call.h"
#include "api/task/crops.h"

enum { PAINTING_COARSEST = 16, PAINTING_TILES_MAX = 8, PAINTING_SIDE_MAX = 1024 };
enum { PAINTING_ASKS_MAX = 2 * PAINTING_TILES_MAX * PAINTING_TILES_MAX };

struct painting_place {
    uint16_t x, y; /* in its tile */
};

struct painting_ask {
    uint32_t told; /* answers */
    int is_over;   /* all are */
};

struct painting {
    /* what is asked for; the endpoint's to set */
    int width, height, tiles;
    int region[4]; /* x, y, w, h in grid units, of each tile */
    int estimate, uncertainty, compare, is_coarse_first;
    /* its own */
    uint32_t n, told;              /* pixels; of them told */
    uint32_t n_places, n_coarse;   /* of a tile; of them, in the first round */
    struct painting_place *places; /* (n_places) in the order of the questions */
    const uint8_t *truth;          /* (height, width, 3): the original at the places asked */
    uint8_t *own_truth;
    uint64_t error;              /* sum of |answer - truth| over what is told */
    int n_asks, n_asked, n_over; /* rounds times tiles; the k-th is about tile k % tiles^2 */
    int blocked_at;              /* 1 + n_over when the queue was full; 0: it wasn't */
    struct painting_ask asks[PAINTING_ASKS_MAX];
    struct eng_picture *ahead[CROPS_MAX]; /* of the asks from n_asked on; then NULL */
    struct quotas *quotas;                /* that count its tiles; NULL: not yet */
    struct account *account;
};

/* A pixel of the picture and the model's answer. */
typedef void painting_fn(void *ud, int x, int y, const struct eng_answer *a);

/* May it be painted in so many tiles: does it fit the time and the memory? 0, or -1 with the
 * problem. Before anything is decoded. */
int painting_check(struct api_call *c, struct painting *p);
/* Room, and the first questions. 0, or -1 with the problem. */
int painting_begin(struct api_call *c, struct painting *p);
/* Asks what is due and drops what is over. 0, or -1 with the problem. */
int painting_go_on(struct api_call *c, struct painting *p);
/* Would painting_go_on ask something? */
int painting_is_due(const struct painting *p);
/* How many answers are there that weren't told. */
uint32_t painting_ready(struct api_call *c, const struct painting *p);
/* Tells at most `most` of them. 0, or -1 with the problem: a job failed, and what it had is
 * told. */
int painting_tell(struct api_call *c, struct painting *p, uint32_t most, painting_fn *fn, void *ud);
/* All is told: how long it took is known for those to come. */
void painting_note(struct api_call *c, const struct painting *p);
void painting_clear(struct painting *p);

#endif
