/* llama.c - the peer of tests/bench/peers/peers.py: llama.cpp on lammd's work, through llama.h.
 *
 *     llama MODEL.gguf STEM SUFFIX ANSWER QUERIES WIDTH THREADS
 *
 * QUERIES questions share a prompt of STEM tokens. Each has SUFFIX tokens of its own, and ANSWER
 * tokens answer it, the likeliest each time, WIDTH questions at a time. The stem is computed once
 * and copied to their sequences, as llama.cpp is meant to be used. Tokens are drawn: their number
 * is what counts. ANSWER 1 is a decision, as a place of a mask is. Prints JSON: seconds of the
 * stem, of the questions, and of the processor for these.
 *
 * Not part of the program: built by peers.py against the library that it has fetched.
 */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct load {
    int stem, suffix, answer, queries, width, threads;
};

struct peer {
    struct load load;
    struct llama_context *context;
    llama_memory_t memory;
    struct llama_batch batch;
    int vocab;
    uint32_t drawn;
};

static double clock_s(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int number(const char *text) {
    int n = atoi(text);
    if (n < 1) {
        fprintf(stderr, "llama: %s: not a number from 1 on\n", text);
        exit(2);
    }
    return n;
}

static llama_token draw(struct peer *p) {
    p->drawn = p->drawn * 1664525u + 1013904223u;
    return (llama_token)(3 + (p->drawn >> 8) % (uint32_t)(p->vocab - 3));
}

static void add(struct peer *p, llama_token token, int at, int sequence, int wants_logits) {
    int i = p->batch.n_tokens++;
    p->batch.token[i] = token;
    p->batch.pos[i] = at;
    p->batch.n_seq_id[i] = 1;
    p->batch.seq_id[i][0] = sequence;
    p->batch.logits[i] = (int8_t)wants_logits;
}

static void decode(struct peer *p) {
    if (llama_decode(p->context, p->batch)) {
        fputs("llama: it can't decode this batch\n", stderr);
        exit(1);
    }
    p->batch.n_tokens = 0;
}

static llama_token likeliest(struct peer *p, int row) {
    const float *logits = llama_get_logits_ith(p->context, row);
    llama_token best = 0;
    for (llama_token t = 1; t < p->vocab; t++)
        if (logits[t] > logits[best]) best = t;
    return best;
}

/* One round: `n` questions at once, in sequences 1 .. n. */
static void ask(struct peer *p, int n) {
    llama_token next[256];
    int last[256];
    for (int s = 1; s <= n; s++)
        llama_memory_seq_cp(p->memory, 0, s, -1, -1);
    for (int s = 0; s < n; s++) {
        for (int i = 0; i < p->load.suffix; i++)
            add(p, draw(p), p->load.stem + i, s + 1, i + 1 == p->load.suffix);
        last[s] = p->batch.n_tokens - 1;
    }
    decode(p);
    for (int done = 1;; done++) {
        for (int s = 0; s < n; s++)
            next[s] = likeliest(p, last[s]);
        if (done == p->load.answer) break;
        for (int s = 0; s < n; s++) {
            last[s] = p->batch.n_tokens;
            add(p, next[s], p->load.stem + p->load.suffix + done - 1, s + 1, 1);
        }
        decode(p);
    }
    for (int s = 1; s <= n; s++)
        llama_memory_seq_rm(p->memory, s, -1, -1);
}

static bool go_on(float done, void *ud) { return (void)done, (void)ud, true; } /* no dots */

static void peer_open(struct peer *p, const char *path, const struct load *l) {
    *p = (struct peer){.load = *l, .drawn = 1};
    struct llama_model_params m = llama_model_default_params();
    m.progress_callback = go_on;
    struct llama_model *model = llama_model_load_from_file(path, m);
    if (!model) exit(1);
    struct llama_context_params c = llama_context_default_params();
    int most = l->width * l->suffix > l->stem ? l->width * l->suffix : l->stem;
    c.n_ctx = (uint32_t)(l->stem + l->width * (l->suffix + l->answer) + 64);
    c.n_batch = c.n_ubatch = (uint32_t)most;
    c.n_seq_max = (uint32_t)l->width + 1;
    c.kv_unified = true;
    c.n_threads = c.n_threads_batch = l->threads;
    p->context = llama_init_from_model(model, c);
    if (!p->context) exit(1);
    p->memory = llama_get_memory(p->context);
    p->batch = llama_batch_init(most, 0, 1);
    p->vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
}

static void quiet(enum ggml_log_level level, const char *text, void *ud) {
    (void)ud;
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fputs("usage: llama MODEL.gguf STEM SUFFIX ANSWER QUERIES WIDTH THREADS\n", stderr);
        return 2;
    }
    const struct load l = {number(argv[2]), number(argv[3]), number(argv[4]),
                           number(argv[5]), number(argv[6]), number(argv[7])};
    if (l.width > 255) {
        fputs("llama: 255 questions at a time at most\n", stderr);
        return 2;
    }
    struct peer p;
    llama_log_set(quiet, NULL);
    peer_open(&p, argv[1], &l);
    for (int warm = 1; warm >= 0; warm--) {
        llama_memory_clear(p.memory, true);
        double start = clock_s(CLOCK_MONOTONIC);
        for (int i = 0; i < l.stem; i++)
            add(&p, draw(&p), i, 0, i + 1 == l.stem);
        decode(&p);
        double stem = clock_s(CLOCK_MONOTONIC) - start, cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
        start = clock_s(CLOCK_MONOTONIC);
        int queries = warm ? l.width : l.queries; /* the first round wakes threads and pages */
        if (warm && queries > l.queries) queries = l.queries;
        for (int left = queries; left > 0; left -= l.width)
            ask(&p, left < l.width ? left : l.width);
        if (!warm)
            printf("{\"stem_s\":%.6f,\"queries\":%d,\"s\":%.6f,\"cpu_s\":%.6f}\n", stem, queries,
                   clock_s(CLOCK_MONOTONIC) - start, clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    }
    return 0;
}
