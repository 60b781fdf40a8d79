/* jsonscan.c - bounds on nesting and size of JSON text, see jsonscan.h.
 *
 * Strings are skipped by looking for the closing quote and stepping over whatever follows a
 * backslash. On text that is not JSON the counts mean nothing, and the parser refuses it anyway.
 */
#include "kernels/base/jsonscan.h"

int jsonscan_bound(const char *text, size_t len, size_t depth, size_t marks, struct err *e) {
    size_t open = 0, seen = 0;
    int in_string = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
            continue;
        }
        if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++open > depth) return err_set(e, E_TOO_BIG, "JSON nests deeper than %zu", depth);
            seen++;
        } else if (c == '}' || c == ']') {
            open -= open > 0;
        } else if (c == ',' || c == ':') {
            seen++;
        }
        if (seen > marks) return err_set(e, E_TOO_BIG, "JSON of more than %zu parts", marks);
    }
    return 0;
}
