/* test_annot.c - annotation files: every field's type and bounds, and errors that say where. */
#include "data/annot.h"

#include "tests/check.h"
#include "tests/unit/data/rig.h"

static json_t *tree(const char *text) {
    json_t *root = NULL;
    struct err e = {0};
    CHECK_EQ(annot_parse("a.json", text, strlen(text), &root, &e), 0);
    return root;
}

static const struct annot_at here = {"a.json", "refs", 12};

/* The check fails with E_FORMAT, and its text begins with the place. */
#define REFUSED(call, want)                           \
    do {                                              \
        struct err e = {0};                           \
        CHECK_EQ(call, E_FORMAT);                     \
        CHECK_STR(e.text, "a.json: refs[12]: " want); \
    } while (0)

TEST(annot_fields_have_their_type) {
    json_t *o = tree("{\"t\": \"x\", \"empty\": \"\", \"n\": 7, \"r\": 1.5, \"a\": [1, 2.5]}");
    const char *text = "left";
    int64_t n;
    double two[2];
    CHECK_EQ(annot_text(o, "t", 1, &here, &text, NULL), 0);
    CHECK_STR(text, "x");
    CHECK_EQ(annot_text(o, "none", 0, &here, &text, NULL), 0);
    CHECK(text == NULL);
    CHECK_EQ(annot_text(o, "empty", 0, &here, &text, NULL), 0);
    CHECK_STR(text, "");
    REFUSED(annot_text(o, "empty", 1, &here, &text, &e), "\"empty\" must be a text");
    REFUSED(annot_text(o, "none", 1, &here, &text, &e), "\"none\" must be a text");
    REFUSED(annot_text(o, "n", 0, &here, &text, &e), "\"n\" must be a text");
    CHECK_EQ(annot_whole(o, "n", 7, 7, &here, &n, NULL), 0);
    CHECK_EQ(n, 7);
    REFUSED(annot_whole(o, "n", 8, 9, &here, &n, &e), "\"n\" is 7, not in 8 .. 9");
    REFUSED(annot_whole(o, "r", 0, 9, &here, &n, &e), "\"r\" must be a whole number");
    CHECK_EQ(annot_numbers(o, "a", 2, &here, two, NULL), 0);
    CHECK(two[0] == 1 && two[1] == 2.5);
    REFUSED(annot_numbers(o, "a", 3, &here, two, &e), "\"a\" must be 3 numbers");
    REFUSED(annot_numbers(o, "n", 1, &here, two, &e), "\"n\" must be 1 numbers");
    json_decref(o);
}

TEST(annot_names_stay_below_their_folder) {
    static const char *const wrong[] = {"/etc/a.png", "..", "../a.png", "a/../../b.png"};
    const char *name, *two[2];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        json_t *o = json_pack("{s:s, s:[ss]}", "f", wrong[i], "list", "a.png", wrong[i]);
        REFUSED(annot_name(o, "f", &here, &name, &e),
                "\"f\" must be a file below the pictures' folder");
        REFUSED(annot_names(o, "list", 2, &here, two, &e),
                "\"list\" must be a file below the pictures' folder");
        json_decref(o);
    }
    json_t *o = tree("{\"f\": \"a/..b/c..png\", \"list\": [\"a\", \"b\"], \"n\": [\"a\", 3]}");
    CHECK_EQ(annot_name(o, "f", &here, &name, NULL), 0);
    CHECK_STR(name, "a/..b/c..png");
    CHECK_EQ(annot_names(o, "list", 2, &here, two, NULL), 0);
    CHECK_STR(two[1], "b");
    REFUSED(annot_names(o, "list", 3, &here, two, &e), "\"list\" must be 3 names");
    REFUSED(annot_names(o, "n", 2, &here, two, &e), "\"n\" must be a text");
    json_decref(o);
    char longest[ANNOT_NAME_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    longest[ANNOT_NAME_MAX + 1] = '\0';
    o = json_pack("{s:s}", "f", longest);
    REFUSED(annot_name(o, "f", &here, &name, &e), "\"f\" has over 255 bytes");
    json_decref(o);
}

TEST(annot_arrays_hold_objects) {
    json_t *o = tree("{\"good\": [{}, {}], \"bad\": [{}, 3], \"none\": 1}");
    const json_t *list;
    struct err e = {0};
    CHECK_EQ(annot_array(o, "good", "a.json", &list, NULL), 0);
    CHECK_EQ(json_array_size(list), 2);
    CHECK_EQ(annot_array(list, NULL, "a.json", &list, NULL), 0);
    CHECK_EQ(annot_array(o, "bad", "a.json", &list, &e), E_FORMAT);
    CHECK_STR(e.text, "a.json: bad[1]: must be an object");
    e = (struct err){0};
    CHECK_EQ(annot_array(o, "none", "a.json", &list, &e), E_FORMAT);
    CHECK_STR(e.text, "a.json: \"none\" must be an array");
    e = (struct err){0};
    CHECK_EQ(annot_array(o, NULL, "a.json", &list, &e), E_FORMAT);
    CHECK_STR(e.text, "a.json: the content must be an array");
    json_decref(o);
}

TEST(annot_text_is_bounded_before_it_is_parsed) {
    char deep[64] = "";
    memset(deep, '[', 20);
    json_t *root;
    struct err e = {0};
    CHECK(annot_parse("a.json", deep, strlen(deep), &root, &e) != 0);
    CHECK(root == NULL);
    CHECK_HAS(e.text, "a.json: ");
    e = (struct err){0};
    CHECK_EQ(annot_parse("a.json", "{\"a\": 1, \"a\": 2}", 16, &root, &e), E_FORMAT);
    CHECK_HAS(e.text, "a.json: line 1");
    e = (struct err){0};
    CHECK_EQ(annot_parse("a.json", "{\"a\": 1} x", 10, &root, &e), E_FORMAT);
}

static int open_text(const char *text, int is_lines, json_t **root, struct err *e) {
    struct rig r;
    rig_open(&r);
    const char *path = rig_file(&r, "a.json", text);
    *e = (struct err){0};
    int rc = is_lines ? annot_open_lines(path, root, e) : annot_open(path, root, e);
    rig_close(&r);
    return rc;
}

TEST(annot_lines_become_an_array) {
    json_t *root;
    struct err e;
    CHECK_EQ(open_text("{\"a\": 1}\n\n {\"a\": 2}\r\n", 1, &root, &e), 0);
    CHECK_EQ(json_array_size(root), 2);
    CHECK_EQ(json_integer_value(json_object_get(json_array_get(root, 1), "a")), 2);
    json_decref(root);
    CHECK_EQ(open_text("{\"a\": 1}\n{\"a\": }\n", 1, &root, &e), E_FORMAT);
    CHECK(root == NULL);
    CHECK_HAS(e.text, "a.json, line 2: line 1");
    CHECK_EQ(open_text("{\"a\": 1}\n", 1, &root, &e), 0); /* one alone stays an object */
    CHECK(json_is_object(root));
    json_decref(root);
    CHECK_EQ(open_text("{\"a\":\n {\"b\": 1}}", 1, &root, &e), 0);
    CHECK(json_is_object(root));
    json_decref(root);
    CHECK(open_text("{\"a\": 1}\n{\"a\": 2}\n", 0, &root, &e) == E_FORMAT);
    CHECK_EQ(open_text("", 0, &root, &e), E_FORMAT);
    CHECK_HAS(e.text, "the file is empty");
    CHECK_EQ(annot_open("/nowhere/a.json", &root, &e), E_IO);
    CHECK(root == NULL);
}
