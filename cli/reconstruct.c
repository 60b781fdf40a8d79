/* reconstruct.c - `lammd reconstruct PHOTO -o SEEN.png`: the options become the query of a call to
 * POST /v1/reconstruct (local.h).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/local.h"
#include "data/files.h"
#include "kernels/base/mem.h"

enum { QUERY_MAX = 5 };

static size_t read_query(const struct config *cfg, struct api_field query[QUERY_MAX]) {
    const char *const pairs[][2] = {{"width", cfg->width},
                                    {"height", cfg->height},
                                    {"region", cfg->region},
                                    {"tiles", cfg->tiles},
                                    {"estimate", eng_estimate_words[cfg->estimate]}};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (!pairs[i][1]) continue;
        query[n++] = (struct api_field){
            .name = pairs[i][0], .data = (const uint8_t *)pairs[i][1], .len = strlen(pairs[i][1])};
    }
    return n;
}

static int reconstruct_ask(const struct config *cfg, const struct buf *photo, struct err *e) {
    struct api_field query[QUERY_MAX];
    struct api_input in = {.query = query,
                           .n_query = read_query(cfg, query),
                           .content_type = "application/octet-stream",
                           .accept = "image/png",
                           .request_id = "local",
                           .body = photo->p,
                           .body_len = photo->len};
    return local_call(cfg, "/v1/reconstruct", &in, cfg->out, e);
}

int cmd_reconstruct(const struct config *cfg) {
    if (cfg->rest.n != 1 || !cfg->out) return cmd_misused(CMD_RECONSTRUCT);
    if (strcmp(cfg->out, "-") == 0 && isatty(STDOUT_FILENO)) {
        fputs("lammd: a terminal can't show a PNG; write it with -o FILE, or to a pipe\n", stderr);
        return 2;
    }
    struct err e = {0};
    struct buf photo;
    buf_init(&photo, FILE_PICTURE_MAX);
    int rc = file_read(cfg->rest.at[0], &photo, &e);
    if (rc == 0) rc = reconstruct_ask(cfg, &photo, &e);
    if (rc) err_in(&e, "%s", cfg->rest.at[0]);
    buf_clear(&photo);
    return rc ? cmd_fail(&e) : 0;
}
