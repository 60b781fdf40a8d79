/* fuzz_recipe.c - bytes as a recipe. What is accepted can be written, and read as the same again.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/train/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const at[] = {"DATA=/data"};
    static const struct recipe_sets sets = {.at = at, .n = 1};
    struct recipe r, again;
    struct err e = {0};
    if (recipe_parse("fuzz.ini", "/dir", (const char *)data, size, &sets, &r, &e)) {
        must(e.code && *e.text && !strchr(e.text, '\n'));
        return 0;
    }
    must(r.n_stages > 0 && recipe_steps(&r) > 0);
    struct buf text;
    buf_init(&text, 16 << 20);
    recipe_write(&r, 0, &text);
    must(!text.bad);
    must(recipe_parse("again.ini", "", (const char *)text.p, text.len, NULL, &again, NULL) == 0);
    char digest[2][65];
    recipe_digest(&r, digest[0]);
    recipe_digest(&again, digest[1]);
    must(strcmp(digest[0], digest[1]) == 0);
    buf_clear(&text);
    recipe_close(&r);
    recipe_close(&again);
    return 0;
}
