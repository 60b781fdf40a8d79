/* near.c - see near.h. */
#include "cli/near.h"

#include <string.h>

enum { NEAR_NAME_MAX = 63 };

int near_distance(const char *a, const char *b) {
    int row[NEAR_NAME_MAX + 2];
    int n = (int)strlen(b);
    if (n > NEAR_NAME_MAX) return n;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (; *a; a++) {
        int before = row[0]++;
        for (int j = 1; j <= n; j++) {
            int best = before + (*a != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            before = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

int near_most(const char *name) { return (int)strlen(name) / 2 + 1; }
