/* The folder of --state is made, and is one server's at a time. */
#include "server/statedir.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

TEST(statedir_is_made_and_locked) {
    char top[] = "/tmp/lammd-statedir-XXXXXX", dir[80], path[100];
    struct stat s;
    struct err e = {0};
    int fd, other;
    CHECK(mkdtemp(top));
    snprintf(dir, sizeof(dir), "%s/state", top);
    snprintf(path, sizeof(path), "%s/lammd.lock", dir);
    CHECK_EQ(statedir_open(dir, &fd, &e), 0);
    CHECK(stat(dir, &s) == 0 && (s.st_mode & 07777) == 0700);
    CHECK_EQ(statedir_open(dir, &other, &e), E_BUSY);
    CHECK_HAS(e.text, "another lammd serve has it");
    CHECK_EQ(other, -1);
    statedir_close(fd);
    CHECK_EQ(statedir_open(dir, &fd, NULL), 0); /* the file that was left means nothing */
    statedir_close(fd);
    statedir_close(-1);
    e = (struct err){0};
    CHECK_EQ(statedir_open(path, &fd, &e), E_INVALID);
    CHECK_HAS(e.text, "is no folder");
    CHECK(unlink(path) == 0 && symlink("/tmp/nowhere/x", path) == 0);
    CHECK_EQ(statedir_open(dir, &fd, NULL), E_IO);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    snprintf(dir, sizeof(dir), "%s/not/there", top);
    e = (struct err){0};
    CHECK_EQ(statedir_open(dir, &fd, &e), E_IO);
    CHECK_HAS(e.text, "can't be made");
    rmdir(top);
}
