/* source.h - where samples come from: pictures on disk, and lines of text about them.
 *
 *     struct source *s;
 *     rc = source_open("pairs/", &(struct source_options){.check = eng_check_learnt}, &s, e);
 *     const struct source_report *r = source_report(s);   // how many of each task; what is wrong
 *
 * A path is one of these (docs/training-data.md):
 *     FOLDER        with *.jsonl, pictures beside them, or with *.tar that hold both
 *     FILE.jsonl    pictures beside it
 *     FILE.tar      lines and pictures inside
 *     FOLDER        with annotations.json, or instances.json and refs.json: RefCOCO (refs.h)
 *     FILE.json     COCO's instances, COCO's panoptic, RefCOCO, or MiniGPT-v2's list
 *     FOLDER        with rollout.json, or with folders that have one: rounds of a game (rounds.h)
 *     FOLDER        with pictures alone: they ask for nothing but their pixels
 *     FILE          of another name: a tar or lines, as its bytes say; its lines name no files
 *                   beside it
 *
 * All of it is read and checked when it is opened; what stays in memory is an index of the lines,
 * and pictures are decoded when a sample needs them. A bad line is counted, told with its reason,
 * and left out; whether one is too many is up to the caller (sampler.h: bad_max).
 *
 * Thread: source_open and source_close main's; all else any, at the same time too.
 */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include <stdint.h>

#include "engine/sample.h"
#include "kernels/base/err.h"

enum {
    SOURCE_LINES_MAX = 500000,
    SOURCE_LINE_MAX = 16 << 20,       /* bytes of a line */
    SOURCE_LINE_PLAIN_MAX = 64 << 10, /* of one without a picture inside */
    SOURCE_TOLD_MAX = 1000
};

/* May this text stand in a prompt? engine.h's eng_check_learnt. */
typedef int source_check_fn(const char *text, int in_chat, const char *what, struct err *e);

struct source_options {
    const char *pictures; /* folder of a COCO file's pictures; NULL: found beside the file */
    const char *masks;    /* folder of COCO panoptic's PNGs; NULL: named as the file */
    const char *split;    /* of RefCOCO, "train"; NULL: all */
    int is_stored;        /* EXIF's orientation is ignored, unless a line says "shown"; so it is for
                             COCO in any case */
    int is_deep;          /* decode every picture and mask now, to know that they are whole */
    uint32_t told_max;    /* errors that are told; all are counted. 0: 20 */
    source_check_fn *check; /* NULL: only UTF-8 and lengths are looked at */
    /* Called now and then while lines are read, or NULL; anything but 0 ends it: E_CANCELLED. */
    int (*progress)(void *ud, uint64_t lines, uint64_t bytes_done, uint64_t bytes_all);
    void *ud;
};

struct source_error {
    const char *file;
    uint64_t line;      /* from 1; 0: of the file as a whole */
    const char *field;  /* "" when it is of the line as a whole */
    const char *code;   /* a word of docs/training-data.md: "missing_field", "box_outside" ... */
    const char *reason; /* a sentence */
};
struct source_report {
    const char *path;
    char digest[65];              /* SHA-256-sized hex over lines and pictures' names and sizes */
    uint64_t lines;               /* good ones */
    uint64_t bad;                 /* and others */
    uint64_t tasks[SAMPLE_TASKS]; /* lines that have it; a line may have several */
    uint64_t pictures;            /* different ones that good lines speak of */
    const struct source_error *errors;
    uint32_t n_errors; /* told; at most told_max */
};

struct source;
/* E_IO, E_NOT_FOUND (nothing of the above is there), E_FORMAT (a file as a whole: a broken tar, a
 * JSON that isn't COCO's), E_TOO_BIG, E_NOMEM, E_CANCELLED. Bad lines are no error here. */
int source_open(const char *path, const struct source_options *o, struct source **out,
                struct err *e);
void source_close(struct source *s); /* NULL is legal; no sampler may use it any more */
/* Valid until source_close. */
const struct source_report *source_report(const struct source *s);

#endif
