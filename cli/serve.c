/* serve.c - `lammd serve`: the options of the command line become those of the server. */
#include <stdio.h>

#include "cli/cmd.h"
#include "kernels/base/clock.h"

static struct http_options http_options(const struct config *cfg) {
    return (struct http_options){.connections = (int)cfg->connections,
                                 .workers = (int)cfg->workers,
                                 .bodies_max = (size_t)cfg->bodies_mib << 20,
                                 .limits = {.header_ns = (uint64_t)cfg->header_s * CLOCK_S,
                                            .body_ns = (uint64_t)cfg->body_s * CLOCK_S,
                                            .request_ns = (uint64_t)cfg->request_s * CLOCK_S,
                                            .idle_ns = (uint64_t)cfg->idle_s * CLOCK_S},
                                 .hosts = cfg->hosts.at,
                                 .n_hosts = (size_t)cfg->hosts.n,
                                 .is_verbose = (int)cfg->is_verbose};
}

static struct api_options api_options(const struct config *cfg) {
    return (struct api_options){.json_max = (size_t)cfg->json_mib << 20,
                                .picture_max = (size_t)cfg->picture_mib << 20,
                                .pixels_max = (uint64_t)cfg->megapixels * 1000000,
                                .stored_images = (int)cfg->stored_images,
                                .image_ttl_s = (unsigned)cfg->image_ttl_s,
                                .sessions = (int)cfg->sessions,
                                .session_ttl_s = (unsigned)cfg->session_ttl_s,
                                .request_ns = (uint64_t)cfg->request_s * CLOCK_S};
}

struct serve_options cmd_serve_options(const struct config *cfg, const char *model) {
    struct eng_options engine = config_engine(cfg, model);
    engine.queue_ns = (uint64_t)cfg->queue_s * CLOCK_S;
    return (struct serve_options){.listen = cfg->listen.at,
                                  .n_listen = cfg->listen.n,
                                  .engine = engine,
                                  .api = api_options(cfg),
                                  .http = http_options(cfg),
                                  .drain_s = (unsigned)cfg->drain_s};
}

int cmd_serve(const struct config *cfg) {
    if (cfg->rest.n) {
        fprintf(stderr, "lammd: unexpected argument %s; see lammd serve --help\n", cfg->rest.at[0]);
        return 2;
    }
    char path[4096];
    struct serve_options o = cmd_serve_options(cfg, config_model(cfg, path));
    struct err e = {0};
    int status = serve(&o, &e);
    return status < 0 ? cmd_fail(&e) : status;
}
