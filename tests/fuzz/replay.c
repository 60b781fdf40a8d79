/* replay.c - runs a fuzz target over its corpus without libFuzzer, under gcc's sanitizers.
 *
 *     fuzz_png tests/fuzz/corpus/png
 *
 * Each file goes through in a child of its own: as it is, cut short, and with a few bytes changed,
 * always the same ones. Inputs lie in blocks of exactly their size, so that a byte too far is seen.
 * Ends with `N passed, N failed`, counted in files; one more for the empty input.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHANGES = 40, LIMIT_S = 60, BYTES_MAX = 4 << 20 };

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void feed(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

/* The input itself, then changed copies of it; odd rounds are also cut short. */
static void feed_changed(uint8_t *data, size_t size) {
    uint32_t state = 2463534242u + (uint32_t)size;
    feed(data, size);
    for (int round = 0; size && round < CHANGES; round++) {
        uint8_t *copy = malloc(size);
        if (!copy) abort();
        memcpy(copy, data, size);
        for (uint32_t n = next_random(&state) % 4; n; n--)
            copy[next_random(&state) % size] = (uint8_t)next_random(&state);
        feed(copy, round % 2 ? next_random(&state) % size : size);
        free(copy);
    }
}

static void run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(BYTES_MAX);
    if (!f || !data) _exit(2);
    size_t size = fread(data, 1, BYTES_MAX, f);
    fclose(f);
    feed_changed(data, size);
    free(data);
}

/* 1 when `path` (NULL: no bytes at all) goes through without complaint. */
static int survives(const char *path) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CPU, &(struct rlimit){LIMIT_S, LIMIT_S});
        alarm(20 * LIMIT_S); /* one that waits uses no processor time */
        if (path)
            run_file(path);
        else
            feed((const uint8_t *)"", 0);
        exit(0); /* lets the leak checker look */
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        printf("FAIL %s: status %#x\n", path ? path : "empty input", (unsigned)status);
        return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    static char path[4096];
    int count[2] = {0, 0};
    count[survives(NULL)]++;
    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int n = scandir(argv[i], &names, NULL, alphasort);
        for (int j = 0; j < n; j++) {
            if (names[j]->d_name[0] != '.') {
                snprintf(path, sizeof(path), "%s/%s", argv[i], names[j]->d_name);
                count[survives(path)]++;
            }
            free(names[j]);
        }
        if (n >= 0) free(names);
        if (n < 3) { /* . and .. */
            printf("FAIL %s: no corpus\n", argv[i]);
            count[0]++;
        }
    }
    printf("%d passed, %d failed\n", count[1], count[0]);
    return count[0] ? 1 : 0;
}
