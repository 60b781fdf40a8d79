/* fuzz_join.c - bytes as weights.json: what is accepted lies within its files, under names of its
 * own. And each name as one of a checkpoint. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/files/st_join.h"
#include "engine/import/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_name(const uint8_t *data, size_t size) {
    char from[ST_NAME_MAX + 1] = "", to[ST_NAME_MAX + 1] = "";
    memcpy(from, data, size < ST_NAME_MAX ? size : ST_NAME_MAX);
    enum names_kind kind = names_map(from, to);
    must(strlen(to) <= ST_NAME_MAX);
    if (kind == NAMES_UNKNOWN) must(!strcmp(from, to));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct st_join j;
    struct err e = {0};
    try_name(data, size);
    if (st_join_parse(data, size, &j, &e)) {
        must(e.code && !strchr(e.text, '\n'));
        return 0;
    }
    for (size_t i = 0; i < j.n; i++) {
        const struct st_join_place *p = &j.places[i];
        must(p->file < j.n_files && p->at <= j.files[p->file].bytes);
        must(p->t.bytes <= j.files[p->file].bytes - p->at);
        must(p->t.dtype != ST_OTHER && p->t.name[0]);
    }
    st_join_clear(&j);
    return 0;
}
