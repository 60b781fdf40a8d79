/* test_ini.c - recipe files: what is read, and every way to be wrong. */
#include "data/ini.h"

#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

static int parse(const char *text, struct ini *out, struct err *e) {
    return ini_parse("own.ini", text, strlen(text), out, e);
}

TEST(ini_reads) {
    struct ini i;
    CHECK_EQ(parse("# a comment\n; another\n\n [run] # behind a blank\r\nseed=7\n"
                   "name = a b#c  # rest\n[stage one]\n\tsteps\t=\t5\nempty =\n",
                   &i, NULL),
             0);
    CHECK_EQ(i.n, 2);
    CHECK_STR(i.at[0].kind, "run");
    CHECK_STR(i.at[0].name, "");
    CHECK_EQ(i.at[0].n, 2);
    CHECK_STR(i.at[0].at[1].key, "name");
    CHECK_STR(i.at[0].at[1].value, "a b#c");
    CHECK_EQ(i.at[0].at[1].line, 6);
    CHECK_STR(i.at[1].name, "one");
    CHECK_EQ(i.at[1].line, 7);
    CHECK_STR(i.at[1].at[0].value, "5");
    CHECK_STR(i.at[1].at[1].value, "");
    ini_close(&i);
}

TEST(ini_reads_nothing) {
    struct ini i;
    CHECK_EQ(parse("", &i, NULL), 0);
    CHECK_EQ(i.n, 0);
    ini_close(&i);
    ini_close(&i);
}

TEST(ini_reads_utf8) {
    struct ini i;
    CHECK_EQ(parse("[data a]\npath = /Fotos/M\xc3\xbcll/\xe2\x82\xac/\xf0\x9f\x90\x95\n", &i, NULL),
             0);
    CHECK_STR(i.at[0].at[0].value, "/Fotos/M\xc3\xbcll/\xe2\x82\xac/\xf0\x9f\x90\x95");
    ini_close(&i);
}

static void check_bad(const char *text, const char *part) {
    struct ini i = {.n = 77};
    struct err e = {0};
    CHECK_EQ(parse(text, &i, &e), E_FORMAT);
    CHECK_HAS(e.text, part);
    CHECK_EQ(i.n, 77); /* untouched */
}

TEST(ini_without_sections) {
    static const char text[] = "# none\nlisten = a\nlisten = b # again\n";
    struct ini i;
    struct err e = {0};
    CHECK_EQ(ini_parse_flat("flat.conf", text, sizeof(text) - 1, &i, NULL), 0);
    CHECK_EQ(i.n, 1);
    CHECK_EQ(i.at[0].n, 2);
    CHECK_STR(i.at[0].at[1].value, "b");
    CHECK_EQ(i.at[0].at[1].line, 3);
    ini_close(&i);
    CHECK_EQ(ini_parse_flat("flat.conf", "", 0, &i, NULL), 0);
    CHECK_EQ(i.at[0].n, 0);
    ini_close(&i);
    CHECK_EQ(ini_parse_flat("flat.conf", "a = 1\n[run]\n", 12, &i, &e), E_FORMAT);
    CHECK_STR(e.text, "flat.conf:2: this file has no sections: take the line out");
    e = (struct err){0};
    CHECK_EQ(ini_parse_flat("flat.conf", "a\n", 2, &i, &e), E_FORMAT);
    CHECK_STR(e.text, "flat.conf:1: neither a key = value, nor a comment");
}

TEST(ini_refuses) {
    check_bad("seed = 1\n", "own.ini:1: \"seed\" stands before any [section]");
    check_bad("[run]\nseed\n", "own.ini:2: neither a [section], nor a key = value, nor a comment");
    check_bad("[run\n", "own.ini:1: a section is written [kind name]");
    check_bad("[run] x\n", "a section is written");
    check_bad("[]\n", "letters, digits");
    check_bad("[a b c]\n", "letters, digits");
    check_bad("[a/b]\n", "letters, digits");
    check_bad("[run]\n = 1\n", "own.ini:2: a key has letters");
    check_bad("[run]\na b = 1\n", "a key has letters");
    check_bad("[run]\na = 1\nb = 2\na = 3\n",
              "own.ini:4: \"a\" stands here a second time; the first is in line 2");
    check_bad("[stage a]\n[stage b]\n[stage a]\n",
              "own.ini:3: [stage a] stands here a second time");
    check_bad("[run]\na = \x01\n", "own.ini:2: a control character");
    check_bad("[run]\na = \xc3\n", "not UTF-8");
    check_bad("[run]\na = \xc0\x80\n", "not UTF-8");
    check_bad("[run]\na = \xed\xa0\x80\n", "not UTF-8");
    check_bad("[run]\na = \xf4\x90\x80\x80\n", "not UTF-8");
}

TEST(ini_refuses_nul) {
    struct ini i;
    struct err e = {0};
    CHECK_EQ(ini_parse("own.ini", "[run]\na = \0b\n", 13, &i, &e), E_FORMAT);
    CHECK_HAS(e.text, "control character");
}

TEST(ini_has_limits) {
    static char text[INI_BYTES_MAX + 2];
    struct ini i;
    struct err e = {0};
    memset(text, '#', sizeof(text));
    CHECK_EQ(ini_parse("own.ini", text, INI_BYTES_MAX + 1, &i, &e), E_TOO_BIG);
    e = (struct err){0};
    CHECK_EQ(ini_parse("own.ini", text, INI_LINE_MAX + 1, &i, &e), E_FORMAT);
    CHECK_HAS(e.text, "more than 4096 bytes");
    size_t at = 0;
    for (int k = 0; k <= INI_SECTIONS_MAX; k++)
        at += (size_t)snprintf(text + at, 40, "[stage s%d]\n", k);
    e = (struct err){0};
    CHECK_EQ(ini_parse("own.ini", text, at, &i, &e), E_FORMAT);
    CHECK_HAS(e.text, "own.ini:257: more than 256 sections");
    at = (size_t)snprintf(text, 40, "[run]\n");
    for (int k = 0; k <= INI_ENTRIES_MAX; k++)
        at += (size_t)snprintf(text + at, 40, "key%d = 1\n", k);
    e = (struct err){0};
    CHECK_EQ(ini_parse("own.ini", text, at, &i, &e), E_FORMAT);
    CHECK_HAS(e.text, "more than 4096 keys");
}

TEST(ini_survives_no_memory) {
    for (uint64_t n = 1; n <= 3; n++) {
        struct ini i;
        struct err e = {0};
        mem_fail_at(n);
        CHECK_EQ(parse("[run]\na = 1\n", &i, &e), E_NOMEM);
    }
    mem_fail_at(0);
}
