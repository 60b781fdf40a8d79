/* near.h - which name was meant, when one is not known: "did you mean ...?". Thread: any. */
#ifndef CLI_NEAR_H
#define CLI_NEAR_H

/* Letters to insert, delete or replace until a is b (Levenshtein). Names of more than 63 bytes are
 * near to nothing. */
int near_distance(const char *a, const char *b);
/* The distance from which on another name is no longer near: more than half of `name` is wrong. */
int near_most(const char *name);

#endif
