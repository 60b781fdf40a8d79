/* manual.h - what else is made of the tables of commands and options, when lammd is built: the
 * generated parts of its manual pages, the example of lammd.conf, the completion of bash.
 *
 *     manual_fill(page, stdout, &e);      // docs/man/lammd.8.in -> lammd.8
 *
 * tools/manual.c is the program that calls these; lammd itself doesn't. Thread: main's.
 */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

#include <stdio.h>

#include "cli/cmd.h"

/* Copy a page of roff, with a generated text in place of each line that is a mark:
 *     @commands@   each command: what it does, arguments, options, examples
 *     @keys@       each option that lammd.conf may have
 * and with the version in place of @version@. E_FORMAT: a mark that isn't known. E_TOO_BIG: a line
 * of more than 4,000 bytes. */
int manual_fill(FILE *page, FILE *to, struct err *e);
/* Every option that lammd.conf may have, in comments, with what it means and its default. */
void manual_example(FILE *to);
/* A script for bash: commands, their arguments and options, and values where they are a set. */
void manual_completion(FILE *to);

/* Text as roff, in lines of at most 78 bytes: nothing in it is a request or an escape. */
void manual_roff(const char *text, FILE *to);

#endif
