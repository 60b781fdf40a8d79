/* fuzz_json.c - bytes as the JSON body of a request, and as the text of each of its parameters.
 * What is accepted lies within its bounds; what is refused becomes a problem that is itself valid
 * JSON. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/wire/input.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GRID = 64, POINTS = 100, CHOICES = 8, TEXT = 50 };

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

static void read_more(struct input *in) {
    double threshold = 0.5, box[4] = {0};
    const char *sentence = NULL, *const *choices = NULL;
    uint64_t seed = 0;
    uint32_t n = 0;
    input_number(in, "threshold", 0, 1, &threshold);
    input_numbers(in, "box", "x1,y1,x2,y2", 4, box);
    input_seed(in, "seed", &seed);
    input_text(in, "sentence", TEXT, &sentence);
    input_texts(in, "choices", CHOICES, TEXT, &choices, &n);
    must(threshold >= 0 && threshold <= 1 && seed < UINT64_C(1) << 63 && n <= CHOICES);
    for (int k = 0; k < 4; k++)
        must(isfinite(box[k]));
    must(!sentence || (*sentence && strlen(sentence) <= 4 * TEXT));
    for (uint32_t i = 0; !in->problem->code && i < n; i++)
        must(*choices[i] && strlen(choices[i]) <= 4 * TEXT);
}

static void run(const struct api_input *from, void (*read)(struct input *in)) {
    static const char *const known[] = {"width",    "region",    "estimate", "compare",
                                        "points",   "threshold", "box",      "seed",
                                        "sentence", "choices",   NULL};
    static const struct input_wants wants = {.picture = "image", .known = known};
    struct problem problem = {0};
    struct arena *texts = arena_new(1 << 20);
    struct input in = {
        .from = from, .wants = &wants, .picture_max = 1 << 16, .texts = texts, .problem = &problem};
    int rc = input_open(&in);
    must((rc == 0) == (problem.code == PROBLEM_NONE));
    if (rc == 0) {
        const struct input_picture *p = &in.pictures[0];
        must(in.n_pictures == 1 && (p->bytes != NULL) != (p->id != NULL) && p->len <= 1 << 16);
        read(&in);
    }
    if (problem.code) check_problem(&problem);
    input_close(&in);
    arena_free(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"width",     "region", "estimate", "compare",  "points",
                                        "threshold", "box",    "seed",     "sentence", "choices"};
    struct api_input json = {.content_type = "application/json", .body = data, .body_len = size};
    run(&json, read_all);
    run(&json, read_more);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct api_field query = {.name = names[i], .data = data, .len = size};
        struct api_input raw = {.content_type = "image/png",
                                .body = (const uint8_t *)"x",
                                .body_len = 1,
                                .query = &query,
                                .n_query = 1};
        run(&raw, read_all);
        run(&raw, read_more);
    }
    return 0;
}
