/* emu.cc - see emu.h: fibres and barriers, and what the plugin asks of the CUDA runtime, on host
 * memory. */
#include "tests/cuda/emu/emu.h"

#undef dlopen
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <string>
#include <ucontext.h>

#include "kernels/base/clock.h"
#include "kernels/cuda/common.cuh"
#include "tests/cuda/emu/control.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
char *emu_shared;
/* Where __shared__ variables are; the linker's names for its ends. */
extern "C" __attribute__((visibility("hidden"))) char __start_emu_fixed[], __stop_emu_fixed[];

/* ---- fibres ---- */

enum { THREADS_MOST = 1024, STACK = 128 << 10, SHARED_MOST = 232448, FENCE = 4096 };
enum { POISON = 0xff }; /* not a number in any type: even 0 times it shows */
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
    int waiting = 0, gone = 0;
    for (int i = from; i < to; i++) {
        if (fibres[i].state != s && fibres[i].state != DONE) return false;
        waiting += fibres[i].state == s;
        gone += fibres[i].state == DONE;
    }
    must(s != AT_WARP || !waiting || !gone); /* a shuffle names all 32 lanes */
    for (int i = from; i < to; i++)
        if (fibres[i].state == s) fibres[i].state = RUNS;
    return waiting > 0;
}

/* `shared`: bytes of dynamic shared memory that the launch asked for. */
static void run_block(size_t shared) {
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
    std::memset(emu_shared, POISON, shared + FENCE); /* nothing is there that nobody wrote */
    std::memset(__start_emu_fixed, POISON, (size_t)(__stop_emu_fixed - __start_emu_fixed));
    for (;;) {
        bool moved = false, lives = false;
        for (int i = 0; i < n_fibres; i++) {
            if (fibres[i].state == RUNS) {
                resume(i);
                moved = true;
            }
            lives = lives || fibres[i].state != DONE;
        }
        if (!lives) break;
        for (int w = 0; w < n_fibres; w += 32)
            moved = release(w, w + 32 < n_fibres ? w + 32 : n_fibres, AT_WARP) || moved;
        moved = release(0, n_fibres, AT_BLOCK) || moved;
        if (moved) continue;
        std::fprintf(stderr, "emu: some threads wait at a barrier that others never reach\n");
        std::abort();
    }
    /* was anything written behind what the launch asked for? */
    const char *fence = emu_shared + shared;
    must((unsigned char)fence[0] == POISON && !std::memcmp(fence, fence + 1, FENCE - 1));
}

/* More dynamic shared memory than this has to be asked for. */
enum { SHARED_UNASKED = 48 << 10 };
static std::map<std::string, size_t> asked;

cudaError_t emu_set_attribute(const char *kernel, enum cudaFuncAttribute what, int value) {
    must(what == cudaFuncAttributeMaxDynamicSharedMemorySize && value >= 0);
    if (value > SHARED_MOST) return cudaErrorInvalidValue;
    asked[kernel] = (size_t)value;
    return cudaSuccess;
}

void emu_check_config(const char *kernel, const struct emu_config &c) {
    must(c.block.x > 0 && c.block.x <= THREADS_MOST && c.block.y == 1 && c.block.z == 1);
    must(c.shared <= SHARED_UNASKED || (asked.count(kernel) && c.shared <= asked[kernel]));
    must(c.grid.x > 0 && c.grid.x <= INT32_MAX);
    must(c.grid.y > 0 && c.grid.z > 0 && c.grid.y < 65536 && c.grid.z < 65536);
}

void emu_run_blocks(const struct emu_config &c, void (*thread)(void *), void *ctx) {
    if (!emu_shared) emu_shared = (char *)std::aligned_alloc(128, SHARED_MOST + FENCE);
    gridDim = c.grid;
    blockDim = c.block;
    n_fibres = (int)c.block.x;
    body = thread;
    body_ctx = ctx;
    for (blockIdx.z = 0; blockIdx.z < c.grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < c.grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < c.grid.x; blockIdx.x++)
                run_block(c.shared);
}

/* ---- the runtime: memory is the host's, and everything has happened when a call returns, but for
 * what is captured ---- */

static const size_t card_bytes = (size_t)4 << 30;
static cudaError_t last_error;

extern "C" __attribute__((visibility("default"))) struct emu_control emu_control;
struct emu_control emu_control;

/* Count a call; is it one that the test wants refused? */
static bool is_refused(enum emu_call call) {
    emu_control.calls[call]++;
    return emu_control.refuse[call] > 0 && --emu_control.refuse[call] == 0;
}

static struct emu_stream *stream_of(cudaStream_t s) {
    must(s); /* all that we queue is on a stream of ours */
    return (struct emu_stream *)s;
}

/* What may not come into a capture spoils it, as on a card. */
static cudaError_t not_captured(cudaStream_t stream) {
    struct emu_stream *s = stream_of(stream);
    if (!s->is_captured) return cudaSuccess;
    s->is_broken = true;
    return cudaErrorStreamCaptureUnsupported;
}

static bool put(struct emu_stream *s, enum emu_kind kind, std::function<void()> work) {
    if (s->is_captured && s->is_broken) return false;
    if (s->is_captured)
        s->nodes.push_back({kind, work});
    else
        work();
    return true;
}

void emu_put(cudaStream_t stream, std::function<void()> work) {
    struct emu_stream *s = stream_of(stream);
    if (is_refused(EMU_LAUNCH))
        last_error = emu_control.launch_error ? (cudaError_t)emu_control.launch_error
                                              : cudaErrorLaunchOutOfResources;
    else if (!s->put(s, EMU_KERNEL, work))
        last_error = cudaErrorStreamCaptureInvalidated;
}

/* Hidden ones are nowhere. */
extern "C" void *emu_dlopen(const char *name, int how) {
    static const char hidden[] = "nowhere/";
    emu_control.libraries++;
    return dlopen(emu_control.hide_libraries ? (hidden + std::string(name)).c_str() : name, how);
}

extern "C" {
/* What a test put in place of the usual. */
static int told(int said, int usual) { return said < 0 ? 0 : said > 0 ? said : usual; }

cudaError_t cudaDriverGetVersion(int *v) {
    *v = told(emu_control.driver, CUDART_VERSION);
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *n) {
    *n = told(emu_control.devices, 1);
    if (told(emu_control.driver, CUDART_VERSION) < CUDART_VERSION)
        return last_error = cudaErrorInsufficientDriver;
    return *n ? cudaSuccess : last_error = cudaErrorNoDevice;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int) {
    std::memset(p, 0, sizeof *p);
    std::snprintf(p->name, sizeof p->name, "emulated");
    p->major = told(emu_control.major, 9);
    p->multiProcessorCount = told(emu_control.processors, 132);
    p->totalGlobalMem = card_bytes;
    p->l2CacheSize = emu_control.l2 ? emu_control.l2 : 1 << 30;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetLastError(void) {
    cudaError_t rc = last_error;
    return last_error = cudaSuccess, rc;
}
const char *cudaGetErrorString(cudaError_t) { return "an emulated error"; }
cudaError_t cudaMemGetInfo(size_t *room, size_t *total) {
    return *room = *total = emu_control.memory ? emu_control.memory : card_bytes, cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t n) {
    *p = is_refused(EMU_MALLOC) ? NULL : std::aligned_alloc(256, (n + 255) / 256 * 256);
    if (!*p) return last_error = cudaErrorMemoryAllocation;
    std::memset(*p, POISON, n);
    emu_control.mallocs++;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    emu_control.mallocs -= p != NULL;
    return std::free(p), cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t n) { return cudaMalloc(p, n); }
cudaError_t cudaFreeHost(void *p) { return cudaFree(p); }
/* A card would capture these two; we never want them captured. */
cudaError_t cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t s) {
    cudaError_t rc = not_captured(s);
    return rc ? rc : (std::memset(p, v, n), cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind,
                            cudaStream_t s) {
    cudaError_t rc = not_captured(s);
    return rc ? rc : (std::memcpy(to, from, n), cudaSuccess);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = (cudaStream_t) new emu_stream{put, false, false, {}, 0};
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return not_captured(s); }
cudaError_t cudaStreamDestroy(cudaStream_t s) { return delete stream_of(s), cudaSuccess; }
/* Events: a stamp of the clock. A card would capture a record; we never want one captured. */
struct event {
    bool is_timed, is_set;
    uint64_t ns;
};
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    *e = (cudaEvent_t) new event{flags == cudaEventDefault, false, 0};
    emu_control.events++;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    cudaError_t rc = not_captured(s);
    struct event *at = (struct event *)e;
    if (!rc) *at = {at->is_timed, true, emu_control.is_timed ? stream_of(s)->busy_ns : clock_ns()};
    return rc;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return must(e), cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    struct event *a = (struct event *)from, *b = (struct event *)to;
    if (!a->is_timed || !b->is_timed || !a->is_set || !b->is_set)
        return cudaErrorInvalidResourceHandle;
    return *ms = (float)((double)b->ns - (double)a->ns) / 1e6f, cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    emu_control.events--;
    return delete (struct event *)e, cudaSuccess;
}

/* Graphs: a list of nodes, and another one that is launched. */
typedef std::vector<struct emu_node> nodes;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode) {
    struct emu_stream *s = stream_of(stream);
    if (is_refused(EMU_BEGIN)) return last_error = cudaErrorUnknown;
    must(!s->is_captured);
    s->is_captured = true;
    s->is_broken = false;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out) {
    struct emu_stream *s = stream_of(stream);
    must(s->is_captured);
    s->is_captured = false;
    bool is_bad = is_refused(EMU_END) || s->is_broken;
    *out = is_bad ? NULL : (cudaGraph_t) new nodes(s->nodes);
    s->nodes.clear();
    emu_control.graphs += !is_bad;
    return last_error = is_bad ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *, size_t *n) {
    return *n = ((nodes *)g)->size(), cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    emu_control.graphs--;
    return delete (nodes *)g, cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t g, unsigned long long) {
    if (is_refused(EMU_INSTANTIATE)) return last_error = cudaErrorMemoryAllocation;
    *out = (cudaGraphExec_t) new nodes(*(nodes *)g);
    emu_control.execs++;
    return cudaSuccess;
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t e, cudaGraph_t g, cudaGraphExecUpdateResultInfo *) {
    nodes *to = (nodes *)e, *from = (nodes *)g;
    bool is_same = to->size() == from->size();
    for (size_t i = 0; is_same && i < to->size(); i++)
        is_same = (*to)[i].kind == (*from)[i].kind;
    if (is_refused(EMU_UPDATE) || !is_same) return last_error = cudaErrorGraphExecUpdateFailure;
    *to = *from;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t) {
    if (is_refused(EMU_GRAPH_LAUNCH)) return last_error = cudaErrorUnknown;
    for (struct emu_node &n : *(nodes *)e)
        n.work();
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    emu_control.execs--;
    return delete (nodes *)e, cudaSuccess;
}
}
