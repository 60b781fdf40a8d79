/* line.h - one line of a JSONL file: what is to be learnt about which pictures.
 *
 *     {"task": "refer", "image": "a.jpg", "sentence": "the brown dog", "box": [12, 3, 99, 64]}
 *     {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": "a dog"}]}
 *
 * docs/training-data.md has every field and every fault. A line is read strictly: each field that
 * is not meant for its task is a fault, and so is a text that can't stand in a prompt. What needs
 * the pictures themselves (does the box lie inside?) is checked by source_check.c.
 *
 * All texts are borrowed from the line's own tree and arena. Thread: any, a line each.
 */
#ifndef DATA_SOURCE_LINE_H
#define DATA_SOURCE_LINE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "data/rounds.h"
#include "data/source.h"
#include "kernels/base/mem.h"

enum {
    LINE_DEPTH_MAX = 16,
    LINE_PARTS_MAX = 1 << 16, /* brackets, commas and colons */
    LINE_PHRASES_MAX = 100,
    LINE_BOXES_MAX = 100, /* of a phrase, or of what a question is about */
    LINE_ANSWERS_MAX = 64,
    LINE_IDS_MAX = 1024,
    LINE_ARENA_MAX = 64 << 20 /* more than any line can fill */
};

/* Why a line is bad. */
struct line_fault {
    const char *code; /* a word of docs/training-data.md */
    char field[64];
    char reason[200];
};
/* Fills it, unless it is filled; returns E_FORMAT. */
int line_bad(struct line_fault *f, const char *code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

struct line_phrase {
    const char *text;
    size_t at;                /* where it stands in the caption */
    const double (*boxes)[4]; /* (n_boxes) x1, y1, x2, y2 in pixels */
    uint32_t n_boxes;
};
enum line_mask_kind {
    LINE_MASK_NONE,
    LINE_MASK_FILE, /* a PNG: what isn't black */
    LINE_MASK_IDS,  /* a PNG: where R + 256 G + 65536 B is one of ids, as COCO's panoptic has it */
    LINE_MASK_COCO  /* run lengths or polygons, refs.h */
};
struct line_mask {
    enum line_mask_kind kind;
    const char *file;
    const uint32_t *ids; /* (n_ids) */
    uint32_t n_ids;
    const json_t *coco;
};
enum line_orient { LINE_ORIENT_OF_SOURCE, LINE_ORIENT_STORED, LINE_ORIENT_SHOWN };

struct line {
    json_t *root;
    struct arena *mem;
    unsigned tasks; /* a bit for each enum sample_task */
    /* Names of files, or data URLs. */
    const char *pictures[SAMPLE_PICTURES_MAX];
    uint32_t n_pictures;
    enum line_orient orient;
    const char *sentence, *caption, *question; /* NULL: none */
    const char *const *answers;                /* (n_answers), any of them is right */
    uint32_t n_answers;
    double box[4]; /* x1, y1, x2, y2 in pixels */
    /* (n_about) boxes of what the question is about; none: that isn't there. NULL: not told. */
    const double (*about)[4];
    uint32_t n_about;
    struct line_mask mask;
    const struct line_phrase *phrases; /* (n_phrases) */
    uint32_t n_phrases;
    const struct sample_turn *turns; /* (n_turns) of a chat */
    uint32_t n_turns;
    uint8_t action[ROUNDS_VALUES_MAX];
};

/* 0; E_FORMAT: *why tells it, E_NOMEM. line_clear after failure, too. `check` may be NULL. */
int line_read(const char *text, size_t len, source_check_fn *check, struct line *out,
              struct line_fault *why);
void line_clear(struct line *l);

/* ---- what line.c, line_parts.c and line_chat.c share ---- */

struct line_reading {
    struct line *line;
    source_check_fn *check;
    struct line_fault *why;
};
/* A text of an object, which may stand in a prompt. `name` is told in faults. */
int line_text(const struct line_reading *r, const json_t *v, const char *name, int in_chat,
              const char **out);
/* Bytes of the line's arena; NULL: no memory. */
void *line_take(const struct line_reading *r, size_t n, size_t size);
/* A picture's name or data URL joins line->pictures. */
int line_picture(const struct line_reading *r, const json_t *v, const char *name);
int line_box(const struct line_reading *r, const json_t *v, const char *name, double box[4]);
int line_read_mask(const struct line_reading *r, const json_t *v);
int line_read_phrases(const struct line_reading *r, const json_t *v);
int line_read_about(const struct line_reading *r, const json_t *v);
int line_read_answers(const struct line_reading *r, const json_t *v);
int line_read_action(const struct line_reading *r, const json_t *game, const json_t *action);
int line_read_messages(const struct line_reading *r, const json_t *v);

#endif
