/* keys.c - `lammd keys`: the file that says who may ask. See server/keys/keyfile.h.
 *
 * The key itself goes to standard output, alone, so that it can be piped to where it belongs.
 * Everything else goes to standard error. Thread: main's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cmd.h"
#include "kernels/base/mem.h"
#include "server/keys/edit.h"

enum { DAY_S = 86400 };

void cmd_keys_arguments(FILE *to) {
    fputs("What to do:\n"
          "  new NAME     make a key and print it, this once\n"
          "  list         print ids, scopes, ends and names\n"
          "  revoke ID    take a key out of the file\n",
          to);
}

static int keys_new(const struct config *cfg, const char *name, struct err *e) {
    const char *words = cfg->scopes ? cfg->scopes : "ask";
    unsigned scopes = keyfile_scopes(words, strlen(words));
    int64_t now = (int64_t)time(NULL);
    char key[KEY_TEXT_BYTES], expires[24];
    if (!scopes)
        return err_set(e, E_INVALID,
                       "--scopes takes some of ask, metrics, train, promote, admin, with commas "
                       "between, not \"%s\"",
                       words);
    int64_t end = cfg->days ? now + cfg->days * DAY_S : 0;
    int rc = edit_new(cfg->key_file, name, scopes, end, key, e);
    if (rc) return rc;
    keyfile_time_text(end, expires);
    printf("%s\n", key);
    fprintf(stderr, "for %s; expires: %s. It is not shown again. SIGHUP makes a server know it.\n",
            words, expires);
    return 0;
}

static void print_keys(const struct key *keys, int n) {
    printf("%-16s  %-24s  %-20s  %s\n", "ID", "SCOPES", "EXPIRES", "NAME");
    for (int i = 0; i < n; i++) {
        const struct key *k = &keys[i];
        char scopes[64], expires[24];
        keyfile_scope_words(k->scopes, scopes);
        keyfile_time_text(k->expires, expires);
        int is_over = k->expires && k->expires <= (int64_t)time(NULL);
        printf("%-16s  %-24s  %-20s  %s%s\n", k->id, scopes, expires, k->name,
               is_over ? " (expired)" : "");
    }
}

static int keys_list(const struct config *cfg, struct err *e) {
    struct buf text;
    struct key *keys = NULL;
    int n, rc = keyfile_load(cfg->key_file, &text, e);
    if (rc == 0) {
        rc = keyfile_parse((const char *)text.p, text.len, &keys, &n, e);
        buf_clear(&text);
    }
    if (rc) return err_in(e, "%s", cfg->key_file), rc;
    print_keys(keys, n);
    mem_free(keys);
    return 0;
}

int cmd_keys(const struct config *cfg) {
    const char *what = cfg->rest.n ? cfg->rest.at[0] : "";
    int is_new = strcmp(what, "new") == 0, is_revoke = strcmp(what, "revoke") == 0;
    int is_list = strcmp(what, "list") == 0;
    struct err e = {0};
    if ((!is_new && !is_list && !is_revoke) || cfg->rest.n != (is_list ? 1 : 2) || !cfg->key_file)
        return cmd_misused(CMD_KEYS);
    if (is_new)
        (void)keys_new(cfg, cfg->rest.at[1], &e);
    else if (is_revoke)
        (void)edit_revoke(cfg->key_file, cfg->rest.at[1], &e);
    else
        (void)keys_list(cfg, &e);
    return e.code ? cmd_fail(&e) : 0;
}
