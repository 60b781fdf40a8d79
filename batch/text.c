/* text.c - see text.h. */
#include "batch/text.h"

#include <jansson.h>

#include "kernels/base/mem.h"

json_t *text_json(const char *s) {
    json_t *v = json_string(s);
    if (v) return v;
    char *plain = mem_strdup(s);
    for (char *c = plain; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    v = json_string(plain);
    mem_free(plain);
    return v;
}
