/* test_plugin.c - choosing a device by name, and loading plugins that are whole, broken or not
 * there. */
#include <stdio.h>
#include <unistd.h>

#include "kernels/kern.h"
#include "tests/check.h"

/* One of tests/plugin/fake.c's, beside the runner. */
static const char *fake(const char *name) {
    static char path[4200];
    char exe[4000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    snprintf(path, sizeof path, "%s/plugin_%s.so", exe, name);
    return path;
}

static void refused(const char *name, int rc, const char *text) {
    const struct kern_ops *ops = NULL;
    struct err e = {0};
    CHECK_EQ(kern_plugin_open(fake(name), &ops, &e), rc);
    CHECK_HAS(e.text, text);
    CHECK(ops == NULL);
}

TEST(plugin_that_is_wrong_is_refused_with_its_file_and_fault) {
    refused("abi", E_UNSUPPORTED, "plugin_abi.so: backend: ABI 13 of");
    refused("size", E_UNSUPPORTED, "plugin_size.so: backend: ABI 12 of");
    refused("hole", E_UNSUPPORTED, "plugin_hole.so: backend cuda: an operation is missing");
    refused("untrained", E_UNSUPPORTED, "cuda: an operation of training is missing");
    refused("null", E_UNSUPPORTED, "no table");
    refused("mute", E_UNSUPPORTED, "plugin_mute.so: has no lammd_kern_plugin");
    refused("absent", E_NOT_FOUND, "plugin_absent.so");
}

TEST(plugin_that_is_whole_is_taken) {
    const struct kern_ops *ops = NULL, *again = NULL;
    struct err e = {0};
    CHECK_EQ(kern_plugin_open(fake("good"), &ops, &e), 0);
    CHECK_EQ(kern_plugin_open(fake("good"), &again, &e), 0);
    CHECK(ops == again);
    CHECK_STR(ops->name, "cuda");
    CHECK(ops->train == NULL);
    CHECK_EQ(kern_plugin_open(fake("train"), &ops, &e), 0);
    CHECK(ops->train != NULL);
    CHECK_EQ(e.code, 0);
}

TEST(choose_takes_name_and_number) {
    struct kern_choice c;
    CHECK_EQ(kern_choose("cuda:12", fake("good"), &c, NULL), 0);
    CHECK_STR(c.ops->name, "cuda");
    CHECK_EQ(c.device, 12);
    CHECK_STR(c.note, "");
    CHECK_EQ(kern_choose("ref", NULL, &c, NULL), 0);
    CHECK_STR(c.ops->name, "ref");
    CHECK_EQ(c.device, 0);
    CHECK_EQ(kern_choose("ref:1", NULL, &c, NULL), 0); /* which ref then says it has not */
    CHECK_EQ(c.device, 1);
}

TEST(choose_refuses_what_is_no_device) {
    static const struct {
        const char *spec, *text;
        int rc;
    } wrong[] = {{"cuda:", "number of a device", E_INVALID},
                 {"cuda:x", "number of a device", E_INVALID},
                 {"cuda:-1", "number of a device", E_INVALID},
                 {"cuda:1x", "number of a device", E_INVALID},
                 {"cuda:99999", "number of a device", E_INVALID},
                 {"cuda:9999", "no such device", E_NOT_FOUND},
                 {"cudax", "no backend \"cudax\"", E_NOT_FOUND},
                 {"auto:1", "no backend \"auto:1\"", E_NOT_FOUND},
                 {":1", "no backend", E_NOT_FOUND}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct kern_choice c = {.device = -5};
        struct err e = {0};
        CHECK_EQ(kern_choose(wrong[i].spec, fake("good"), &c, &e), wrong[i].rc);
        CHECK_HAS(e.text, wrong[i].text);
        CHECK_EQ(c.device, -5);
    }
}

TEST(choose_auto_falls_back_and_says_why) {
    static const char *const why[][2] = {
        {"good", "fake: there is no device"},
        {"weak", "has to be asked for"}, /* and isn't opened to find that out */
        {"abi", "ABI 13"},
        {"absent", "plugin_absent.so"}};
    struct kern_choice c, alone;
    CHECK_EQ(kern_choose("auto", NULL, &alone, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(why); i++) {
        struct err e = {0};
        CHECK_EQ(kern_choose("auto", fake(why[i][0]), &c, &e), 0);
        CHECK_EQ(e.code, 0);
        CHECK(strcmp(c.ops->name, "cuda") != 0);
        CHECK_HAS(c.note, why[i][1]);
    }
    CHECK_EQ(kern_choose("cuda", fake("abi"), &c, NULL),
             E_UNSUPPORTED); /* who asks for it gets it */
    CHECK_EQ(kern_choose("cuda", fake("absent"), &c, NULL), E_NOT_FOUND);
}

/* The real one. Without a device it is loaded all the same, and says what is missing. */
TEST(plugin_says_what_is_missing) {
    struct kern_choice c;
    struct err e = {0};
    if (kern_choose("cuda", NULL, &c, &e)) skip("%s", e.text);
    struct kern *k = NULL;
    int rc = c.ops->open(&(struct kern_config){.device = 1000}, &k, &e);
    CHECK(rc == E_NOT_FOUND || rc == E_UNSUPPORTED);
    CHECK(k == NULL);
    CHECK_HAS(e.text, "cuda: ");
    e = (struct err){0};
    CHECK_EQ(c.ops->open(&(struct kern_config){.isa = "avx2"}, &k, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "flat, tile or strict");
    CHECK(k == NULL);
    c.ops->close(NULL);
    if (c.ops->score() > 0) return;
    e = (struct err){0};
    rc = c.ops->open(&(struct kern_config){0}, &k, &e);
    CHECK(rc == E_NOT_FOUND || rc == E_UNSUPPORTED);
    CHECK(k == NULL);
    CHECK_EQ(kern_choose("auto", NULL, &c, NULL), 0);
    CHECK_STR(c.note, e.text);
}
