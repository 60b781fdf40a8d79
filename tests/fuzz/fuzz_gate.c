/* fuzz_gate.c - the header gate and the target reader on hostile heads. The input is a head with
 * lines ended by LF: `METHOD TARGET VERSION`, then `Name:value`.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/http/gate.h"
#include "server/http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static char *take_line(char **rest) {
    char *line = *rest, *end = strchr(line, '\n');
    *rest = end ? end + 1 : line + strlen(line);
    if (end) *end = '\0';
    return line;
}

static void read_target(const char *text) {
    struct target t;
    if (target_read(&t, text)) return;
    if (strlen(t.path) > strlen(text) || t.n_query > TARGET_FIELDS_MAX) abort();
    for (size_t i = 0; i < t.n_query; i++) {
        if (strlen(t.query[i].name) > strlen(text) || t.query[i].data[t.query[i].len] != '\0')
            abort();
    }
    target_clear(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static const char *const hosts[] = {"lamm.example"};
    static const char *const origins[] = {"https://See.example"};
    char *text = calloc(1, len + 1), *rest = text;
    if (!text) abort();
    if (len) memcpy(text, bytes, len);
    char *method = take_line(&rest);
    char *target = strchr(method, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    struct gate_header headers[GATE_HEADERS_MAX];
    size_t n = 0;
    for (; *rest; n++) {
        char *name = take_line(&rest), *colon = strchr(name, ':');
        if (n >= GATE_HEADERS_MAX) continue;
        char *end = name + strlen(name), *value = colon ? colon + 1 : end;
        headers[n] = (struct gate_header){.name = name,
                                          .name_len = (size_t)((colon ? colon : end) - name),
                                          .value = value,
                                          .value_len = (size_t)(end - value)};
    }
    if (version) {
        *target++ = '\0';
        *version++ = '\0';
        struct gate_request q = {
            .method = method,
            .version = version,
            .target = target,
            .headers = headers,
            .n_headers = n,
            .rules = {.hosts = hosts, .n_hosts = 1, .origins = origins, .n_origins = 1}};
        struct gate_verdict v = gate_check(&q);
        if (!v.code && (target[0] != '/' || n > GATE_HEADERS_MAX)) abort();
        read_target(target);
    }
    free(text);
    return 0;
}
