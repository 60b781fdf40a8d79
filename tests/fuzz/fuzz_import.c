/* fuzz_import.c - bytes as config.json, as an index of shards, or as a tokenizer, in a folder
 * that is imported. Nothing comes of it but a sentence. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/newfile.h"
#include "engine/import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const files[] = {"config.json", "model.safetensors.index.json",
                                    "tokenizer.model", "m.safetensors"};
static const char *const good[] = {"{\"hidden_size\": 64}",
                                   "{\"weight_map\": {\"a\": \"m.safetensors\"}}", "",
                                   "\70\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F16\",\"shape\":[1],"
                                   "\"data_offsets\":[0,2]}}  \1\2"};
static const size_t sizes[] = {19, 37, 0, 66};

static void fuzz_note(void *ud, const char *text) {
    (void)ud;
    must(!strchr(text, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char folder[] = "/dev/shm/fuzz_import-XXXXXX", path[100];
    const char *originals[] = {folder};
    struct import_options o = {.originals = originals, .n_originals = 1, .note = fuzz_note};
    struct import *i;
    struct err e = {0};
    if (!size) return 0;
    must(mkdtemp(folder) != NULL);
    for (size_t k = 0; k < ARRAY_LEN(files); k++) {
        FILE *f;
        snprintf(path, sizeof path, "%s/%s", folder, files[k]);
        must((f = fopen(path, "w")) != NULL);
        int is_it = data[0] % 3 == k;
        (void)fwrite(is_it ? (const char *)data + 1 : good[k], 1, is_it ? size - 1 : sizes[k], f);
        must(fclose(f) == 0);
    }
    must(import_open(&o, &i, &e) == e.code && e.code && !i && !strchr(e.text, '\n'));
    for (size_t k = 0; k < ARRAY_LEN(files); k++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[k]);
        unlink(path);
    }
    must(rmdir(folder) == 0);
    return 0;
}
