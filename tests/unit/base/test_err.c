/* test_err.c - the first error wins, contexts stack up in front, texts are cut and never
 * overrun. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/err.h"
#include "tests/check.h"

TEST(err_first_wins) {
    struct err e = {0};
    CHECK_EQ(err_set(&e, E_FORMAT, "tensor %s", "x"), E_FORMAT);
    CHECK_EQ(err_set(&e, E_IO, "later"), E_IO);
    CHECK_EQ(e.code, E_FORMAT);
    CHECK_STR(e.text, "tensor x");
    CHECK_EQ(err_set(NULL, E_BUSY, "nobody"), E_BUSY);
}

TEST(err_in_puts_context_in_front) {
    struct err e = {0};
    CHECK_EQ(err_in(&e, "nothing yet"), 0);
    CHECK_EQ(err_in(NULL, "nobody"), 0);
    CHECK_STR(e.text, "");
    err_set(&e, E_NOT_FOUND, "missing");
    CHECK_EQ(err_in(&e, "tensor %s", "lm_head.weight"), E_NOT_FOUND);
    CHECK_EQ(err_in(&e, "model /x"), E_NOT_FOUND);
    CHECK_STR(e.text, "model /x: tensor lm_head.weight: missing");
}

TEST(err_text_is_cut_with_dots) {
    char text[1000];
    for (size_t n = 230; n < 260; n++) {
        struct err e = {0};
        memset(text, 'a', n);
        text[n] = '\0';
        err_set(&e, E_IO, "%s", text);
        size_t most = sizeof(e.text) - 1;
        CHECK_EQ(strlen(e.text), n < most ? n : most);
        CHECK_EQ(strcmp(e.text + most - 3, "...") == 0, n > most);
    }
}

/* Two bytes a character: it ends behind a whole one, wherever the cut falls. */
TEST(err_text_is_cut_between_characters) {
    char text[1000] = "";
    for (size_t n = 0; n < 2; n++) {
        struct err e = {0};
        memset(text, 'a', n);
        for (size_t i = n; i < 600; i += 2)
            memcpy(text + i, "\xc3\xa9", 3);
        err_set(&e, E_IO, "%s", text);
        size_t len = strlen(e.text);
        CHECK(len >= 238 && (len - 3 - n) % 2 == 0);
        CHECK_STR(e.text + len - 3, "...");
        err_in(&e, "b");
        CHECK((strlen(e.text) - 3 - n - 3) % 2 == 0);
    }
}

TEST(err_context_is_cut_with_dots) {
    char text[1000];
    for (size_t n = 1; n < 400; n += 7) {
        struct err e = {0};
        memset(text, 'c', n);
        text[n] = '\0';
        err_set(&e, E_IO, "%s", "0123456789");
        CHECK_EQ(err_in(&e, "%s", text), E_IO);
        CHECK(strlen(e.text) < sizeof(e.text));
        CHECK_MEM(e.text, text, n < 230 ? n : 230);
        if (n + 12 < sizeof(e.text))
            CHECK_STR(e.text + n, ": 0123456789");
        else
            CHECK_STR(e.text + sizeof(e.text) - 4, "...");
    }
}

TEST(err_every_code_has_its_own_word) {
    CHECK_STR(err_word(0), "ok");
    CHECK_STR(err_word(E_TOO_BIG), "too_big");
    CHECK_STR(err_word(-999), "internal");
    for (int a = 0; a >= E_UNSUPPORTED; a--) {
        for (int b = 0; b > a; b--)
            CHECK(strcmp(err_word(a), err_word(b)) != 0);
    }
}

TEST(must_dies_with_the_place) {
    int fd[2];
    CHECK(pipe(fd) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        must(1 + 1 == 2);
        must(1 + 1 == 3);
        _exit(0);
    }
    close(fd[1]);
    char text[500] = "";
    CHECK(read(fd[0], text, sizeof(text) - 1) > 0);
    close(fd[0]);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status));
    CHECK(strstr(text, "test_err.c:") != NULL);
    CHECK(strstr(text, "1 + 1 == 3") != NULL);
}
