/* meta.c - what is not about pictures: the model, health, the contract, the page.
 *
 * livez answers as long as the process can answer at all. readyz says whether new work would be
 * taken: not while the model is loaded or the server drains, not with a lost device or one that is
 * stuck, not with a full queue. The page and openapi.yaml are embedded (static.h), carry their
 * digest as ETag, and are the only files this program serves. Thread: a worker, or the server's
 * loop for what is API_WATCH.
 */
#include <openssl/evp.h>
#include <string.h>

#include "api/endpoint.h"
#include "api/static.h"
#include "api/wire/json_write.h"
#include "kernels/base/hex.h"

/* The page loads nothing from anywhere else, and nobody may frame it. */
static const char csp[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
                          "data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                          "frame-ancestors 'none'";

/* A model in OpenAI's shape, with what a client has to know to ask: how large the grid is, and how
 * large a picture may be. An adapter has the base as its parent; the alias says what it stands for.
 * `id` is either's name. */
static void meta_write_model(struct api_call *c, const char *id, const struct catalog_model *m) {
    const struct eng_info *info = eng_info(c->api->eng);
    const struct eng_adapter_info *a = m->adapter ? eng_adapter_info(m->adapter) : NULL;
    struct buf *b = &c->body;
    buf_str(b, "{\"id\":");
    json_write_str(b, id);
    buf_printf(b,
               ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"lammd\",\"grid\":%d,"
               "\"image_size\":%d,\"image_tokens\":%d,\"context\":%d,\"parameters\":%llu,"
               "\"sha256\":\"%s\",\"backend\":",
               (long long)c->api->born_s, info->grid, info->image_size, info->image_tokens,
               info->positions, (unsigned long long)(info->parameters + (a ? a->parameters : 0)),
               a ? a->digest : info->digest);
    json_write_str(b, info->backend);
    const struct api_options *most = &c->api->opt;
    buf_printf(b, ",\"limits\":{\"picture_bytes\":%zu,\"pixels\":%llu,\"pixels_costly\":%llu}",
               most->picture_max, (unsigned long long)most->pixels_max,
               (unsigned long long)(most->costly_max < most->pixels_max ? most->costly_max
                                                                        : most->pixels_max));
    if (a) {
        buf_str(b, ",\"parent\":");
        json_write_str(b, info->name);
    }
    if (strcmp(id, m->name) != 0) {
        buf_str(b, ",\"stands_for\":");
        json_write_str(b, m->name);
    }
    buf_char(b, '}');
}

/* The model that `name` means, if there is one. 0, E_NOT_FOUND. */
static int meta_add_model(struct api_call *c, const char *name) {
    struct catalog_model m;
    int rc = catalog_pick(c->api->catalog, name, &m);
    if (rc == 0) meta_write_model(c, name, &m);
    catalog_put(&m);
    return rc;
}

static int models(struct api_call *c) {
    struct catalog_row rows[ENG_ADAPTERS_MAX];
    struct buf *b = &c->body;
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    (void)meta_add_model(c, eng_info(c->api->eng)->name);
    buf_char(b, ',');
    (void)meta_add_model(c, "lammd");
    int n = catalog_loaded(c->api->catalog, rows, ARRAY_LEN(rows));
    for (int i = 0; i < n; i++) {
        buf_char(b, ',');
        meta_write_model(c, rows[i].model.name, &rows[i].model);
        catalog_put(&rows[i].model);
    }
    buf_str(b, "]}\n");
    return call_answer(c, 200, "application/json");
}

static int model(struct api_call *c) {
    if (meta_add_model(c, c->in.arg)) return call_fail_as(c, PROBLEM_MODEL_NOT_FOUND);
    buf_char(&c->body, '\n');
    return call_answer(c, 200, "application/json");
}

static int meta_end_status(struct api_call *c) {
    buf_str(&c->body, "}\n");
    call_header(c, "Cache-Control", "no-store");
    return call_answer(c, 200, "application/json");
}

static int answer_status(struct api_call *c, const char *word) {
    buf_printf(&c->body, "{\"status\":\"%s\"", word);
    return meta_end_status(c);
}

/* Whoever shares work out among several servers sees by it that all have the same model, and that
 * all answer by the same adapter: `serves` is the system_fingerprint of what answers by default. */
static int answer_ready(struct api_call *c) {
    struct catalog_standing s;
    catalog_standing(c->api->catalog, &s);
    buf_printf(&c->body, "{\"status\":\"ready\",\"fingerprint\":\"fp_%.12s\"",
               eng_info(c->api->eng)->digest);
    if (c->api->opt.replica && *c->api->opt.replica)
        buf_printf(&c->body, ",\"replica\":\"%s\"", c->api->opt.replica);
    buf_printf(&c->body, ",\"serves\":\"fp_%.12s\"", s.served);
    if (s.is_shared || s.is_behind)
        buf_printf(&c->body, ",\"history\":%llu,\"behind\":%s", (unsigned long long)s.lines,
                   s.is_behind ? "true" : "false");
    return meta_end_status(c);
}

static int livez(struct api_call *c) { return answer_status(c, "alive"); }

static int readyz(struct api_call *c) {
    enum problem_code trouble = api_trouble(c->api);
    return trouble ? call_fail_as(c, trouble) : answer_ready(c);
}

static const char *type_of(const char *path) {
    static const struct {
        const char *ending, *type;
    } types[] = {{".js", "text/javascript; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".png", "image/png"},
                 {".yaml", "application/yaml"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++) {
        if (strcmp(dot, types[i].ending) == 0) return types[i].type;
    }
    return "text/html; charset=utf-8";
}

static const struct api_static *meta_find(const struct api_call *c) {
    char path[96];
    if (c->in.arg)
        snprintf(path, sizeof(path), "/ui/%s", c->in.arg);
    else
        snprintf(path, sizeof(path), "%s", c->route->path);
    for (const struct api_static *f = api_static_table; f->path; f++) {
        if (strcmp(f->path, path) == 0) return f;
    }
    return NULL;
}

/* "0123456789abcdef", quotes included: the first 64 bits of the content's SHA-256. */
static void write_etag(const struct api_static *f, char etag[20]) {
    unsigned char md[EVP_MAX_MD_SIZE] = {0};
    char hex[17];
    size_t n;
    if (!EVP_Q_digest(NULL, "SHA256", NULL, f->bytes, f->len, md, &n)) memset(md, 0, sizeof(md));
    hex_write(md, 8, hex);
    snprintf(etag, 20, "\"%s\"", hex);
}

static int file(struct api_call *c) {
    const struct api_static *f = meta_find(c);
    if (!f) return call_fail_as(c, PROBLEM_NOT_FOUND);
    char etag[20];
    write_etag(f, etag);
    call_header_printf(c, "ETag", "%s", etag);
    call_header(c, "Cache-Control", "no-cache"); /* keep it, but ask whether it is still true */
    const char *known = c->in.if_none_match;
    if (known && (strstr(known, etag) || strcmp(known, "*") == 0)) return call_answer(c, 304, NULL);
    const char *type = type_of(f->path);
    if (strncmp(type, "text/html", 9) == 0) {
        call_header(c, "Content-Security-Policy", csp);
        call_header(c, "Referrer-Policy", "no-referrer");
    }
    call_header(c, "X-Content-Type-Options", "nosniff");
    c->reply.status = 200;
    c->reply.content_type = type;
    c->reply.body = f->bytes;
    c->reply.body_len = f->len;
    c->reply.is_static = 1;
    return API_REPLY;
}

const struct endpoint meta_models_endpoint = {.answer = models};
const struct endpoint meta_model_endpoint = {.answer = model};
const struct endpoint meta_livez_endpoint = {.answer = livez};
const struct endpoint meta_readyz_endpoint = {.answer = readyz};
const struct endpoint meta_static_endpoint = {.answer = file};
