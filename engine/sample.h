/* sample.h - what is learnt from: pictures, and talks about them. Plain data between data/, which
 * makes samples, and engine/train/, which learns them.
 *
 * A sample is one set of pictures and many talks that begin with it. A talk is what a prompt is
 * made of (docs/model.md section 4): questions in turn, each with the answer that is to be learnt.
 * Most talks have one turn:
 *
 *     pictures: a photograph
 *     talks:    "[reconstruct] loc: [12,34] rgb:" -> "[31,6,108]"
 *               "[refer] the brown dog"           -> "{<12><3><100><99>}"
 *               "what is in the picture?"         -> "a dog", "what colour?" -> "brown"
 *
 * Everything is borrowed, and lives as long as the maker says.
 */
#ifndef ENGINE_SAMPLE_H
#define ENGINE_SAMPLE_H

#include <stdint.h>

/* What the answer is about: losses are told by task, and ratios are given by task. */
enum sample_task {
    SAMPLE_PIXELS,
    SAMPLE_MASK,
    SAMPLE_REFER,
    SAMPLE_IDENTIFY,
    SAMPLE_CAPTION,
    SAMPLE_GROUNDING,
    SAMPLE_DETECTION,
    SAMPLE_VQA,
    SAMPLE_CHAT, /* text without a picture, too */
    SAMPLE_DRIVE,
    SAMPLE_SHOOT,
    SAMPLE_TASKS
};
extern const char *const sample_task_words[]; /* "pixels", "mask", ..., NULL */
/* How the games are asked, in serving and in training. */
extern const char sample_drive_text[], sample_shoot_text[];

enum { SAMPLE_PICTURES_MAX = 8, SAMPLE_TURNS_MAX = 64, SAMPLE_TALKS_MAX = 4096 };
enum { SAMPLE_REHEARSE_MAX = 64, SAMPLE_ALSO_MAX = 256 };
enum { SAMPLE_THINGS_MAX = 64, SAMPLE_FEATURES = 48 };

struct sample_picture {
    const uint8_t *rgb; /* (h, w, 3); the whole of it is shown, squashed to the tower's square */
    int w, h;
};

struct sample_turn {
    uint32_t n_pictures;  /* that come with the question: the next ones of the sample */
    const char *question; /* UTF-8, the instruction with its tag if it has one */
    const char *answer;   /* UTF-8 */
};

struct sample_talk {
    const struct sample_turn *turns;
    uint32_t n_turns;
    enum sample_task task;
    float weight; /* of each of its answer tokens; 1 is usual */
    /* Where the attention shall fall while the answer begins, as shares of nothing but yes or no:
     * hold[i] is 1 for picture token i (of all pictures in turn). None is: what is asked for isn't
     * there, and the prompt's first token is where it falls. NULL: anywhere. */
    const uint8_t *hold;
    int is_taught; /* the answer is a stand-in: what is learnt in its place, token by token, is all
                      of the teacher's (train.h) */
};

/* A thing that the first picture shows, for dense questions (train.h). Things that are called alike
 * are asked for as one: "dogs" with two boxes are two things of that text. */
struct sample_thing {
    const char *text;    /* UTF-8: what a talk calls it */
    const uint8_t *mask; /* (grid, grid) of the model's pixel grid, 0 or 1; all 0: it isn't there.
                            NULL: its box alone is known */
    float box[4];        /* x1, y1, x2, y2 as shares of the sides; not read where there is a mask */
};

struct sample {
    const struct sample_picture *pictures;
    uint32_t n_pictures; /* 0: text alone */
    const struct sample_talk *talks;
    uint32_t n_talks;
    const struct sample_thing *things; /* those that are known; others may be there, too */
    uint32_t n_things;                 /* at most SAMPLE_THINGS_MAX */
    /* (tokens high, tokens wide, SAMPLE_FEATURES) what another network saw where each picture token
     * of the first picture is, for dense questions, too. NULL: nobody knows. */
    const float *features;
};

#endif
