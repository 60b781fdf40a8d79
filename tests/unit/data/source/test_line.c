/* test_line.c - lines as people write them, and what is said of those that are wrong. */
#include "data/source/line.h"

#include <stdio.h>

#include "data/source/url.h"
#include "tests/check.h"

/* Stands for the engine's check. */
static int no_tags(const char *text, int in_chat, const char *what, struct err *e) {
    if (strstr(text, "[INST]")) return err_set(e, E_INVALID, "%s contains [INST]", what);
    if (!in_chat && strchr(text, '\n')) return err_set(e, E_INVALID, "%s has a line break", what);
    return 0;
}

static int read(const char *text, struct line *l, struct line_fault *why) {
    return line_read(text, strlen(text), no_tags, l, why);
}

TEST(line_of_every_task) {
    struct line l;
    struct line_fault why;
    CHECK_EQ(read("{\"task\":\"pixels\",\"images\":[\"a.jpg\",\"./b/c.png\"]}", &l, &why), 0);
    CHECK(l.tasks == 1u << SAMPLE_PIXELS && l.n_pictures == 2);
    CHECK_STR(l.pictures[1], "b/c.png");
    line_clear(&l);
    CHECK_EQ(
        read(
            "{\"task\":[\"mask\",\"refer\"],\"image\":\"a\",\"sentence\":\"x\",\"box\":[1,2,3.5,4],"
            "\"mask\":{\"file\":\"m.png\",\"ids\":[7,65536]},\"orient\":\"stored\",\"id\":3}",
            &l, &why),
        0);
    CHECK(l.tasks == (1u << SAMPLE_MASK | 1u << SAMPLE_REFER));
    CHECK(l.mask.kind == LINE_MASK_IDS && l.mask.n_ids == 2 && l.mask.ids[1] == 65536);
    CHECK(l.box[2] == 3.5 && l.orient == LINE_ORIENT_STORED);
    line_clear(&l);
    CHECK_EQ(read("{\"task\":\"mask\",\"image\":\"a\",\"sentence\":\"x\",\"mask\":[[0,0,4,0,4,4]]}",
                  &l, &why),
             0);
    CHECK(l.mask.kind == LINE_MASK_COCO && l.orient == LINE_ORIENT_OF_SOURCE);
    line_clear(&l);
    CHECK_EQ(
        read("{\"task\":\"grounding\",\"image\":\"a\",\"caption\":\"a dog, a dog\",\"phrases\":"
             "[{\"phrase\":\"a dog\",\"boxes\":[[0,0,1,1]]},{\"phrase\":\"a dog\",\"boxes\":"
             "[[2,2,3,3],[4,4,5,5]]}]}",
             &l, &why),
        0);
    CHECK(l.n_phrases == 2 && l.phrases[0].at == 0 && l.phrases[1].at == 7);
    CHECK(l.phrases[1].n_boxes == 2 && l.phrases[1].boxes[1][2] == 5);
    line_clear(&l);
    CHECK_EQ(
        read("{\"task\":\"vqa\",\"image\":\"a\",\"question\":\"q\",\"answer\":[\"yes\",\"no\"]}",
             &l, &why),
        0);
    CHECK(l.n_answers == 2 && !l.about);
    line_clear(&l);
    CHECK_EQ(read("{\"task\":\"vqa\",\"image\":\"a\",\"question\":\"q\",\"answer\":\"2\",\"about\":"
                  "[[1,2,3,4],[5,6,7,8.5]]}",
                  &l, &why),
             0);
    CHECK(l.n_about == 2 && l.about[1][3] == 8.5);
    line_clear(&l);
    CHECK_EQ(
        read("{\"task\":\"vqa\",\"image\":\"a\",\"question\":\"q\",\"answer\":\"no\",\"about\":[]}",
             &l, &why),
        0);
    CHECK(l.about && !l.n_about);
    line_clear(&l);
    CHECK_EQ(read("{\"task\":\"act\",\"game\":\"car_racing\",\"images\":[\"0\",\"1\"],\"action\":"
                  "[8,10,20]}",
                  &l, &why),
             0);
    CHECK(l.tasks == 1u << SAMPLE_DRIVE && l.action[2] == 20);
    line_clear(&l);
}

TEST(line_of_messages) {
    struct line l;
    struct line_fault why;
    static const char text[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"be\\nbrief\"},{\"role\":\"user\","
        "\"content\":"
        "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAEC/w==\"}},"
        "{\"type\":\"text\",\"text\":\"what?\"}]},{\"role\":\"assistant\",\"content\":\"a dog\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"b.png\"}}"
        ","
        "{\"type\":\"text\",\"text\":\"and\"},{\"type\":\"text\",\"text\":\"here?\"}]},"
        "{\"role\":\"assistant\",\"content\":\"none\",\"weight\":1}]}";
    CHECK_EQ(read(text, &l, &why), 0);
    CHECK(l.tasks == 1u << SAMPLE_CHAT && l.n_turns == 2 && l.n_pictures == 2);
    CHECK_STR(l.turns[0].question, "be brief what?");
    CHECK_STR(l.turns[0].answer, "a dog");
    CHECK_STR(l.turns[1].question, "and here?");
    CHECK(l.turns[0].n_pictures == 1 && l.turns[1].n_pictures == 1);
    struct buf b;
    buf_init(&b, 100);
    CHECK_EQ(url_decode(l.pictures[0], &b), 0);
    CHECK_EQ(b.len, 4);
    CHECK_MEM(b.p, "\0\1\2\xff", 4);
    buf_clear(&b);
    line_clear(&l);
    CHECK_EQ(read("{\"task\":\"chat\",\"image\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":"
                  "\"q\"},"
                  "{\"role\":\"assistant\",\"content\":\"a\"}]}",
                  &l, &why),
             0);
    CHECK_EQ(l.turns[0].n_pictures, 1);
    line_clear(&l);
}

#define PIXELS(more) "{\"task\":\"pixels\"" more "}"
#define USER         "{\"role\":\"user\",\"content\":\"q\"}"
#define ASSISTANT    "{\"role\":\"assistant\",\"content\":\"a\"}"
#define CHAT(list)   "{\"messages\":[" list "]}"
#define URL(u)                                                                                 \
    CHAT("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"" u \
         "\"}},{\"type\":\"text\",\"text\":\"q\"}]}," ASSISTANT)
#define MASK(m) "{\"task\":\"mask\",\"image\":\"a\",\"sentence\":\"x\",\"mask\":" m "}"
#define ABOUT(pictures, boxes) \
    "{\"task\":\"vqa\"," pictures ",\"question\":\"q\",\"answer\":\"a\",\"about\":" boxes "}"
#define BOX(b) "{\"task\":\"refer\",\"image\":\"a\",\"sentence\":\"x\",\"box\":" b "}"
#define PHRASE(c, p) \
    "{\"task\":\"grounding\",\"image\":\"a\",\"caption\":\"" c "\",\"phrases\":[" p "]}"

TEST(line_says_what_is_wrong) {
    static const struct {
        const char *text, *code, *field;
    } wrong[] = {
        {"{", "not_json", ""},
        {"[1]", "wrong_type", ""},
        {"{\"task\":\"pixels\",\"task\":\"mask\"}", "duplicate_key", ""},
        {"{\"task\":\"\xff\"}", "not_utf8", ""},
        {"{\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}", "not_json", ""},
        {"{\"image\":\"a\"}", "missing_field", "task"},
        {"{\"task\":\"paint\"}", "unknown_task", "task"},
        {"{\"task\":[]}", "unknown_task", "task"},
        {"{\"task\":[\"mask\",\"mask\"]}", "unknown_task", "task"},
        {"{\"task\":7}", "wrong_type", "task"},
        {PIXELS(), "missing_field", "image"},
        {PIXELS(",\"image\":\"a\",\"sentence\":\"x\""), "unknown_field", "sentence"},
        {PIXELS(",\"image\":\"a\",\"Image\":\"x\""), "unknown_field", "Image"},
        {PIXELS(",\"image\":\"a\",\"images\":[\"a\"]"), "unknown_field", "images"},
        {PIXELS(",\"images\":\"a\""), "wrong_type", "images"},
        {PIXELS(",\"image\":3"), "wrong_type", "image"},
        {PIXELS(",\"image\":\"/etc/passwd\""), "no_such_picture", "image"},
        {PIXELS(",\"image\":\"../a\""), "no_such_picture", "image"},
        {PIXELS(",\"image\":\"https://x/a.jpg\""), "unsupported_url", "image"},
        {PIXELS(",\"image\":\"data:image/gif;base64,AAAA\""), "bad_picture", "image"},
        {PIXELS(",\"image\":\"data:image/png;base64,AAA\""), "bad_picture", "image"},
        {PIXELS(",\"image\":\"data:image/png;base64,AA==AAAA\""), "bad_picture", "image"},
        {PIXELS(",\"image\":\"data:image/png;base64,AB==\""), "bad_picture", "image"},
        {PIXELS(",\"image\":\"a\",\"orient\":\"up\""), "out_of_range", "orient"},
        {PIXELS(",\"images\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"),
         "too_many_pictures", "images"},
        {"{\"task\":\"refer\",\"image\":\"a\",\"sentence\":\"x\"}", "missing_field", "box"},
        {"{\"task\":\"caption\",\"image\":\"a\",\"caption\":\" \"}", "bad_text", "caption"},
        {"{\"task\":\"caption\",\"image\":\"a\",\"caption\":\"x [INST]\"}", "bad_text", "caption"},
        {"{\"task\":\"caption\",\"image\":\"a\",\"caption\":\"x\\n\"}", "bad_text", "caption"},
        {"{\"task\":\"refer\",\"images\":[\"a\",\"b\"],\"sentence\":\"x\",\"box\":[0,0,1,1]}",
         "too_many_pictures", "images"},
        {BOX("[1,2,3]"), "wrong_type", "box"},
        {BOX("[1,2,3,\"4\"]"), "wrong_type", "box"},
        {BOX("[1,2,1,4]"), "out_of_range", "box"},
        {MASK("3"), "wrong_type", "mask"},
        {MASK("[]"), "wrong_type", "mask"},
        {MASK("[[0,0,1,1]]"), "wrong_type", "mask"},
        {MASK("[[0,0,1,1,2,\"x\"]]"), "wrong_type", "mask"},
        {MASK("{\"size\":[1,1]}"), "wrong_type", "mask"},
        {MASK("{\"file\":\"../m.png\"}"), "no_such_picture", "mask.file"},
        {MASK("{\"file\":\"m.png\",\"ids\":[]}"), "wrong_type", "mask.ids"},
        {MASK("{\"file\":\"m.png\",\"ids\":[16777216]}"), "out_of_range", "mask.ids"},
        {PHRASE("a cat", "{\"phrase\":\"a dog\",\"boxes\":[[0,0,1,1]]}"), "phrase_not_found",
         "phrases[0]"},
        {PHRASE("a <p>cat", "{\"phrase\":\"a\",\"boxes\":[[0,0,1,1]]}"), "bad_text", "caption"},
        {PHRASE("a", "{\"phrase\":\"a\"}"), "wrong_type", "phrases[0]"},
        {PHRASE("a", "{\"phrase\":\"a\",\"boxes\":[]}"), "wrong_type", "phrases[0]"},
        {PHRASE("a", ""), "wrong_type", "phrases"},
        {"{\"task\":\"vqa\",\"image\":\"a\",\"question\":\"q\",\"answer\":[]}", "wrong_type",
         "answer"},
        {ABOUT("\"image\":\"a\"", "7"), "wrong_type", "about"},
        {ABOUT("\"image\":\"a\"", "[1,2,3,4]"), "wrong_type", "about"},
        {ABOUT("\"image\":\"a\"", "[[1,2,1,4]]"), "out_of_range", "about"},
        {ABOUT("\"images\":[\"a\",\"b\"]", "[[1,2,3,4]]"), "too_many_pictures", "about"},
        {PIXELS(",\"image\":\"a\",\"about\":[]"), "unknown_field", "about"},
        {"{\"task\":\"act\",\"game\":\"chess\",\"images\":[\"0\"],\"action\":1}", "out_of_range",
         "game"},
        {"{\"task\":\"act\",\"game\":\"space_invaders\",\"images\":[\"0\"],\"action\":1}",
         "bad_action", "images"},
        {"{\"task\":\"act\",\"game\":\"space_invaders\",\"images\":[\"0\",\"1\",\"2\",\"3\"],"
         "\"action\":6}",
         "bad_action", "action"},
        {"{\"messages\":{}}", "wrong_type", "messages"},
        {CHAT(""), "bad_turns", "messages"},
        {CHAT(USER), "bad_turns", "messages"},
        {CHAT(USER "," USER), "bad_turns", "messages[1]"},
        {CHAT(ASSISTANT), "bad_turns", "messages[0]"},
        {CHAT(USER "," ASSISTANT ",{\"role\":\"system\",\"content\":\"x\"}"), "bad_turns",
         "messages[2]"},
        {CHAT("{\"role\":\"tool\",\"content\":\"x\"}"), "bad_turns", "messages[0]"},
        {CHAT("{\"role\":\"user\",\"content\":7}"), "wrong_type", "messages[0]"},
        {CHAT("{\"role\":\"user\",\"content\":\"x\",\"weight\":0}"), "unknown_field",
         "messages[0]"},
        {CHAT("{\"role\":\"user\",\"content\":[{\"type\":\"audio\"}]}"), "wrong_type",
         "messages[0]"},
        {CHAT("{\"role\":\"user\",\"content\":\"[INST]\"}"), "bad_text", "messages[0]"},
        {URL("http://x/a.png"), "unsupported_url", "messages[0]"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct line l;
        struct line_fault why;
        int rc = read(wrong[i].text, &l, &why);
        if (rc != E_FORMAT || strcmp(why.code, wrong[i].code) != 0)
            test_failed(__FILE__, __LINE__, "%s: %d %s %s: %s", wrong[i].text, rc, why.code,
                        why.field, why.reason);
        CHECK_STR(why.field, wrong[i].field);
        CHECK(why.reason[0]);
        line_clear(&l);
    }
}

TEST(line_has_a_bound) {
    struct line l;
    struct line_fault why;
    struct buf b;
    buf_init(&b, SOURCE_LINE_MAX + 100);
    for (int inside = 0; inside < 2; inside++) {
        buf_clear(&b);
        buf_str(&b, inside ? "{\"task\":\"pixels\",\"image\":\"data:image/png;base64,"
                           : "{\"task\":\"caption\",\"image\":\"a\",\"caption\":\"");
        size_t most = inside ? 400000 : SOURCE_LINE_PLAIN_MAX - b.len - 1;
        for (size_t i = 0; i < most; i++)
            buf_char(&b, 'A');
        buf_str(&b, "\"}");
        int rc = line_read((const char *)b.p, b.len, no_tags, &l, &why);
        CHECK_EQ(rc, inside ? 0 : E_FORMAT);
        if (!inside) CHECK_STR(why.code, "too_long");
        line_clear(&l);
    }
    buf_clear(&b);
}
