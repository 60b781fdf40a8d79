/* fine_tuning_recipes.c - which recipes a job may name, and what holds where it asks for nothing
 * else. OpenAI has no such call. Thread: a worker. */
#include <inttypes.h>

#include "api/admin/fine_tuning.h"
#include "api/wire/json_write.h"
#include "kernels/base/mem.h"

static void recipes_write(const struct jobs_recipe *r, struct buf *b) {
    buf_str(b, "{\"id\":");
    json_write_str(b, r->how.recipe);
    buf_str(b, ",\"object\":\"fine_tuning.recipe\",\"description\":");
    json_write_str(b, r->about);
    buf_printf(b, ",\"batch_size\":%" PRId64 ",\"set_aside\":%.6g,\"lammd\":{", r->how.batch,
               r->aside);
    fine_tuning_write_how(&r->how, b);
    buf_printf(b, ",\"steps\":%" PRId64 "}}", r->how.steps);
}

static int fine_tuning_recipes(struct api_call *c) {
    struct jobs_recipe *all = mem_try(JOBS_RECIPES_MAX * sizeof(*all));
    struct err e = {0};
    int n = 0;
    if (!all) return call_fail_as(c, PROBLEM_NO_MEMORY);
    int rc = jobs_recipes(c->api->jobs, all, &n, &e);
    if (rc) {
        mem_free(all);
        (void)fine_tuning_refuse(c, rc, NULL, &e);
        return call_fail(c);
    }
    buf_str(&c->body, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(&c->body, ',');
        recipes_write(&all[i], &c->body);
    }
    buf_str(&c->body, "]}\n");
    mem_free(all);
    return call_answer(c, 200, "application/json");
}

const struct endpoint fine_tuning_recipes_endpoint = {
    .media = &media_json, .enter = fine_tuning_enter, .answer = fine_tuning_recipes};
