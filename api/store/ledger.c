/* ledger.c - see ledger.h. Names are looked up only where they must be there: a client of NFS
 * remembers for a while that a name was not. */
#include "api/store/ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/files/smallfile.h"
#include "kernels/base/jsonscan.h"
#include "kernels/base/mem.h"

enum { LEDGER_PATH = 4096, LEDGER_NAME = 32, LEFT_S = 3600, CLAIM_BYTES = 1024, CLAIM_MARKS = 8 };

static const char temp_form[] = ".new-XXXXXX";

struct ledger {
    char folder[LEDGER_PATH - LEDGER_NAME - 1];
    uint64_t told;
    unsigned looks;
};

static void ledger_path(const struct ledger *l, const char *name, char path[LEDGER_PATH]) {
    snprintf(path, LEDGER_PATH, "%s/%s", l->folder, name);
}

static void line_name(uint64_t number, char name[LEDGER_NAME]) {
    snprintf(name, LEDGER_NAME, "%08llu.json", (unsigned long long)number);
}

uint64_t ledger_lines(const struct ledger *l) { return l->told; }

/* ---- a new file ---- */

static int ledger_bad(struct err *e) { return err_set(e, E_IO, "%s", strerror(errno)); }

/* A file with these bytes, synced, under a name of its own; its descriptor, or E_IO. */
static int temp_write(const struct ledger *l, const char *text, size_t n, char path[LEDGER_PATH],
                      struct err *e) {
    ledger_path(l, temp_form, path);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return ledger_bad(e);
    ssize_t put = write(fd, text, n);
    if (put >= 0 && (size_t)put < n) errno = ENOSPC;
    if (put == (ssize_t)n && fchmod(fd, 0644) == 0 && fsync(fd) == 0) return fd;
    int rc = ledger_bad(e);
    close(fd);
    unlink(path);
    return rc;
}

/* The file of that name, if there is none: E_BUSY. An answer of NFS that got lost looks like a
 * failure, so what counts is whether the file has two names now. */
static int ledger_publish(const struct ledger *l, const char *name, const char *text, size_t n,
                          struct err *e) {
    char temp[LEDGER_PATH], path[LEDGER_PATH];
    struct stat s;
    int fd = temp_write(l, text, n, temp, e);
    if (fd < 0) return fd;
    ledger_path(l, name, path);
    int failed = link(temp, path), why = errno;
    if (failed && fstat(fd, &s) == 0 && s.st_nlink == 2) failed = 0;
    close(fd);
    unlink(temp);
    if (!failed) {
        int dir = open(l->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0) (void)fsync(dir); /* the others have seen it: there is no way back */
        if (dir >= 0) close(dir);
        return 0;
    }
    if (why == EEXIST) return err_set(e, E_BUSY, "another replica was first");
    const char *hint = why == EPERM || why == EOPNOTSUPP ? "; a file system with hard links is "
                                                           "needed, such as NFS or CephFS"
                                                         : "";
    return err_set(e, E_IO, "%s%s", strerror(why), hint);
}

/* ---- the hint ---- */

/* The number in FOLDER/newest; 0: there is none that can be read. */
static uint64_t newest_read(const struct ledger *l) {
    char path[LEDGER_PATH], *text = NULL;
    size_t len = 0;
    ledger_path(l, "newest", path);
    if (smallfile_read(path, 16, &text, &len, NULL)) return 0;
    size_t digits = len && text[len - 1] == '\n' ? len - 1 : 0;
    uint64_t n = 0;
    for (size_t i = 0; i < digits && digits <= 8; i++)
        n = text[i] >= '0' && text[i] <= '9' ? n * 10 + (uint64_t)(text[i] - '0') : n;
    mem_free(text);
    return n;
}

static void newest_write(const struct ledger *l) {
    char temp[LEDGER_PATH], path[LEDGER_PATH], text[24];
    int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)l->told);
    int fd = temp_write(l, text, (size_t)n, temp, NULL);
    if (fd < 0) return; /* it is a hint */
    close(fd);
    ledger_path(l, "newest", path);
    if (rename(temp, path)) unlink(temp);
}

/* ---- the whole folder ---- */

/* "00000017.json" -> 17; 0: it is no line. */
static uint64_t ledger_number(const char *name) {
    char again[LEDGER_NAME];
    uint64_t n = strtoull(name, NULL, 10);
    if (n < 1 || n > LEDGER_LINES_MAX) return 0;
    line_name(n, again);
    return strcmp(name, again) == 0 ? n : 0;
}

/* What somebody left who was killed while he wrote. */
static void ledger_sweep(const struct ledger *l, const char *name) {
    char path[LEDGER_PATH];
    struct stat s;
    if (strlen(name) != sizeof(temp_form) - 1 || strncmp(name, temp_form, 5) != 0) return;
    ledger_path(l, name, path);
    if (lstat(path, &s) == 0 && time(NULL) - s.st_mtime > LEFT_S) unlink(path);
}

static int highest(const struct ledger *l, uint64_t *out, struct err *e) {
    DIR *d = opendir(l->folder);
    if (!d) return ledger_bad(e);
    for (const struct dirent *f; (f = readdir(d)) != NULL;) {
        uint64_t n = ledger_number(f->d_name);
        if (n > *out) *out = n;
        if (!n) ledger_sweep(l, f->d_name);
    }
    closedir(d);
    return 0;
}

/* ---- follow ---- */

static int line_read(const struct ledger *l, uint64_t number, struct history_line *out,
                     struct err *e) {
    char name[LEDGER_NAME], path[LEDGER_PATH], *text = NULL;
    size_t len = 0;
    line_name(number, name);
    ledger_path(l, name, path);
    int rc = smallfile_read(path, HISTORY_LINE_BYTES, &text, &len, e);
    if (rc == 0 && (len == 0 || text[len - 1] != '\n'))
        rc = err_set(e, E_FORMAT, "it is cut short");
    if (rc == 0) rc = history_parse(text, len - 1, out, e);
    mem_free(text);
    if (rc) (void)err_in(e, "%s", name);
    return rc;
}

int ledger_follow(struct ledger *l, void (*each)(void *ud, const struct history_line *line),
                  void *ud, struct err *e) {
    struct history_line line;
    uint64_t hint = newest_read(l), newest = hint;
    int is_whole = !hint || l->looks++ % LEDGER_WHOLE_LOOK == 0;
    int rc = is_whole ? highest(l, &newest, e) : 0;
    while (!rc && l->told < newest) {
        rc = line_read(l, l->told + 1, &line, e);
        if (rc) break;
        l->told++;
        each(ud, &line);
    }
    if (hint < l->told) newest_write(l);
    return rc;
}

int ledger_add(struct ledger *l, struct history_line *line, struct err *e) {
    char name[LEDGER_NAME], text[HISTORY_LINE_BYTES];
    if (l->told >= LEDGER_LINES_MAX) return err_set(e, E_IO, "there are too many lines");
    int n = history_print(line, text, e);
    if (n < 0) return n;
    line_name(l->told + 1, name);
    int rc = ledger_publish(l, name, text, (size_t)n, e);
    if (rc == E_BUSY) l->looks = 0; /* that its line is found, whatever the hint says */
    if (rc) return rc;
    l->told++;
    newest_write(l);
    return 0;
}

/* ---- whose it is ---- */

static int claim_read(const struct ledger *l, char model[96], char sha256[65], struct err *e) {
    char path[LEDGER_PATH], *text = NULL;
    size_t len = 0;
    ledger_path(l, "model.json", path);
    int rc = smallfile_read(path, CLAIM_BYTES, &text, &len, e);
    json_t *o = !rc && !jsonscan_bound(text, len, 1, CLAIM_MARKS, NULL)
                    ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    const char *name = json_string_value(json_object_get(o, "model"));
    const char *digest = json_string_value(json_object_get(o, "sha256"));
    if (!rc && (!name || !digest || strlen(digest) != 64))
        rc = err_set(e, E_FORMAT, "it says no model");
    if (rc) (void)err_in(e, "model.json");
    snprintf(model, 96, "%s", !rc ? name : "");
    snprintf(sha256, 65, "%s", !rc ? digest : "");
    json_decref(o);
    mem_free(text);
    return rc;
}

int ledger_claim(struct ledger *l, const char *model, const char *sha256, struct err *e) {
    char text[CLAIM_BYTES], its_name[96], its_digest[65];
    json_t *o = json_pack("{ssss}", "model", model, "sha256", sha256);
    size_t n = o ? json_dumpb(o, text, sizeof(text) - 1, JSON_COMPACT) : 0;
    json_decref(o);
    if (n == 0 || n >= sizeof(text)) return err_set(e, E_INVALID, "the model's name is too long");
    text[n] = '\n';
    struct err mine = {0};
    int rc = ledger_publish(l, "model.json", text, n + 1, &mine);
    if (rc == 0) return 0;
    if (rc != E_BUSY) return err_set(e, rc, "%s", mine.text);
    rc = claim_read(l, its_name, its_digest, e);
    if (rc || strcmp(its_digest, sha256) == 0) return rc;
    return err_set(e, E_INVALID,
                   "it is the folder of %s (sha256 %.12s), and here is %s (sha256 %.12s): each "
                   "model, and each form of its weights, has a folder of its own",
                   its_name, its_digest, model, sha256);
}

/* ---- open and close ---- */

int ledger_open(const char *folder, struct ledger **out, struct err *e) {
    *out = NULL;
    if (strlen(folder) >= sizeof(((struct ledger *)0)->folder))
        return err_set(e, E_INVALID, "the path of the shared folder is too long");
    if (mkdir(folder, 0777) && errno != EEXIST)
        return err_set(e, E_IO, "%s: %s", folder, strerror(errno));
    struct ledger *l = mem_must(sizeof(*l));
    snprintf(l->folder, sizeof(l->folder), "%s", folder);
    *out = l;
    return 0;
}

void ledger_close(struct ledger *l) { mem_free(l); }
