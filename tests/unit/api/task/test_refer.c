/* POST /v1/refer without a socket: a sentence goes in, a box comes out. */
#include "tests/unit/api/rig.h"

enum { W = 96, H = 72 };

static void send(struct rig *r, const char *path, const char *query, const char *accept) {
    rig_send_png(r, path, query, accept, W, H);
}

TEST(refer_box_in_pixels_and_percent) {
    struct rig r;
    rig_open(&r, 8);
    fake_values(r.eng, 90, 50, 10, 20); /* reversed */
    send(&r, "/v1/refer", "sentence=the dog&estimate=median", NULL);
    CHECK_EQ(r.reply->status, 200);
    const struct eng_ask *ask = fake_asked(r.eng);
    CHECK(ask->task == ENG_REFER && ask->estimate == ENG_MEDIAN && ask->urgency == ENG_ANSWER);
    CHECK_STR(ask->text, "the dog");
    json_t *root = rig_json(&r), *box = json_object_get(root, "box");
    CHECK_NEAR(rig_number(box, "x1"), 9.6, 1e-9);
    CHECK_NEAR(rig_number(box, "y1"), 14.4, 1e-9);
    CHECK_NEAR(rig_number(box, "x2"), 86.4, 1e-9);
    CHECK_NEAR(rig_number(box, "y2"), 36, 1e-9);
    CHECK_EQ(json_integer_value(json_array_get(json_object_get(root, "percent"), 0)), 10);
    CHECK_NEAR(rig_number(root, "probability"), 0.0625, 1e-6);
    CHECK_STR(rig_text(root, "sentence"), "the dog");
    CHECK_NEAR(rig_number(json_object_get(root, "usage"), "prompt_tokens"), 27, 0);
    json_decref(root);
    rig_close(&r);
}

TEST(refer_bad_input) {
    struct rig r;
    rig_open(&r, 8);
    send(&r, "/v1/refer", "", NULL);
    rig_check_problem(&r, 400, "missing_parameter", "sentence", NULL);
    send(&r, "/v1/refer", "sentence=", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence", "is empty");
    send(&r, "/v1/refer", "sentence=a [INST]", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "sentence", "sentence has a tag: [INST]");
    send(&r, "/v1/refer", "sentence=a&estimate=best", NULL);
    rig_check_problem(&r, 400, "invalid_parameter", "estimate", "mode, median or mean");
    send(&r, "/v1/refer", "sentence=a", "image/png");
    rig_check_problem(&r, 406, "not_acceptable", NULL, NULL);
    /* a refusal that is not about the text tells nothing of ours */
    fake_refuse(r.eng, E_INTERNAL);
    send(&r, "/v1/refer", "sentence=a", NULL);
    rig_check_problem(&r, 500, "internal_error", NULL, NULL);
    rig_close(&r);
}

TEST(refer_every_failing_allocation) {
    static const char *const accepts[] = {"application/json"};
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 8, 8);
    fake_say(r.eng, "<p>a</p> {<1><2><3><4>}");
    for (unsigned i = 0; i < ARRAY_LEN(accepts); i++) {
        rig_starve(&r, &(struct rig_request){.path = "/v1/refer",
                                             .query = "sentence=a",
                                             .type = "image/png",
                                             .accept = accepts[i],
                                             .body = png.p,
                                             .len = png.len});
    }
    buf_clear(&png);
    rig_close(&r);
}
