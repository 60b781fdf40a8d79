/* serve.c - `lammd serve`: the options of the command line become those of the server. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "kernels/base/clock.h"

enum { SLOTS_USUAL = 4 };

static struct http_options http_options(const struct config *cfg) {
    return (struct http_options){.connections = (int)cfg->connections,
                                 .workers = (int)cfg->workers,
                                 .bodies_max = (size_t)cfg->bodies_mib << 20,
                                 .limits = {.header_ns = (uint64_t)cfg->header_s * CLOCK_S,
                                            .body_ns = (uint64_t)cfg->body_s * CLOCK_S,
                                            .request_ns = (uint64_t)cfg->request_s * CLOCK_S,
                                            .idle_ns = (uint64_t)cfg->idle_s * CLOCK_S},
                                 .origins = {.hosts = cfg->hosts.at,
                                             .n_hosts = (size_t)cfg->hosts.n,
                                             .origins = cfg->origins.at,
                                             .n_origins = (size_t)cfg->origins.n},
                                 .callers = {.proxies = cfg->nets, .n_proxies = cfg->proxies.n},
                                 .is_verbose = (int)cfg->is_verbose};
}

static struct api_options api_options(const struct config *cfg) {
    return (struct api_options){.json_max = (size_t)cfg->json_mib << 20,
                                .picture_max = (size_t)cfg->picture_mib << 20,
                                .upload_max = (size_t)cfg->upload_mib << 20,
                                .pixels_max = (uint64_t)cfg->megapixels * 1000000,
                                .costly_max = (uint64_t)cfg->megapixels_costly * 1000000,
                                .decoded_max = (size_t)cfg->decoded_mib << 20,
                                .stored_images = (int)cfg->stored_images,
                                .image_ttl_s = (unsigned)cfg->image_ttl_s,
                                .sessions = (int)cfg->sessions,
                                .session_ttl_s = (unsigned)cfg->session_ttl_s,
                                .request_ns = (uint64_t)cfg->request_s * CLOCK_S,
                                .replica = cfg->replica,
                                .shared_adapters = cfg->shared_adapters};
}

/* Slots for adapters: only where adapters are kept. */
static void serve_slots(const struct config *cfg, struct eng_options *o) {
    int has_folder = cfg->state || cfg->shared_adapters;
    int n = cfg->adapters ? (int)cfg->adapters : has_folder ? SLOTS_USUAL : 0;
    int overlays = cfg->adapter_overlays ? (int)cfg->adapter_overlays : n;
    o->adapters = n < 0 ? 0 : n;
    o->adapter_rank = (int)cfg->adapter_rank;
    o->adapter_overlays = overlays < 0 ? 0 : overlays < o->adapters ? overlays : o->adapters;
}

struct serve_options cmd_serve_options(const struct config *cfg, const char *model) {
    struct eng_options engine = config_engine(cfg, model);
    engine.queue_ns = (uint64_t)cfg->queue_s * CLOCK_S;
    serve_slots(cfg, &engine);
    return (struct serve_options){
        .listen = cfg->listen.at,
        .n_listen = cfg->listen.n,
        .listen_tls = cfg->listen_tls.at,
        .n_listen_tls = cfg->listen_tls.n,
        .tls = {.cert = cfg->tls_cert, .key = cfg->tls_key, .client_ca = cfg->tls_client_ca},
        .engine = engine,
        .api = api_options(cfg),
        .http = http_options(cfg),
        .admin_socket = cfg->admin_socket,
        .keys = cfg->key_file,
        .audit = cfg->audit,
        .state = cfg->state,
        .is_insecure = (int)cfg->is_insecure,
        .state_free = (uint64_t)cfg->state_free_mib << 20,
        .delay_s = (unsigned)cfg->delay_s,
        .drain_s = (unsigned)cfg->drain_s};
}

/* The file of keys that systemd hands over (LoadCredential=api-keys:FILE); NULL: none. */
static const char *credential(char *path, size_t size) {
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    int n = folder ? snprintf(path, size, "%s/api-keys", folder) : 0;
    return n > 0 && (size_t)n < size && access(path, F_OK) == 0 ? path : NULL;
}

static int64_t chosen(int64_t wanted, int has_keys, int64_t usual) {
    return wanted || !has_keys ? wanted : usual;
}

/* Of what there is room for; what is left is for others. */
static int part(int64_t wanted, int64_t of, int parts) {
    return (int)(wanted ? wanted : (of + parts - 1) / parts);
}

/* What one caller may have at once. What is done in moments has no limits by itself where all are
 * on one machine; what stays has, since nobody else could begin. */
static void limit(const struct config *cfg, int has_keys, struct api_options *o) {
    o->limits =
        (struct api_limits){.requests = (unsigned)chosen(cfg->key_requests, has_keys, 64),
                            .tokens = (uint64_t)cfg->key_tokens,
                            .body_bytes = (uint64_t)chosen(cfg->key_body_mib, has_keys, 64) << 20,
                            .images = part(cfg->key_images, cfg->stored_images, 2),
                            .sessions = part(cfg->key_sessions, cfg->sessions, has_keys ? 4 : 2),
                            .uploads = (unsigned)chosen(cfg->key_uploads, has_keys, 2)};
    o->is_queue_shared = has_keys;
}

/* Whole paths: runs have another folder. */
struct serve_paths {
    char program[4096], model[4096], recipes[4096];
};

static void serve_jobs(const struct config *cfg, const char *model, struct serve_paths *p,
                       struct serve_options *o) {
    char path[4096];
    if (!cfg->state) return;
    ssize_t n = readlink("/proc/self/exe", p->program, sizeof(p->program) - 1);
    p->program[n > 0 ? n : 0] = '\0';
    if (!realpath(model, p->model)) snprintf(p->model, sizeof(p->model), "%s", model);
    const char *recipes = cfg->recipes ? cfg->recipes : config_recipes(path);
    if (!realpath(recipes, p->recipes)) snprintf(p->recipes, sizeof(p->recipes), "%s", recipes);
    o->jobs = (struct jobs_options){.dir = cfg->state,
                                    .program = p->program,
                                    .model = p->model,
                                    .recipes = p->recipes,
                                    .device = cfg->train_device,
                                    .threads = (int)cfg->train_threads,
                                    .launcher = (enum jobs_launcher)cfg->launcher,
                                    .live_max = (int)cfg->jobs,
                                    .owner_max = (int)cfg->key_jobs,
                                    .batch_bytes = (uint64_t)cfg->key_batch_mib << 20,
                                    .memory_mib = (uint64_t)cfg->train_memory_mib,
                                    .keeps_checkpoints = cfg->is_keeping_checkpoints != 0};
}

int cmd_serve(const struct config *cfg) {
    if (cfg->rest.n) {
        fprintf(stderr, "lammd: unexpected argument %s; see lammd serve --help\n", cfg->rest.at[0]);
        return 2;
    }
    if (cfg->adapters > 0 && !cfg->state && !cfg->shared_adapters) {
        fprintf(stderr, "lammd: --adapters needs a folder where they are kept: --state DIR, or "
                        "--shared-adapters DIR\n");
        return 2;
    }
    if (cfg->is_trial) {
        puts("lammd: the options are right");
        return 0;
    }
    char path[4096], keys[4096];
    struct serve_options o = cmd_serve_options(cfg, config_model(cfg, path));
    if (!o.keys) o.keys = credential(keys, sizeof(keys));
    limit(cfg, o.keys != NULL, &o.api);
    struct serve_paths paths;
    serve_jobs(cfg, o.engine.model, &paths, &o);
    struct err e = {0};
    int status = serve(&o, &e);
    return status < 0 ? cmd_fail(&e) : status;
}
