/* test_admin.c - POST /v1/admin/reload asks the server, and says how it went. */
#include "tests/unit/api/rig.h"

struct server {
    int n_keys, code;
};

static int reload(void *ud, int *n_keys, struct err *e) {
    const struct server *s = ud;
    *n_keys = s->n_keys;
    return s->code ? err_set(e, s->code, "line 3: ID is wrong") : 0;
}

TEST(admin_reloads) {
    struct rig r;
    struct server s = {.n_keys = 7};
    const struct rig_request q = {.path = "/v1/admin/reload"};
    rig_open(&r, 8);
    rig_send(&r, &q); /* there is nothing to reload */
    CHECK_EQ(r.reply->status, 200);
    json_t *o = rig_json(&r);
    CHECK(json_is_null(json_object_get(o, "keys")));
    json_decref(o);
    api_set_reload(r.api, reload, &s);
    rig_send(&r, &q);
    o = rig_json(&r);
    CHECK_EQ(rig_number(o, "keys"), 7);
    json_decref(o);
    s.code = E_FORMAT;
    rig_send(&r, &q);
    rig_check_problem(&r, 409, "reload_failed", NULL, "line 3: ID is wrong; what was loaded stays");
    rig_close(&r);
}
