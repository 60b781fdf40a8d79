/* fuzz_json.c - bytes as the JSON body of a request, and as the text of each of its parameters.
 * What is accepted lies within its bounds; what is refused becomes a problem that is itself valid
 * JSON. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/call.h"
#include "api/wire/input.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GRID = 64, POINTS = 100 };

static void check_problem(const struct problem *p) {
    struct buf b;
    buf_init(&b, 8192);
    must(problem_write(p, "fuzz", &b) == 0);
    json_t *root = json_loadb((const char *)b.p, b.len, JSON_REJECT_DUPLICATES, NULL);
    must(json_is_object(root));
    json_decref(root);
    buf_clear(&b);
}

static void read_all(struct input *in) {
    static const char *const words[] = {"mode", "median", "mean", NULL};
    int width = 1, region[4] = {0}, word = 0, flag = 0;
    struct eng_point *points = NULL;
    uint32_t n = 0;
    input_int(in, "width", 1, GRID, &width);
    input_ints(in, "region", "x,y,width,height", 4, region);
    input_word(in, "estimate", words, &word);
    input_flag(in, "compare", &flag);
    input_points(in, "points", POINTS, GRID, &points, &n);
    must(width >= 1 && width <= GRID && word >= 0 && word <= 2 && (flag & ~1) == 0);
    must(n <= POINTS && (n > 0) == (points != NULL));
    for (uint32_t i = 0; i < n; i++)
        must(points[i].x < GRID && points[i].y < GRID);
    mem_free(points);
}

static void run(const struct api_input *from) {
    static const char *const known[] = {"width", "region", "estimate", "compare", "points", NULL};
    static const struct api a = {.opt = {.picture_max = 1 << 16}};
    struct input in;
    struct problem p = {0};
    int rc = input_open(&in, &a, from, known, &p);
    must((rc == 0) == (p.row == NULL));
    if (rc == 0) {
        must((in.picture != NULL) != (in.image_id != NULL) && in.picture_len <= 1 << 16);
        read_all(&in);
    }
    if (p.row) check_problem(&p);
    input_close(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"width", "region", "estimate", "compare", "points"};
    run(&(struct api_input){.content_type = "application/json", .body = data, .body_len = size});
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct api_field query = {.name = names[i], .data = data, .len = size};
        run(&(struct api_input){.content_type = "image/png",
                                .body = (const uint8_t *)"x",
                                .body_len = 1,
                                .query = &query,
                                .n_query = 1});
    }
    return 0;
}
