/* internal.h - what a source is made of, for the files of data/source/ and data/draw/.
 *
 * A line of a source is kept as a place in a file and read again when it is drawn. Formats that
 * aren't lines are made into some when they are opened (from_*.c), in memory, so that there is
 * one reader and one check. Lines that show the same pictures in the same way are a group: its
 * talks can hang behind one stem.
 *
 * All of it is written by source_open alone and only read afterwards.
 */
#ifndef DATA_SOURCE_INTERNAL_H
#define DATA_SOURCE_INTERNAL_H

#include "data/source.h"
#include "data/source/line.h"
#include "data/source/store.h"
#include "data/source/table.h"
#include "media/head.h"
#include "media/picture.h"

enum {
    SOURCE_FILES_MAX = 2 * STORE_TARS_MAX, /* of lines */
    SOURCE_HEAD = 64 << 10,   /* bytes that are looked at for a picture's size, at first */
    SOURCE_MADE_MAX = 1 << 30 /* bytes of lines that are made in memory */
};

struct source_file { /* of lines */
    char *name;      /* for people */
    int is_made;     /* its lines lie in `made`, not in `file` */
    struct store_file file;
    struct buf made;
    int32_t space; /* where its pictures are looked for: a tar or STORE_ANY */
    char *prefix;  /* of their names, "pairs/" or "" */
};
struct source_picture {
    struct store_file file; /* its name is the table's key, behind the space */
    struct head head;
};
struct source_line {
    uint64_t at, number; /* in its file; from 1 */
    uint64_t unit;       /* see source_group */
    uint32_t len, file, group;
    uint16_t tasks;
    uint16_t has_picture;
};
struct source_group {
    uint32_t first, n; /* its lines are order[first .. first + n) */
    uint64_t unit;     /* groups of one unit are set aside for judging together */
};
struct source_key { /* what a line's group is known by */
    struct buf text;
    uint64_t unit;
};
struct source {
    struct source_options o;
    char *path;
    struct store *store;
    struct source_file *files;
    uint32_t n_files;
    struct table *names; /* of pictures */
    struct source_picture *pictures;
    uint32_t cap_pictures;
    struct table *inner; /* digests of pictures inside of lines */
    struct table *keys;  /* of groups */
    struct source_line *lines;
    uint32_t n_lines, cap_lines;
    struct source_group *groups;
    uint32_t n_groups;
    uint32_t *order; /* (n_lines) lines by group */
    struct source_report report;
    struct source_error *errors;
    struct arena *texts; /* of the errors */
    struct evp_md_ctx_st *sha;
    uint64_t bytes, bytes_all; /* read, and to be read */
};

/* ---- reading lines (lines.c) ---- */

struct lines {
    const struct source *s;
    const struct source_file *f;
    struct buf window;
    size_t used;         /* of the window */
    uint64_t at, number; /* of the window's first byte; of the line at hand */
    int is_long;         /* the line at hand is too long: it has no text */
};
void lines_begin(struct lines *r, const struct source *s, uint32_t file);
/* 1: the next line, NUL-ended, and where it begins; 0: there is none; E_IO, E_NOMEM. */
int lines_next(struct lines *r, const char **text, size_t *len, uint64_t *at, struct err *e);
void lines_end(struct lines *r);

/* ---- checking lines against their pictures (check.c) ---- */

/* Everything that the line's own text can't tell. 0, E_FORMAT and *why, E_NOMEM. */
int source_check_line(struct source *s, const struct source_line *at, const struct line *l,
                      struct line_fault *why, struct source_key *key);

/* ---- what is set aside for judging (aside.c) ---- */

/* Groups of units up to *last are set aside where a share of `held` is: so many of the units, but
 * one at least, and not all unless held is 1. Units are as good as random numbers, so the lowest
 * are any. Of an empty source *last is 0. E_NOMEM. */
int source_last_aside(const struct source *s, double held, uint64_t *last, struct err *e);

/* ---- what a drawn line shows (get.c) ---- */

/* Line i, read again. line_clear. E_IO, E_FORMAT (its file was changed), E_NOMEM. */
int source_get_line(const struct source *s, uint32_t i, struct line *out, struct err *e);
/* "pairs/train.jsonl: line 12" */
void source_get_where(const struct source *s, uint32_t i, char *to, size_t size);
/* Picture k of it, turned as the line wants it; rgb is given, mem_free. `digest`: of its file's
 * bytes, SHA-256 (32); NULL: not wanted. */
int source_get_picture(const struct source *s, const struct source_line *at, const struct line *l,
                       uint32_t k, struct picture *out, uint8_t *digest, struct err *e);
/* Its mask (h, w) of zeros and ones, in the same turn, w x h being the picture's; given. */
int source_get_mask(const struct source *s, const struct source_line *at, const struct line *l,
                    int w, int h, uint8_t **bits, struct err *e);
/* Is EXIF's orientation followed? */
int source_is_shown(const struct source *s, const struct line *l);
/* Bytes of a file of the line's space, appended. */
int source_get_file(const struct source *s, uint32_t file, const char *name, struct buf *out,
                    struct err *e);
/* Number of a picture that is known, or TABLE_NONE. */
uint32_t source_find_picture(const struct source *s, uint32_t file, const char *name);
/* "SPACE/PREFIXNAME" */
int source_picture_key(const struct source *s, uint32_t file, const char *name, char to[640]);

/* ---- making files of lines (from_*.c) ---- */

/* A new file of lines that are made; `name` is told in messages. NULL: too many. */
struct source_file *source_make(struct source *s, const char *name, struct err *e);
/* One line, and a line break. E_TOO_BIG, E_NOMEM. */
int source_make_line(struct source_file *f, json_t *line, struct err *e); /* takes `line` */
/* Which format is it? They open the store, and name or make the files of lines. */
int source_find_files(struct source *s, const char *path, struct err *e);
int source_from_coco(struct source *s, const char *path, struct err *e);   /* FILE.json, folder */
int source_from_rounds(struct source *s, const char *path, struct err *e); /* folder */

#endif
