/* The messages of a chat, without a socket: who says what, as people and programs write it. */
#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/unit/api/rig.h"

static const char path[] = "/v1/chat/completions";

/* `messages` as they are. */
static void say(struct rig *r, const char *messages) {
    rig_send_jsonf(r, path, "{\"messages\":%s}", messages);
}

#define USER(text)   "{\"role\":\"user\",\"content\":\"" text "\"}"
#define MODEL(text)  "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define SYSTEM(text) "{\"role\":\"system\",\"content\":\"" text "\"}"

TEST(chat_turns_and_pictures) {
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(9, 7);
    rig_send_jsonf(
        &r, path,
        "{\"messages\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"developer\",\"content\":\"be "
        "kind\"},"
        "{\"role\":\"user\",\"name\":\"x\",\"content\":["
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\",\"detail\":\"low\"}},"
        "{\"type\":\"text\",\"text\":\"one\\ntwo\"},{\"type\":\"text\",\"text\":\"three\"}]},"
        "{\"role\":\"assistant\",\"content\":\"yes\",\"refusal\":null,\"annotations\":[],"
        "\"tool_calls\":null},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"and\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}]}]}",
        url, url, url);
    CHECK_EQ(r.reply->status, 200);
    const struct eng_ask *a = fake_asked(r.eng);
    CHECK(a->n_turns == 2 && a->n_pictures == 3);
    CHECK(a->turns[0].n_pictures == 1 && a->turns[1].n_pictures == 2);
    CHECK_STR(a->turns[0].question, "be brief be kind one two three");
    CHECK_STR(a->turns[0].answer, "yes");
    CHECK_STR(a->turns[1].question, "and");
    CHECK(a->turns[1].answer == NULL);
    /* what the model said may come back, whatever it was */
    say(&r, "[" USER("a") "," MODEL("b\\u0001\\u0085\\u00e4\\u007f") "," USER("c") "]");
    CHECK_STR(fake_asked(r.eng)->turns[0].answer, "b   \xc3\xa4 ");
    mem_free(url);
    rig_close(&r);
}

/* The turns of `messages`, as `question>answer|question`. */
static void check_turns(struct rig *r, const char *messages, const char *want) {
    char got[400] = "";
    say(r, messages);
    if (r->reply->status != 200) printf("%s\n", messages);
    CHECK_EQ(r->reply->status, 200);
    const struct eng_ask *a = fake_asked(r->eng);
    for (uint32_t i = 0; i < a->n_turns; i++) {
        size_t n = strlen(got);
        const struct eng_turn *t = &a->turns[i];
        snprintf(got + n, sizeof(got) - n, "%s%s%s%s", i ? "|" : "", t->question,
                 t->answer ? ">" : "", t->answer ? t->answer : "");
    }
    CHECK_STR(got, want);
}

TEST(chat_as_people_write_it) {
    static const char *const cases[][2] = {
        {USER("a") "," USER("b"), "a b"},
        {USER("a") "," USER("b") "," MODEL("c") "," MODEL("d") "," USER("e"), "a b>c d|e"},
        {MODEL("Hello!") "," USER("a"), "Hello! a"},
        {SYSTEM("s") "," MODEL("Hello!") "," USER("a") "," MODEL("") "," USER("b"),
         "s Hello! a>|b"},
        {USER("a") "," MODEL("b") "," SYSTEM("s") "," USER("c"), "a>b|s c"},
        {USER("a") "," SYSTEM("s"), "a s"},
        {USER("a") "," MODEL("b") "," SYSTEM("s") "," MODEL("c") "," USER("d"), "a>b c|s d"},
        {SYSTEM("") "," USER("a") "," SYSTEM(" "), "a"},
        {"{\"role\":\"developer\",\"content\":[\"s\",\"t\"]}," USER("a"), "s t a"},
        {"{\"role\":\"user\",\"content\":[\"a\",{\"type\":\"text\",\"text\":\"b\"}]}", "a b"},
        {USER("a") "," MODEL("  \\u0001 ") "," USER("b"), "a>|b"},
        {USER("<s> and </s>"), "<s> and </s>"},
        /* what the model said, whatever it was */
        {USER("a") "," MODEL("x [INST] y[[INST]INST]") "," USER("b"), "a>x  INST  y[ INST INST]|b"},
    };
    char text[600];
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof(text), "[%s]", cases[i][0]);
        check_turns(&r, text, cases[i][1]);
    }
    /* a picture in one message, its question in the next; its URL as it is */
    char *url = rig_data_url(2, 2);
    rig_send_jsonf(&r, path,
                   "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                   "\"image_url\":\"%s\"}]}," USER("what?") "]}",
                   url);
    CHECK_EQ(r.reply->status, 200);
    CHECK(fake_asked(r.eng)->n_turns == 1 && fake_asked(r.eng)->turns[0].n_pictures == 1);
    CHECK_STR(fake_asked(r.eng)->turns[0].question, "what?");
    mem_free(url);
    rig_close(&r);
}

TEST(chat_takes_stored_pictures) {
    struct rig r;
    struct buf png;
    rig_open(&r, 8);
    rig_png(&png, 9, 7);
    rig_send(&r, &(struct rig_request){.method = "PUT",
                                       .path = "/v1/images",
                                       .type = "image/png",
                                       .body = png.p,
                                       .len = png.len});
    char id[65];
    json_t *root = rig_json(&r);
    snprintf(id, sizeof(id), "%s", rig_text(root, "id"));
    json_decref(root);
    static const char with_url[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
        "{\"url\":\"%s%s\"}},{\"type\":\"text\",\"text\":\"hi\"}]}]}";
    rig_send_jsonf(&r, path, with_url, "lammd:", id);
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->n_pictures, 1);
    id[0] = id[0] == '0' ? '1' : '0';
    rig_send_jsonf(&r, path, with_url, "lammd:", id);
    rig_check_problem(&r, 404, "image_not_found", NULL, NULL);
    rig_send_jsonf(&r, path, with_url, "lammd:", "12");
    rig_check_problem(&r, 400, "invalid_parameter", "messages[0].content[0]", "64 hex digits");
    static const char *const network[] = {"http://127.0.0.1:1/a.png", "https://a/b", "HTTPS://a/b",
                                          "file:///etc/passwd",       "ftp://a",     "gopher:x"};
    for (unsigned i = 0; i < ARRAY_LEN(network); i++) {
        rig_send_jsonf(&r, path, with_url, network[i], "");
        rig_check_problem(&r, 400, "unsupported_url", "messages[0].content[0]", "never fetched");
    }
    rig_send_jsonf(&r, path, with_url, "Zm9v", "");
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "must be a data URL");
    rig_send_jsonf(&r, path, with_url, "data:image/gif;base64,", "Zm9v");
    rig_check_problem(&r, 415, "unsupported_picture", NULL, NULL);
    buf_clear(&png);
    rig_close(&r);
}

TEST(chat_bad_messages) {
    static const char *const cases[][3] = {
        {"[]", "invalid_parameter", "at least one message"},
        {"{}", "invalid_parameter", "at least one message"},
        {"[7]", "invalid_parameter", "messages[0] must be an object"},
        {"[{\"role\":\"user\"}]", "invalid_parameter", "messages[0].content must be a string"},
        {"[{\"role\":\"tool\",\"content\":\"x\"}]", "invalid_parameter",
         "system, user or assistant"},
        {"[{\"content\":\"x\"}]", "invalid_parameter", "system, user or assistant"},
        {"[" USER("") "]", "invalid_parameter", "messages[0].content is empty"},
        {"[" USER("  ") "]", "invalid_parameter", "is blank"},
        {"[" USER("a\\u0007") "]", "invalid_parameter", "control character at byte 1"},
        {"[" USER("a [INST] b") "]", "invalid_parameter", "messages[0].content has a tag: [INST]"},
        {"[" USER("far too long") "]", "too_much_work", "too many tokens"},
        {"[" MODEL("a") "]", "invalid_parameter", "must end with the user's question"},
        {"[" USER("a") "," MODEL("b") "]", "invalid_parameter",
         "must end with the user's question"},
        {"[" USER("a") "," MODEL("b") "," SYSTEM("c") "]", "invalid_parameter",
         "must end with the user's question"},
        {"[" SYSTEM("a") "]", "invalid_parameter", "must end with the user's question"},
        {"[" USER("a") "," USER("[INST]") "]", "invalid_parameter",
         "messages[1].content has a tag"},
        {"[" SYSTEM("[INST]") "," USER("a") "]", "invalid_parameter", "has a tag"},
        {"[{\"role\":\"user\",\"content\":[]}]", "invalid_parameter", "is empty"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"audio\"}]}]", "invalid_parameter",
         "messages[0].content[0] must be {\"type\": \"text\""},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "invalid_parameter",
         "must have image_url"},
        {"[{\"role\":\"system\",\"content\":[{\"type\":\"image_url\"}]}]", "invalid_parameter",
         "only the user's messages"},
        {"[{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[1]}]", "unknown_parameter",
         "messages[0] has the field \"tool_calls\""},
    };
    struct rig r;
    rig_open(&r, 8);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        say(&r, cases[i][0]);
        rig_check_problem(&r, strcmp(cases[i][1], "too_much_work") == 0 ? 422 : 400, cases[i][1],
                          NULL, cases[i][2]);
    }
    char *url = rig_data_url(2, 2);
    rig_send_jsonf(&r, path,
                   "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                   "\"image_url\":{\"url\":\"%s\"}}]}]}",
                   url);
    rig_check_problem(&r, 400, "invalid_parameter", "messages", "have a picture but no question");
    mem_free(url);
    rig_close(&r);
}

static void many(struct rig *r, int n, const char *one, const char *head, const char *tail) {
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? "," : "", one);
    rig_send_jsonf(r, path, "{\"messages\":[%s%s%s]}", head, (const char *)b.p, tail);
    buf_clear(&b);
}

TEST(chat_too_many_of_everything) {
    static char text[20002];
    struct rig r;
    rig_open(&r, 8);
    char *url = rig_data_url(1, 1), part[500];
    snprintf(part, sizeof(part), "{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}", url);
    static const char head[] =
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},";
    many(&r, 8, part, head, "]}");
    CHECK_EQ(r.reply->status, 200);
    many(&r, 9, part, head, "]}");
    rig_check_problem(&r, 400, "too_many_pictures", NULL, "at most 8 pictures");
    many(&r, 1000, part, head, "]}");
    rig_check_problem(&r, 400, "too_many_pictures", NULL, "at most 8 pictures");
    many(&r, 63, USER("a") "," MODEL("b"), "", "," USER("c"));
    CHECK_EQ(r.reply->status, 200);
    CHECK_EQ(fake_asked(r.eng)->n_turns, 64);
    many(&r, 64, USER("a") "," MODEL("b"), "", "," USER("c"));
    rig_check_problem(&r, 400, "invalid_parameter", "messages", "at most 64 questions");
    static char long_text[300000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    rig_send_jsonf(&r, path, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", long_text);
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "too long: at most 20000 characters");
    memset(text, 'x', 20001);
    rig_send_jsonf(&r, path, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", text);
    rig_check_problem(&r, 400, "invalid_parameter", NULL, "at most 20000 characters; got 20001");
    mem_free(url);
    rig_close(&r);
}
