/* test_keys.c - `lammd keys` makes keys, the server knows them: good, bad, expired, revoked. */
#include "server/keys/keys.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "server/keys/edit.h"
#include "tests/check.h"

static void path_of(char path[64]) {
    snprintf(path, 64, "/tmp/lammd-keys-%ld", (long)getpid());
    unlink(path);
}

static enum key_verdict check(struct keys *k, const char *key, int64_t now,
                              struct key_found *found) {
    char header[200];
    snprintf(header, sizeof(header), "Bearer %s", key);
    return keys_check(k, header, now, found);
}

TEST(keys_good_bad_expired) {
    char path[64], me[KEY_TEXT_BYTES], brief[KEY_TEXT_BYTES], wrong[KEY_TEXT_BYTES + 8];
    struct keys *k;
    struct key_found f;
    path_of(path);
    CHECK_EQ(edit_new(path, "me", API_SCOPE(API_ASK), 0, me, NULL), 0);
    CHECK_EQ(edit_new(path, "brief", API_SCOPE(API_ADMIN), 2000000000, brief, NULL), 0);
    CHECK_EQ(keys_open(path, &k, NULL), 0);
    CHECK_EQ(check(k, me, 999, &f), KEY_GOOD);
    CHECK_EQ(f.scopes, API_SCOPE(API_ASK));
    CHECK_EQ(strncmp(me + strlen(KEY_PREFIX), f.id, strlen(f.id)), 0);
    CHECK_EQ(check(k, brief, 1999999999, &f), KEY_GOOD);
    CHECK_EQ(f.scopes, API_SCOPE(API_ADMIN));
    CHECK_EQ(check(k, brief, 2000000000, &f), KEY_EXPIRED);
    CHECK_EQ(f.scopes, 0);
    CHECK_EQ(keys_check(k, NULL, 0, &f), KEY_NONE);
    /* The secret of another id, and each byte of the right one. */
    snprintf(wrong, sizeof(wrong), "%s", me);
    memcpy(wrong + strlen(wrong) - KEY_SECRET_CHARS, brief + strlen(brief) - KEY_SECRET_CHARS,
           KEY_SECRET_CHARS);
    CHECK_EQ(check(k, wrong, 0, &f), KEY_BAD);
    for (size_t i = 0; i < strlen(me); i++) {
        snprintf(wrong, sizeof(wrong), "%s", me);
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        CHECK_EQ(check(k, wrong, 0, &f), KEY_BAD);
        CHECK_EQ(f.scopes, 0);
    }
    snprintf(wrong, sizeof(wrong), "%s0", me);
    CHECK_EQ(check(k, wrong, 0, &f), KEY_BAD);
    static const char *const none[] = {
        "",         "Bearer",        "Bearer ",        "Basic bGFtbWQ=",
        "Bearer x", "Bearer lammd_", "Bearer lammd__", "lammd_abcd_"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        CHECK_EQ(keys_check(k, none[i], 0, &f), KEY_BAD);
        CHECK_STR(f.id, "");
    }
    keys_close(k);
    unlink(path);
}

TEST(keys_revoked_and_reloaded) {
    char path[64], me[KEY_TEXT_BYTES], you[KEY_TEXT_BYTES], id[KEY_ID_MAX + 1];
    struct keys *k;
    struct key_found f;
    struct err e = {0};
    struct stat s;
    int n;
    path_of(path);
    CHECK_EQ(edit_new(path, "me", API_SCOPE(API_ASK), 0, me, NULL), 0);
    CHECK_EQ(edit_new(path, "you", API_SCOPE(API_ASK), 0, you, NULL), 0);
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
    CHECK_EQ(keys_open(path, &k, NULL), 0);
    CHECK_EQ(check(k, me, 0, &f), KEY_GOOD);
    snprintf(id, sizeof(id), "%s", f.id);
    CHECK_EQ(edit_revoke(path, id, NULL), 0);
    CHECK_EQ(edit_revoke(path, id, &e), E_NOT_FOUND);
    CHECK_EQ(check(k, me, 0, &f), KEY_GOOD); /* until it is read again */
    CHECK_EQ(keys_reload(k, &n, NULL), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(check(k, me, 0, &f), KEY_BAD);
    CHECK_STR(f.id, id);
    CHECK_EQ(check(k, you, 0, &f), KEY_GOOD);
    /* A bad file, and none, keep what there is. */
    FILE *file = fopen(path, "a");
    CHECK(file && fputs("nonsense\n", file) >= 0 && fclose(file) == 0);
    e = (struct err){0};
    CHECK_EQ(keys_reload(k, &n, &e), E_FORMAT);
    CHECK_HAS(e.text, "line 4: ");
    CHECK(!strstr(e.text, "/tmp"));
    CHECK_EQ(edit_new(path, "me", API_SCOPE(API_ASK), 0, me, NULL), E_FORMAT);
    CHECK_EQ(check(k, you, 0, &f), KEY_GOOD);
    unlink(path);
    CHECK_EQ(keys_reload(k, &n, NULL), E_NOT_FOUND);
    CHECK_EQ(check(k, you, 0, &f), KEY_GOOD);
    keys_close(k);
    e = (struct err){0};
    CHECK_EQ(keys_open(path, &k, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, path);
}

/* Comments, order and a last line without an end stay. */
TEST(keys_edits_keep_the_text) {
    static const char d[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char path[64], text[600], want[600], key[KEY_TEXT_BYTES];
    path_of(path);
    snprintf(text, sizeof(text),
             "aaaa %s ask never a\n# of b\nbbbb %s ask never b\ncccc %s ask never c", d, d, d);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
    CHECK_EQ(edit_revoke(path, "bbbb", NULL), 0);
    CHECK_EQ(edit_new(path, "new", API_SCOPE(API_ASK), 0, key, NULL), 0);
    snprintf(want, sizeof(want), "aaaa %s ask never a\n# of b\ncccc %s ask never c\n", d, d);
    file = fopen(path, "r");
    memset(text, 0, sizeof(text));
    CHECK(file && fread(text, 1, sizeof(text) - 1, file) > 0 && fclose(file) == 0);
    CHECK_EQ(strncmp(text, want, strlen(want)), 0);
    CHECK_EQ(strncmp(text + strlen(want), key + strlen(KEY_PREFIX), 12), 0);
    CHECK(!strstr(text, key + strlen(KEY_PREFIX) + 13)); /* the secret is nowhere */
    CHECK_EQ(edit_revoke(path, "cccc", NULL), 0);
    CHECK_EQ(edit_new(path, "\n", API_SCOPE(API_ASK), 0, key, NULL), E_INVALID);
    CHECK_EQ(edit_new("/tmp/no/such/keys", "x", API_SCOPE(API_ASK), 0, key, NULL), E_IO);
    unlink(path);
}

struct asking {
    struct keys *k;
    const char *key;
    atomic_int is_over;
};

static void *ask_on(void *ud) {
    struct asking *a = ud;
    struct key_found f;
    while (!atomic_load(&a->is_over))
        CHECK_EQ(check(a->k, a->key, 0, &f), KEY_GOOD);
    return NULL;
}

TEST(keys_are_asked_while_they_are_reloaded) {
    char path[64], me[KEY_TEXT_BYTES], other[KEY_TEXT_BYTES];
    struct asking a = {.key = me};
    pthread_t thread;
    int n;
    path_of(path);
    CHECK_EQ(edit_new(path, "me", API_SCOPE(API_ASK), 0, me, NULL), 0);
    CHECK_EQ(keys_open(path, &a.k, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, ask_on, &a), 0);
    for (int i = 0; i < test_count(5, 200); i++) {
        CHECK_EQ(edit_new(path, "other", API_SCOPE(API_ASK), 0, other, NULL), 0);
        CHECK_EQ(keys_reload(a.k, &n, NULL), 0);
        CHECK_EQ(n, i + 2);
    }
    atomic_store(&a.is_over, 1);
    pthread_join(thread, NULL);
    keys_close(a.k);
    unlink(path);
}
