/* fuzz_keys.c - bytes as a file of keys, as a net, and as what a proxy says. What is read can be
 * written, and reads the same. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "server/http/peer.h"
#include "server/keys/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_file(const char *text, size_t size) {
    struct key *keys, *again;
    int n, m;
    struct err e = {0};
    int rc = keyfile_parse(text, size, &keys, &n, &e);
    must(rc == e.code && (rc == 0) == (keys != NULL));
    if (rc) return;
    struct buf out;
    buf_init(&out, 4 * KEYFILE_BYTES_MAX);
    buf_char(&out, '\n');
    for (int i = 0; i < n; i++)
        keyfile_line(&keys[i], &out);
    must(keyfile_parse((const char *)out.p, out.len, &again, &m, NULL) == 0 && m == n);
    for (int i = 0; i < n; i++) {
        again[i].line = keys[i].line;
        must(memcmp(&keys[i], &again[i], sizeof(keys[i])) == 0);
    }
    buf_clear(&out);
    mem_free(keys);
    mem_free(again);
}

static void fuzz_peer(const char *text) {
    struct peer_net net;
    char name[PEER_TEXT];
    struct peer p = {.kind = PEER_ADDRESS, .at = {[10] = 0xff, [11] = 0xff, [12] = 10}};
    if (peer_net_read(text, &net, NULL) == 0) must(net.bits >= 0 && net.bits <= 128);
    must(peer_net_read("10.0.0.0/8", &net, NULL) == 0);
    int more = peer_forward(&p, text, &net, 1);
    must(p.kind == PEER_ADDRESS && more == (more && peer_is_in(&p, &net, 1)));
    peer_group_text(&p, name);
    must(strlen(name) > 1 && strspn(name, "0123456789abcdef.:/") == strlen(name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = mem_try(size + 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    fuzz_file(text, size);
    fuzz_peer(text);
    mem_free(text);
    return 0;
}
