/* emu.cc - see emu.h: fibres and barriers, and what the plugin asks of the CUDA runtime, on host
 * memory. */
#include "tests/cuda/emu/emu.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>

#include "kernels/cuda/common.cuh"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
char *emu_shared;

/* ---- fibres ---- */

enum { THREADS_MOST = 1024, STACK = 128 << 10, SHARED_MOST = 232448 };
enum state { RUNS, AT_BLOCK, AT_WARP, DONE };

static struct fibre {
    enum state state;
    jmp_buf at;
    ucontext_t start;
    bool is_begun;
    char *stack;
    alignas(16) char slot[64];
} fibres[THREADS_MOST];
static jmp_buf scheduler;
static int current, n_fibres;
static void (*body)(void *);
static void *body_ctx;

static void leave(enum state s) {
    fibres[current].state = s;
    if (!_setjmp(fibres[current].at)) _longjmp(scheduler, 1);
}

static void begin(void) {
    body(body_ctx);
    fibres[current].state = DONE;
    _longjmp(scheduler, 1);
}

int emu_lane(void) { return current % 32; }
void *emu_slot(int lane) { return fibres[current / 32 * 32 + lane].slot; }
void emu_block_barrier(void) { leave(AT_BLOCK); }
void emu_warp_barrier(void) { leave(AT_WARP); }

/* Run fibre i until it waits or ends. */
static void resume(int i) {
    volatile int keep = i;
    current = i;
    threadIdx = {(unsigned)i, 0, 0};
    if (_setjmp(scheduler)) return;
    struct fibre *f = &fibres[keep];
    if (f->is_begun) _longjmp(f->at, 1);
    f->is_begun = true;
    setcontext(&f->start);
}

/* Let those of [from, to) go on that wait in state s, if all that live do. */
static bool release(int from, int to, enum state s) {
    int waiting = 0;
    for (int i = from; i < to; i++) {
        if (fibres[i].state != s && fibres[i].state != DONE) return false;
        waiting += fibres[i].state == s;
    }
    for (int i = from; i < to; i++)
        if (fibres[i].state == s) fibres[i].state = RUNS;
    return waiting > 0;
}

static void run_block(void) {
    for (int i = 0; i < n_fibres; i++) {
        struct fibre *f = &fibres[i];
        if (!f->stack) f->stack = (char *)std::malloc(STACK);
        f->state = RUNS;
        f->is_begun = false;
        getcontext(&f->start);
        f->start.uc_stack.ss_sp = f->stack;
        f->start.uc_stack.ss_size = STACK;
        f->start.uc_link = NULL;
        makecontext(&f->start, begin, 0);
    }
    std::memset(emu_shared, 0x7f, SHARED_MOST); /* nothing is there that nobody wrote */
    for (;;) {
        bool moved = false, lives = false;
        for (int i = 0; i < n_fibres; i++) {
            if (fibres[i].state == RUNS) {
                resume(i);
                moved = true;
            }
            lives = lives || fibres[i].state != DONE;
        }
        if (!lives) return;
        for (int w = 0; w < n_fibres; w += 32)
            moved = release(w, w + 32 < n_fibres ? w + 32 : n_fibres, AT_WARP) || moved;
        moved = release(0, n_fibres, AT_BLOCK) || moved;
        if (moved) continue;
        std::fprintf(stderr, "emu: some threads wait at a barrier that others never reach\n");
        std::abort();
    }
}

void emu_run_blocks(const struct emu_config &c, void (*thread)(void *), void *ctx) {
    must(c.block.x <= THREADS_MOST && c.block.y == 1 && c.block.z == 1 && c.shared <= SHARED_MOST);
    must(c.grid.x > 0 && c.grid.y > 0 && c.grid.z > 0 && c.grid.y < 65536 && c.grid.z < 65536);
    if (!emu_shared) emu_shared = (char *)std::aligned_alloc(128, SHARED_MOST);
    gridDim = c.grid;
    blockDim = c.block;
    n_fibres = (int)c.block.x;
    body = thread;
    body_ctx = ctx;
    for (blockIdx.z = 0; blockIdx.z < c.grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < c.grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < c.grid.x; blockIdx.x++)
                run_block();
}

/* ---- the runtime: memory is the host's, and everything has happened when a call returns ---- */

static const size_t card_bytes = (size_t)4 << 30;

extern "C" {
cudaError_t cudaDriverGetVersion(int *v) { return *v = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int) {
    std::memset(p, 0, sizeof *p);
    std::snprintf(p->name, sizeof p->name, "emulated");
    p->major = 9;
    p->totalGlobalMem = card_bytes;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
const char *cudaGetErrorString(cudaError_t) { return "an emulated error"; }
cudaError_t cudaMemGetInfo(size_t *room, size_t *total) {
    return *room = *total = card_bytes, cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t n) {
    *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
    if (*p) std::memset(*p, 0x7f, n);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p) { return std::free(p), cudaSuccess; }
cudaError_t cudaMallocHost(void **p, size_t n) { return cudaMalloc(p, n); }
cudaError_t cudaFreeHost(void *p) { return cudaFree(p); }
cudaError_t cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t) {
    return std::memset(p, v, n), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind,
                            cudaStream_t) {
    return std::memcpy(to, from, n), cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return *s = 0, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return *e = 0, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
}
