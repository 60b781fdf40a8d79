/* rig.h - a folder of a test's own, and files in it. */
#ifndef TESTS_UNIT_DATA_RIG_H
#define TESTS_UNIT_DATA_RIG_H

#include <stddef.h>

enum { RIG_FILES = 16 };

struct rig {
    char dir[64];
    char path[RIG_FILES][128];
    int n;
};

void rig_open(struct rig *r);
/* Its path; valid until rig_close. `text` NULL: nothing is written yet, but rig_close takes it
 * away. */
const char *rig_file(struct rig *r, const char *name, const char *text);
/* The same with bytes that need not be text. */
const char *rig_bytes(struct rig *r, const char *name, const void *bytes, size_t n);
void rig_close(struct rig *r); /* the folder must be empty but for the files above */

#endif
