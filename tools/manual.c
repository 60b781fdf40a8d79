/* manual.c - the program that makes lammd's manual pages, its example of lammd.conf and the
 * completion of bash, while lammd is built: see cli/manual.h.
 *
 *     manual page < docs/man/lammd.8.in > lammd.8
 *     manual example > lammd.conf.example
 *     manual completion > lammd
 */
#include <stdio.h>
#include <string.h>

#include "cli/manual.h"

int main(int argc, char **argv) {
    const char *what = argc == 2 ? argv[1] : "";
    struct err e = {0};
    int rc = 0;
    if (strcmp(what, "page") == 0)
        rc = manual_fill(stdin, stdout, &e);
    else if (strcmp(what, "example") == 0)
        manual_example(stdout);
    else if (strcmp(what, "completion") == 0)
        manual_completion(stdout);
    else
        rc = err_set(&e, E_INVALID, "usage: manual page|example|completion");
    if (rc == 0 && (fflush(stdout) || ferror(stdout)))
        rc = err_set(&e, E_IO, "standard output can't be written");
    if (rc) fprintf(stderr, "manual: %s\n", e.text);
    return rc != 0;
}
