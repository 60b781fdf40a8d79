/* fuzz_recipe.c - bytes as a recipe, behind lines `--set X` that change it. What is accepted can be
 * written, and read as the same again. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/train/recipe.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SETS_MAX = 64 };

/* The words behind `--set` at the beginning of the text; what is left of it. */
static char *take_sets(char *text, const char *at[SETS_MAX], int *n) {
    static const char mark[] = "--set ";
    char *end;
    while (*n < SETS_MAX && strncmp(text, mark, sizeof(mark) - 1) == 0 &&
           (end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        at[(*n)++] = text + sizeof(mark) - 1;
        text = end + 1;
    }
    return text;
}

static void fuzz_parse(const char *data, size_t size, const struct recipe_sets *sets) {
    struct recipe r, again;
    struct err e = {0};
    if (recipe_parse("fuzz.ini", "/dir", data, size, sets, &r, &e)) {
        must(e.code && *e.text && !strchr(e.text, '\n'));
        return;
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at[SETS_MAX] = {"DATA=/data"};
    struct recipe_sets sets = {.at = at, .n = 1};
    char *text = mem_must(size + 1);
    if (size) memcpy(text, data, size);
    char *rest = take_sets(text, at, &sets.n);
    /* In a block of its own size, so that a byte too far is seen. */
    size_t left = size - (size_t)(rest - text);
    char *exact = mem_must(left ? left : 1);
    memcpy(exact, rest, left);
    fuzz_parse(exact, left, &sets);
    mem_free(exact);
    mem_free(text);
    return 0;
}
