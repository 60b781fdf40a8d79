/* test_source.c - sources of every format: what is found, what is counted, what is told. */
#include "data/source.h"

#include <stdio.h>

#include "data/files.h"
#include "data/source/internal.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

static struct source *open_or_fail(const char *path, const struct source_options *o) {
    struct source *s;
    struct err e = {0};
    if (source_open(path, o, &s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return s;
}

static const char lines[] =
    "{\"task\":\"refer\",\"image\":\"a.png\",\"sentence\":\"the dog\",\"box\":[1,2,5,6]}\n"
    "\r\n"
    "{\"task\":\"vqa\",\"image\":\"./a.png\",\"question\":\"q\",\"answer\":\"a\"}\n"
    "{\"task\":\"refer\",\"image\":\"a.png\",\"sentence\":\"out\",\"box\":[1,2,12,6]}\n"
    "not json\n"
    "{\"task\":\"pixels\",\"image\":\"none.png\"}\n"
    "{\"task\":\"pixels\",\"image\":\"b.png\"}"; /* no line break behind it */

static void check_lines(const struct source *s) {
    const struct source_report *p = source_report(s);
    CHECK_EQ(p->lines, 3);
    CHECK_EQ(p->bad, 3);
    CHECK_EQ(p->pictures, 2);
    CHECK(p->tasks[SAMPLE_REFER] == 1 && p->tasks[SAMPLE_VQA] == 1 && p->tasks[SAMPLE_PIXELS] == 1);
    CHECK_EQ(s->n_groups, 2);
    CHECK_EQ(s->groups[0].n, 2);
    CHECK_EQ(strlen(p->digest), 64);
    CHECK_EQ(p->n_errors, 3);
    CHECK_EQ(p->errors[0].line, 4);
    CHECK_STR(p->errors[0].code, "box_outside");
    CHECK_STR(p->errors[0].field, "box");
    CHECK_HAS(p->errors[0].reason, "10 x 8");
    CHECK_EQ(p->errors[1].line, 5);
    CHECK_STR(p->errors[1].code, "not_json");
    CHECK_STR(p->errors[2].code, "no_such_picture");
    struct line l;
    struct picture pic;
    CHECK_EQ(source_get_line(s, 1, &l, NULL), 0);
    CHECK_STR(l.question, "q");
    CHECK_EQ(source_get_picture(s, &s->lines[1], &l, 0, &pic, NULL, NULL), 0);
    CHECK(pic.w == 10 && pic.h == 8);
    mem_free(pic.rgb);
    line_clear(&l);
}

TEST(source_of_lines_beside_pictures_and_in_a_tar) {
    struct rig r;
    struct buf tar, a, b;
    char digest[65];
    const struct source_options o = {0};
    rig_open(&r);
    tars_put_png(&r, "a.png", 10, 8, 1);
    tars_put_png(&r, "b.png", 4, 4, 2);
    const char *file = rig_file(&r, "train.jsonl", lines);
    struct source *s = open_or_fail(r.dir, &o);
    check_lines(s);
    CHECK_STR(source_report(s)->errors[0].file, file);
    memcpy(digest, source_report(s)->digest, 65);
    source_close(s);
    s = open_or_fail(file, &(struct source_options){.told_max = 1, .is_deep = 1});
    CHECK(source_report(s)->bad == 3 && source_report(s)->n_errors == 1);
    CHECK_STR(source_report(s)->digest, digest);
    source_close(s);
    rig_close(&r);
    rig_open(&r);
    buf_init(&tar, 1 << 16);
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    tars_png(&a, 10, 8, 1);
    tars_png(&b, 4, 4, 2);
    tars_add(&tar, "pairs/train.jsonl", '0', lines, sizeof(lines) - 1);
    tars_add(&tar, "pairs/a.png", '0', a.p, a.len);
    tars_add(&tar, "pairs/b.png", '0', b.p, b.len);
    tars_end(&tar);
    file = rig_bytes(&r, "x.tar", tar.p, tar.len);
    for (int as_folder = 0; as_folder < 2; as_folder++) {
        s = open_or_fail(as_folder ? r.dir : file, &o);
        check_lines(s);
        CHECK_HAS(source_report(s)->errors[0].file, "x.tar: pairs/train.jsonl");
        source_close(s);
    }
    rig_close(&r);
    buf_clear(&tar);
    buf_clear(&a);
    buf_clear(&b);
}

/* Pictures in two tars, lines beside them; then no lines at all. */
TEST(source_of_tars_of_pictures) {
    struct rig r;
    struct source *s;
    rig_open(&r);
    for (int k = 0; k < 2; k++) {
        struct buf tar, png;
        char name[16];
        buf_init(&tar, 1 << 16);
        buf_init(&png, 1 << 16);
        tars_png(&png, 10 + k, 8, k);
        snprintf(name, sizeof(name), "%d.png", k);
        tars_add(&tar, name, '0', png.p, png.len);
        tars_add(&tar, "both.png", '0', png.p, png.len);
        tars_end(&tar);
        snprintf(name, sizeof(name), "%d.tar", k);
        rig_bytes(&r, name, tar.p, tar.len);
        buf_clear(&tar);
        buf_clear(&png);
    }
    s = open_or_fail(r.dir, &(struct source_options){0});
    CHECK(source_report(s)->tasks[SAMPLE_PIXELS] == 4 && source_report(s)->pictures == 4);
    source_close(s);
    rig_file(
        &r, "x.jsonl",
        "{\"task\":\"pixels\",\"image\":\"0.png\"}\n{\"task\":\"pixels\",\"image\":\"1.png\"}\n"
        "{\"task\":\"pixels\",\"image\":\"both.png\"}\n");
    s = open_or_fail(r.dir, &(struct source_options){0});
    const struct source_report *p = source_report(s);
    CHECK(p->lines == 2 && p->bad == 1 && p->errors[0].line == 3);
    CHECK_HAS(p->errors[0].reason, "both.png is in several tars");
    for (uint32_t i = 0; i < 2; i++) {
        struct line l;
        struct picture pic;
        CHECK_EQ(source_get_line(s, i, &l, NULL), 0);
        CHECK_EQ(source_get_picture(s, &s->lines[i], &l, 0, &pic, NULL, NULL), 0);
        CHECK_EQ(pic.w, 10 + (int)i);
        mem_free(pic.rgb);
        line_clear(&l);
    }
    source_close(s);
    rig_close(&r);
}

/* Two lines with the same picture inside are one group; a chat whose second question brings a
 * picture is alone. */
TEST(source_groups_by_what_is_shown) {
#define IMG "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PNG "\"}}"
#define PNG       \
    "data:image/" \
    "png;base64," \
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVR42mMQUAAAAEMAMXl5xCoAAAAASUVORK5CYII="
#define ASK(p) "{\"role\":\"user\",\"content\":[" p "{\"type\":\"text\",\"text\":\"q\"}]}"
#define SAY    ",{\"role\":\"assistant\",\"content\":\"a\"}"
    struct rig r;
    rig_open(&r);
    rig_file(&r, "x.jsonl",
             "{\"messages\":[" ASK(IMG ",") SAY
             "]}\n"
             "{\"task\":\"caption\",\"image\":\"" PNG "\",\"caption\":\"c\"}\n"
             "{\"messages\":[" ASK() SAY "," ASK(IMG ",") SAY "]}\n"
                                                              "{\"messages\":[" ASK() SAY
             "]}\n{\"messages\":[" ASK() SAY
             "]}\n"
             "{\"task\":\"pixels\",\"image\":\"data:image/png;base64,AAAA\"}\n");
    struct source *s = open_or_fail(r.dir, &(struct source_options){0});
    CHECK(source_report(s)->lines == 5 && source_report(s)->bad == 1);
    CHECK_STR(source_report(s)->errors[0].code, "bad_picture");
    CHECK_EQ(s->n_groups, 4);
    CHECK(s->lines[0].group == s->lines[1].group && s->lines[2].group != s->lines[0].group);
    struct line l;
    struct picture pic;
    CHECK_EQ(source_get_line(s, 2, &l, NULL), 0);
    CHECK(l.turns[0].n_pictures == 0 && l.turns[1].n_pictures == 1);
    CHECK_EQ(source_get_picture(s, &s->lines[2], &l, 0, &pic, NULL, NULL), 0);
    CHECK(pic.w == 2 && pic.h == 1);
    mem_free(pic.rgb);
    line_clear(&l);
    source_close(s);
    rig_close(&r);
#undef IMG
#undef PNG
#undef ASK
#undef SAY
}

TEST(source_of_pictures_alone) {
    struct rig r;
    const struct source_options o = {0};
    rig_open(&r);
    tars_put_png(&r, "b.png", 4, 4, 2);
    tars_put_png(&r, "a.PNG", 3, 4, 2);
    rig_file(&r, "c.jpg", "no picture");
    rig_file(&r, "notes.txt", "x");
    struct source *s = open_or_fail(r.dir, &o);
    CHECK(source_report(s)->tasks[SAMPLE_PIXELS] == 2 && source_report(s)->bad == 1);
    CHECK_STR(source_report(s)->errors[0].code, "bad_picture");
    source_close(s);
    rig_close(&r);
    struct err e = {0};
    rig_open(&r);
    CHECK_EQ(source_open(r.dir, &o, &s, &e), E_NOT_FOUND);
    CHECK(s == NULL);
    CHECK_HAS(e.text, "neither *.jsonl");
    e = (struct err){0};
    CHECK_EQ(source_open("/nowhere", &o, &s, &e), E_NOT_FOUND);
    rig_close(&r);
}

/* A JPEG of 16 x 8 as stored, its left half red and its right half black, whose EXIF turns it a
 * quarter to the right. */
static void put_turned(struct rig *r, const char *name) {
    struct buf b;
    buf_init(&b, 1 << 16);
    CHECK_EQ(file_read("tests/unit/data/source/turned.jpg", &b, NULL), 0);
    rig_bytes(r, name, b.p, b.len);
    buf_clear(&b);
}

TEST(source_shows_pictures_as_people_see_them) {
    struct rig r;
    rig_open(&r);
    put_turned(&r, "a.jpg");
    rig_file(&r, "x.jsonl",
             "{\"task\":\"refer\",\"image\":\"a.jpg\",\"sentence\":\"x\",\"box\":[0,0,8,16]}\n"
             "{\"task\":\"refer\",\"image\":\"a.jpg\",\"sentence\":\"x\",\"box\":[0,0,16,8],"
             "\"orient\":\"stored\"}\n");
    struct source *s = open_or_fail(r.dir, &(struct source_options){0});
    CHECK(source_report(s)->lines == 2 && s->n_groups == 2 && source_report(s)->pictures == 1);
    for (uint32_t i = 0; i < 2; i++) {
        struct line l;
        struct picture p;
        CHECK_EQ(source_get_line(s, i, &l, NULL), 0);
        CHECK_EQ(source_get_picture(s, &s->lines[i], &l, 0, &p, NULL, NULL), 0);
        CHECK(p.w == (i ? 16 : 8) && p.h == (i ? 8 : 16));
        /* Stored: red on the left. Turned right: red at the top. */
        CHECK(p.rgb[0] > 200 && p.rgb[3 * (p.w * p.h - 1)] < 50);
        const uint8_t *corner = p.rgb + 3 * (p.w - 1); /* top right */
        CHECK(i ? corner[0] < 50 : corner[0] > 200);
        mem_free(p.rgb);
        line_clear(&l);
    }
    source_close(s);
    s = open_or_fail(r.dir, &(struct source_options){.is_stored = 1});
    CHECK(source_report(s)->lines == 1 && source_report(s)->bad == 1);
    source_close(s);
    rig_close(&r);
}

TEST(source_holds_masks_against_their_pictures) {
    struct rig r;
    rig_open(&r);
    tars_put_png(&r, "a.png", 4, 3, 1);
    tars_put_png(&r, "small.png", 3, 3, 1);
    struct buf b;
    buf_init(&b, 4096);
    static const uint8_t rgb[36] = {[3] = 7, [7] = 1}; /* ids 7 at (1, 0) and 256 at (2, 0) */
    CHECK_EQ(picture_png(rgb, 4, 3, &b), 0);
    rig_bytes(&r, "m.png", b.p, b.len);
    buf_clear(&b);
#define M(mask) "{\"task\":\"mask\",\"image\":\"a.png\",\"sentence\":\"x\",\"mask\":" mask "}\n"
    rig_file(&r, "x.jsonl",
             M("\"m.png\"") M("{\"file\":\"m.png\",\"ids\":[256]}")
                 M("{\"size\":[3,4],\"counts\":[3,1,8]}") M("[[1,0,2,0,2,1,1,1]]")
                     M("\"small.png\"") M("\"none.png\"") M("{\"size\":[4,3],\"counts\":[12]}")
                         M("{\"size\":[3,4],\"counts\":[11]}")
                             M("{\"size\":[3,4],\"counts\":\"\\u007f\"}")
                                 M("[[1,0,2,0,1e9,1,1,1]]"));
#undef M
    static const uint8_t want[4][12] = {{0, 1, 1}, {0, 0, 1}, {0, 1}, {0, 1}};
    struct source *s = open_or_fail(r.dir, &(struct source_options){.is_deep = 1});
    CHECK(source_report(s)->lines == 4 && source_report(s)->bad == 6);
    for (uint32_t i = 0; i < 4; i++) {
        struct line l;
        uint8_t *bits;
        CHECK_EQ(source_get_line(s, i, &l, NULL), 0);
        CHECK_EQ(source_get_mask(s, &s->lines[i], &l, 4, 3, &bits, NULL), 0);
        CHECK_MEM(bits, want[i], 12);
        mem_free(bits);
        line_clear(&l);
    }
    static const char *const codes[] = {"mask_size", "no_such_picture", "mask_size",
                                        "bad_mask",  "bad_mask",        "bad_mask"};
    for (uint32_t i = 0; i < 6; i++)
        CHECK_STR(source_report(s)->errors[i].code, codes[i]);
    source_close(s);
    rig_close(&r);
}

/* write_shards.py --scenes 3 --side 64 --quality 60 --seed 3 */
TEST(source_of_the_shards_that_our_tool_writes) {
    struct source *s = open_or_fail("tests/golden/shards", &(struct source_options){.is_deep = 1});
    const struct source_report *p = source_report(s);
    if (p->bad) test_failed(__FILE__, __LINE__, "%s: %s", p->errors[0].code, p->errors[0].reason);
    CHECK(p->pictures == 3 && s->n_groups == 3);
    static const int each[] = {SAMPLE_PIXELS, SAMPLE_CAPTION, SAMPLE_GROUNDING, SAMPLE_DETECTION};
    for (size_t i = 0; i < ARRAY_LEN(each); i++)
        CHECK_EQ(p->tasks[each[i]], 3);
    CHECK(p->tasks[SAMPLE_MASK] > 9 && p->tasks[SAMPLE_REFER] > 3 && p->tasks[SAMPLE_VQA] > 3);
    source_close(s);
}

TEST(source_refuses_broken_tars) {
    struct rig r;
    struct buf tar;
    struct source *s;
    struct err e = {0};
    rig_open(&r);
    buf_init(&tar, 1 << 16);
    tars_add(&tar, "a.jsonl", '0', "", 0);
    tars_add(&tar, "./a.jsonl", '0', "", 0);
    tars_end(&tar);
    const char *path = rig_bytes(&r, "x.tar", tar.p, tar.len);
    CHECK_EQ(source_open(path, &(struct source_options){0}, &s, &e), E_FORMAT);
    CHECK_HAS(e.text, "x.tar: a.jsonl is in it twice");
    buf_clear(&tar);
    rig_close(&r);
}

static int stop_at_once(void *ud, uint64_t n, uint64_t done, uint64_t all) {
    CHECK(n <= 1000 && done <= all);
    return ++*(int *)ud > 1;
}

TEST(source_reads_long_files_and_can_be_stopped) {
    struct rig r;
    struct buf b;
    rig_open(&r);
    tars_put_png(&r, "a.png", 4, 4, 1);
    buf_init(&b, 64 << 20);
    for (int i = 0; i < 1000; i++) {
        buf_printf(&b, "{\"task\":\"caption\",\"image\":\"a.png\",\"caption\":\"%d", i);
        for (int k = 0; k < i % 700; k++)
            buf_char(&b, 'x');
        buf_str(&b, "\"}\n");
    }
    for (int i = 0; i < SOURCE_LINE_MAX + 10; i++)
        buf_char(&b, 'y');
    buf_str(&b, "\n{\"task\":\"pixels\",\"image\":\"a.png\"}\n");
    rig_bytes(&r, "x.jsonl", b.p, b.len);
    buf_clear(&b);
    struct source *s = open_or_fail(r.dir, &(struct source_options){0});
    const struct source_report *p = source_report(s);
    CHECK(p->lines == 1001 && p->bad == 1 && p->errors[0].line == 1001);
    CHECK_STR(p->errors[0].code, "too_long");
    for (uint32_t i = 0; i < 1000; i += 333) {
        struct line l;
        char text[8], where[200];
        snprintf(text, sizeof(text), "%u", i);
        CHECK_EQ(source_get_line(s, i, &l, NULL), 0);
        CHECK(strncmp(l.caption, text, strlen(text)) == 0);
        line_clear(&l);
        source_get_where(s, i, where, sizeof(where));
        snprintf(text, sizeof(text), "%u", i + 1);
        CHECK_HAS(where, text);
    }
    source_close(s);
    int calls = 0;
    struct err e = {0};
    const struct source_options o = {.progress = stop_at_once, .ud = &calls};
    CHECK_EQ(source_open(r.dir, &o, &s, &e), E_CANCELLED);
    CHECK_EQ(calls, 2);
    rig_close(&r);
}

/* As uploads are stored: by what the bytes say, and without a look beside them. */
TEST(source_of_files_without_a_suffix) {
    struct rig r;
    struct source *s;
    struct source_options o = {.is_deep = 1};
    struct buf tar, png;
    struct err e = {0};
    rig_open(&r);
    buf_init(&png, 1 << 20);
    buf_init(&tar, 1 << 20);
    tars_png(&png, 8, 6, 1);
    const char *line = "{\"task\": \"pixels\", \"image\": \"a.png\"}\n";
    tars_add(&tar, "t.jsonl", '0', line, strlen(line));
    tars_add(&tar, "a.png", '0', png.p, png.len);
    tars_end(&tar);
    rig_bytes(&r, "a.png", png.p, png.len); /* beside both of them */
    const char *const paths[] = {rig_bytes(&r, "0123", tar.p, tar.len), rig_file(&r, "4567", line),
                                 rig_file(&r, "89ab", "neither")};
    CHECK_EQ(source_open(paths[0], &o, &s, &e), 0);
    CHECK_EQ(source_report(s)->lines, 1);
    source_close(s);
    CHECK_EQ(source_open(paths[1], &o, &s, &e), 0);
    CHECK_EQ(source_report(s)->bad, 1);
    CHECK_STR(source_report(s)->errors[0].code, "no_such_picture");
    source_close(s);
    CHECK_EQ(source_open(paths[2], &o, &s, &e), E_FORMAT);
    buf_clear(&tar);
    buf_clear(&png);
    rig_close(&r);
}
