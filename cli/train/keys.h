/* keys.h - the keys of a recipe, one row each. Inside of recipe.h. */
#ifndef CLI_TRAIN_KEYS_H
#define CLI_TRAIN_KEYS_H

#include "cli/train/recipe.h"

enum key_kind {
    KEY_TEXT,
    KEY_PATH,   /* relative to the recipe; ${NAME} is replaced */
    KEY_WHOLE,  /* int64_t */
    KEY_REAL,   /* double */
    KEY_WORD,   /* int64_t: one of `words` */
    KEY_BITS,   /* int64_t: some of `words`, with commas between, or "all" */
    KEY_BY_TASK /* double[SAMPLE_TASKS]: the key's name goes on with a task's */
};
struct key {
    enum recipe_section in;
    const char *name;
    enum key_kind kind;
    int is_digest; /* does it change the weights? */
    size_t at;     /* offset of its field in the section's struct */
    double least, most, start;
    const char *const *words; /* NULL behind the last */
    const char *help;
};

const struct key *keys_all(size_t *n);
/* The row of that name; *task: of which, where it is by task, else 0. NULL: there is none. */
const struct key *keys_find(enum recipe_section in, const char *name, int *task);
/* The key of the section whose name is most like `name`; NULL: none is. `text` holds it. */
const char *keys_near(enum recipe_section in, const char *name, char text[64]);
/* Fill the fields of a section with what they are when nothing is said. */
void keys_start(enum recipe_section in, void *fields);
/* A value, all but texts and paths -> its field. E_INVALID with what the key takes. */
int keys_read(const struct key *k, int task, const char *value, void *fields, struct err *e);
/* The other way. */
void keys_write(const struct key *k, int task, const void *fields, struct buf *out);
/* What the key takes: "a whole number from 1 to 9". */
void keys_takes(const struct key *k, char *to, size_t cap);
/* All keys as a table of Markdown: `lammd train --keys`. */
void keys_print(FILE *to);

#endif
