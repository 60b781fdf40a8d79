/* test_parts.c - what a run of `lammd train` leaves in its folder: state, checkpoints, the lock,
 * the table of losses and its curve. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/train/curve.h"
#include "cli/train/journal.h"
#include "cli/train/say.h"
#include "data/files.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static void make_folder(char dir[64]) {
    snprintf(dir, 64, "/tmp/lammd-train-XXXXXX");
    CHECK(mkdtemp(dir));
}

static void drop_folder(const char *dir) {
    char name[200];
    static const char *const names[] = {"lock", "losses.csv", "events.jsonl"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(name, sizeof(name), "%s/%s", dir, names[i]);
        unlink(name);
    }
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "%s/step-%08d.safetensors", dir, i);
        unlink(name);
    }
    CHECK_EQ(rmdir(dir), 0);
}

/* ---- state ---- */

TEST(state_is_read_as_it_was_written) {
    struct state a = {.done = 12,
                      .talks = UINT64_C(1) << 60,
                      .csv_bytes = 7,
                      .best_step = 9,
                      .best = 0.1,
                      .seconds = 1.0 / 3},
                 b;
    a.before.sum[SAMPLE_REFER] = 1e300;
    a.last.weight[SAMPLE_TASKS - 1] = 5e-324;
    char text[STATE_TEXT_MAX];
    state_write(&a, text);
    CHECK_EQ(state_read(text, &b, NULL), 0);
    CHECK_MEM(&a, &b, sizeof(a));
}

TEST(state_refuses) {
    struct state s = {0};
    char text[STATE_TEXT_MAX], bad[STATE_TEXT_MAX + 4];
    state_write(&s, text);
    CHECK_EQ(state_read("", &s, NULL), E_FORMAT);
    CHECK_EQ(state_read("something else", &s, NULL), E_FORMAT);
    for (size_t n = strlen(text) - 1; n > 0; n -= n > 9 ? 9 : 1) { /* cut short */
        snprintf(bad, sizeof(bad), "%.*s", (int)n, text);
        if (bad[n - 1] == ' ') CHECK_EQ(state_read(bad, &s, NULL), E_FORMAT);
    }
    snprintf(bad, sizeof(bad), "%s 1", text);
    CHECK_EQ(state_read(bad, &s, NULL), E_FORMAT);
    snprintf(bad, sizeof(bad), "%s", text);
    memcpy(strrchr(bad, ' '), " inf", 5);
    CHECK_EQ(state_read(bad, &s, NULL), E_FORMAT);
}

TEST(losses_are_means) {
    struct losses l = {0};
    CHECK_NEAR(losses_mean(&l), 0, 0);
    CHECK(!losses_any(&l));
    l.sum[0] = 3;
    l.weight[0] = 1;
    l.sum[2] = 1;
    l.weight[2] = 1;
    CHECK_NEAR(losses_mean(&l), 2, 0);
    CHECK_NEAR(losses_of(&l, 0), 3, 0);
    CHECK_NEAR(losses_of(&l, 1), 0, 0);
    char text[80];
    say_losses(&l, text, sizeof(text));
    CHECK_STR(text, "2.0000 (pixels 3.000, refer 1.000)");
}

TEST(times_are_said) {
    char t[24];
    const struct {
        double s;
        const char *text;
    } cases[] = {{0, "0s"}, {59.4, "59s"}, {200, "3m20s"}, {3900, "1h05m"}, {400000, "4d15h"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        say_time(cases[i].s, t);
        CHECK_STR(t, cases[i].text);
    }
}

/* ---- the folder ---- */

static void put_checkpoint(const struct folder *f, uint64_t step) {
    char path[FOLDER_PATH_MAX];
    folder_checkpoint(f, step, path);
    CHECK_EQ(file_write(path, "x", 1, NULL), 0);
}

TEST(folder_keeps_two_and_the_best) {
    char dir[64], half[200];
    struct folder f;
    uint64_t steps[FOLDER_STEPS_MAX];
    int n;
    make_folder(dir);
    CHECK_EQ(folder_open(dir, &f, NULL), 0);
    CHECK_EQ(folder_steps(&f, steps, &n, NULL), 0);
    CHECK_EQ(n, 0);
    for (uint64_t i = 1; i <= 5; i++)
        put_checkpoint(&f, i);
    snprintf(half, sizeof(half), "%s/step-00000009.safetensors.123.tmp", dir);
    CHECK_EQ(file_write(half, "x", 1, NULL), 0);
    CHECK_EQ(folder_prune(&f, 2, NULL), 0);
    CHECK_EQ(folder_steps(&f, steps, &n, NULL), 0);
    CHECK_EQ(n, 3);
    CHECK_EQ(steps[0], 5);
    CHECK_EQ(steps[1], 4);
    CHECK_EQ(steps[2], 2);
    CHECK(access(half, F_OK) != 0);
    CHECK_EQ(folder_prune(&f, 0, NULL), 0);
    CHECK_EQ(folder_steps(&f, steps, &n, NULL), 0);
    CHECK_EQ(n, 2);
    folder_close(&f);
    drop_folder(dir);
}

TEST(folder_is_one_runs_alone) {
    char dir[64], text[64];
    struct folder a, b;
    struct err e = {0};
    make_folder(dir);
    CHECK_EQ(folder_open(dir, &a, NULL), 0);
    CHECK_EQ(folder_open(dir, &b, &e), E_BUSY);
    snprintf(text, sizeof(text), "process %ld", (long)getpid());
    CHECK_HAS(e.text, text);
    folder_close(&a);
    CHECK_EQ(folder_open(dir, &b, NULL), 0);
    folder_close(&b);
    drop_folder(dir);
}

TEST(folder_refuses) {
    struct folder f;
    struct err e = {0};
    char path[5000];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    CHECK_EQ(folder_open(path, &f, &e), E_INVALID);
    CHECK_EQ(folder_open("", &f, NULL), E_INVALID);
    e = (struct err){0};
    CHECK_EQ(folder_open("/dev/null", &f, &e), E_IO);
    CHECK_HAS(e.text, "/dev/null: it is not a folder");
    CHECK_EQ(folder_open("/dev/null/x", &f, NULL), E_IO);
}

TEST(folder_wants_space) {
    char dir[64];
    struct folder f;
    struct err e = {0};
    make_folder(dir);
    CHECK_EQ(folder_open(dir, &f, NULL), 0);
    CHECK_EQ(folder_check_space(&f, 1, NULL), 0);
    CHECK_EQ(folder_check_space(&f, UINT64_C(1) << 60, &e), E_IO);
    CHECK_HAS(e.text, "three checkpoints take");
    folder_close(&f);
    drop_folder(dir);
}

/* ---- the table and the log ---- */

static void add_row(struct journal *j, uint64_t step, double loss, int is_judgement) {
    struct losses l = {0};
    l.sum[SAMPLE_REFER] = 2 * loss;
    l.weight[SAMPLE_REFER] = 2;
    const struct journal_row r = {.step = step,
                                  .stage = step > 5 ? "two" : "one",
                                  .is_judgement = is_judgement,
                                  .losses = &l,
                                  .rate = 1e-5,
                                  .norm = NAN,
                                  .talks = 3,
                                  .tokens = 9};
    CHECK_EQ(journal_add(j, &r, NULL), 0);
}

static void read_file(const char *path, struct buf *to) {
    buf_init(to, 1 << 20);
    CHECK_EQ(file_read(path, to, NULL), 0);
}

static size_t count(const struct buf *text, const char *part) {
    size_t n = 0;
    for (const char *s = (const char *)text->p; (s = strstr(s, part)); s++)
        n++;
    return n;
}

/* A run that goes on cuts the table back to its checkpoint, and of the log only a line that is cut.
 */
TEST(journal_goes_on) {
    char dir[64];
    struct folder f;
    struct journal j;
    struct buf text;
    make_folder(dir);
    CHECK_EQ(folder_open(dir, &f, NULL), 0);
    CHECK_EQ(journal_open(&f, 0, &j, NULL), 0);
    add_row(&j, 1, 2.5, 0);
    CHECK_EQ(journal_sync(&j, NULL), 0);
    uint64_t bytes = j.csv_bytes;
    add_row(&j, 2, 2.25, 0);
    CHECK_EQ(write(j.events, "{\"event\": \"st", 13), 13);
    journal_close(&j);
    CHECK_EQ(journal_open(&f, bytes, &j, NULL), 0);
    add_row(&j, 2, 2.25, 0);
    add_row(&j, 2, 1.75, 1);
    journal_close(&j);
    read_file(j.csv_path, &text);
    CHECK_EQ(count(&text, "\n"), 4);
    CHECK_HAS((const char *)text.p,
              "step,stage,kind,loss,rate,norm,talks,tokens,seconds,skipped,box,hold,pix");
    CHECK_HAS((const char *)text.p, ",shoot,dense_inside,dense_box,dense_colour,dense_feature\n");
    CHECK_HAS((const char *)text.p, "\n2,one,learn,2.25,1e-05,nan,3,9,0.0000,0,,,,,2.25,,");
    CHECK_HAS((const char *)text.p, "\n2,one,judge,1.75,,,,,,,,,,,1.75,,");
    buf_clear(&text);
    read_file(j.events_path, &text);
    CHECK_EQ(count(&text, "\n"), 4);
    CHECK_EQ(count(&text, "\"event\":\"step\""), 3);
    CHECK_EQ(count(&text, "\"norm\":null"), 3);
    CHECK_EQ(count(&text, "\"tasks\":{\"refer\":1.75}"), 1);
    buf_clear(&text);
    CHECK_EQ(journal_open(&f, 1 << 20, &j, NULL), E_FORMAT);
    folder_close(&f);
    drop_folder(dir);
}

TEST(journal_tells_of_a_full_disk) {
    struct journal j = {.csv = open("/dev/full", O_WRONLY), .csv_path = "losses.csv"};
    struct losses l = {0};
    struct err e = {0};
    const struct journal_row r = {.stage = "a", .losses = &l};
    if (j.csv < 0) skip("there is no /dev/full");
    CHECK_EQ(journal_add(&j, &r, &e), E_IO);
    CHECK_STR(e.text, "losses.csv: No space left on device");
    close(j.csv);
}

/* ---- the curve ---- */

static const char head[] =
    "step,stage,kind,loss,rate,norm,talks,tokens,seconds,skipped,box,hold,a,b,c,d,e,f,"
    "g,h,i,j,k\n";

static int draw(const char *rows, uint8_t *rgb, struct err *e) {
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_printf(&text, "%s%s", head, rows);
    int rc = curve_draw((const char *)text.p, text.len, rgb, e);
    buf_clear(&text);
    return rc;
}

static size_t count_colour(const uint8_t *rgb, int r, int g, int b) {
    size_t n = 0;
    for (size_t i = 0; i < (size_t)CURVE_W * CURVE_H; i++)
        n += rgb[3 * i] == r && rgb[3 * i + 1] == g && rgb[3 * i + 2] == b;
    return n;
}

TEST(curve_is_drawn) {
    uint8_t *rgb = mem_must((size_t)CURVE_W * CURVE_H * 3);
    struct err e = {0};
    CHECK_EQ(draw("", rgb, &e), E_NOT_FOUND);
    e = (struct err){0};
    CHECK_EQ(draw("1,a,learn,1,1,1,1,1,1,0\n", rgb, &e), E_FORMAT);
    CHECK_EQ(draw("0,a,learn,1,1,1,1,1,1,0,,,,,,,,,,,,nan,\n", rgb, NULL), E_NOT_FOUND);
    CHECK_EQ(
        draw("1,a,learn,2,1,1,1,1,1,0,,,2,,,,,,,,,,\n500,a,learn,0.5,1,1,1,1,1,0,,,0.5,,,,,,,,,,\n"
             "1000,b,judge,0.25,,,,,,,,,0.25,0.75,,,,,,,,,\n",
             rgb, NULL),
        0);
    CHECK(count_colour(rgb, 31, 119, 180) > 400); /* pixels: a line and a square */
    CHECK(count_colour(rgb, 214, 39, 40) > 49);   /* mask: a square and its name */
    CHECK_EQ(count_colour(rgb, 44, 160, 44), 0);  /* refer: nothing */
    mem_free(rgb);
}

/* Hostile rows are refused, or drawn within the picture. */
TEST(curve_survives_anything) {
    uint8_t *rgb = mem_must((size_t)CURVE_W * CURVE_H * 3 + 64);
    const char *rows[] = {"1e308,a,learn,,,,,,,,,,1e308,,,,,,,,,,\n",
                          "-5,a,learn,,,,,,,,,,1,,,,,,,,,,\n",
                          "1e-300,,,,,,,,,,,,1,,,,,,,,,,\n",
                          ",,,,,,,,,,,,,,,,,,,,\n",
                          "\n",
                          "a"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        (void)draw(rows[i], rgb, NULL);
    for (int i = 0; i < 64; i++)
        CHECK_EQ(rgb[(size_t)CURVE_W * CURVE_H * 3 + (size_t)i], 0);
    mem_free(rgb);
}
