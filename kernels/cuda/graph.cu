/* graph.cu - passes that recur, as CUDA graphs: kern_config.isa "flat+graphs" and the like.
 *
 * What it saves is the gap between two kernels: the nodes of a graph follow each other without the
 * host. What it costs is host time before the first kernel, in which the device idles. Which of the
 * two is more, a measurement has to say; hence it is off unless asked for.
 *
 * Each pass is captured afresh, so its arguments - counts of rows, addresses, plans - are its own
 * and always right. Only the executable graph is kept from pass to pass:
 *
 *     pass(key)   the key is new:   note it; the pass runs as it is issued
 *                 it came before:   capture the stream while it is issued
 *                                   (key, count of nodes) has an executable graph?
 *                                       bring the new arguments into it, or, where the driver
 *                                       refuses, or there is none: make one from what was captured
 *                                   launch it
 *
 * A rare shape costs nothing so, and by the first capture every library has loaded its kernels. The
 * count of nodes is part of the name since the caller can't know it: how often a product is cut is
 * ours to decide (gemm.cu).
 *
 * Invariants:
 * 1. What was captured has not run. If anything fails before the launch, even a kernel that is
 *    refused, the pass has not run: capture ends, the counts go back, the note of the error is
 *    wiped, graphs stay off for good, and the pass is issued once more, which then runs plainly. A
 *    device that is really lost says so again at the next call.
 * 2. While a pass is issued nothing waits, copies or allocates (kern.h): must(), in mem.cu.
 * 3. The capture is relaxed. The other modes refuse calls that could meet a capture of others by
 *    the legacy stream, which we have none of. And they would refuse what is harmless: a library
 *    that loads a kernel or allocates in the middle of a pass, and, in global mode, another thread
 *    that opens another device.
 * 4. Tables are there since open. What an executable graph takes is the driver's, and bounded by
 *    their number.
 */
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/recent.h"

enum { SEEN = RECENT_MOST, MADE = 16 };

struct graphs {
    struct recent seen;         /* keys of passes */
    struct recent made;         /* graph_name of executable graphs */
    cudaGraphExec_t exec[MADE]; /* by place in `made` */
    bool is_off, is_recording;
    uint64_t key;             /* of the pass that is recorded */
    struct kern_stats before; /* as they were before it */
};

void graphs_open(struct kern *k) {
    k->graphs = (struct graphs *)mem_must(sizeof *k->graphs);
    k->graphs->seen.places = SEEN;
    k->graphs->made.places = MADE;
}

/* Behind the last wait for the stream. */
void graphs_close(struct kern *k) {
    if (!k->graphs) return;
    for (int i = 0; i < MADE; i++)
        if (k->graphs->exec[i]) (void)cudaGraphExecDestroy(k->graphs->exec[i]);
    mem_free(k->graphs);
    k->graphs = NULL;
}

bool graphs_record(const struct kern *k) { return k->graphs && k->graphs->is_recording; }

/* Capture what comes, if that may be. */
static void begin(struct kern *k, uint64_t key) {
    struct graphs *g = k->graphs;
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    if (!g || g->is_off || k->lost.code) return;
    if (recent_find(&g->seen, key) < 0) {
        (void)recent_put(&g->seen, key);
        return;
    }
    if (cudaStreamBeginCapture(k->stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
        (void)cudaGetLastError(); /* nothing has begun: the pass runs as it is issued */
        g->is_off = true;
        return;
    }
    g->is_recording = true;
    g->key = key;
    g->before = k->stats;
}

/* Multiplied by an odd number, neighbours among keys stay apart. Two shapes of one name would only
 * refuse each other's arguments. */
static uint64_t graph_name(uint64_t key, size_t nodes) {
    return key * 0x9e3779b97f4a7c15u ^ (uint64_t)nodes;
}

/* Make an executable graph, in place of what was there. */
static cudaError_t make(struct kern *k, cudaGraphExec_t *exec, cudaGraph_t graph) {
    cudaError_t rc = cudaSuccess;
    if (*exec) {
        rc = cudaStreamSynchronize(k->stream); /* its last launch may still run */
        (void)cudaGraphExecDestroy(*exec);
        *exec = NULL;
    }
    if (rc == cudaSuccess) rc = cudaGraphInstantiate(exec, graph, 0);
    if (rc != cudaSuccess) *exec = NULL;
    return rc;
}

static cudaError_t launch(struct kern *k, cudaGraph_t graph) {
    struct graphs *g = k->graphs;
    size_t nodes = 0;
    cudaError_t rc = cudaGraphGetNodes(graph, NULL, &nodes);
    if (rc != cudaSuccess) return rc;
    uint64_t name = graph_name(g->key, nodes);
    int at = recent_find(&g->made, name);
    bool is_known = at >= 0;
    if (!is_known) at = recent_put(&g->made, name);
    cudaGraphExecUpdateResultInfo why;
    if (is_known) rc = cudaGraphExecUpdate(g->exec[at], graph, &why);
    if (rc != cudaSuccess) (void)cudaGetLastError(); /* refused: no harm done */
    if (!is_known || rc != cudaSuccess) rc = make(k, &g->exec[at], graph);
    return rc == cudaSuccess ? cudaGraphLaunch(g->exec[at], k->stream) : rc;
}

/* Run what was captured. False: nothing of it has run. */
static bool end(struct kern *k) {
    struct graphs *g = k->graphs;
    if (!graphs_record(k)) return true;
    g->is_recording = false;
    cudaGraph_t graph = NULL;
    cudaError_t rc = cudaStreamEndCapture(k->stream, &graph);
    if (rc == cudaSuccess && !graph) rc = cudaErrorStreamCaptureInvalidated;
    if (rc == cudaSuccess && k->lost.code) rc = cudaErrorStreamCaptureInvalidated;
    if (rc == cudaSuccess) rc = launch(k, graph);
    if (graph) (void)cudaGraphDestroy(graph);
    if (rc == cudaSuccess) {
        k->stats.replays++;
        return true;
    }
    (void)cudaGetLastError();
    g->is_off = true;
    k->stats = g->before;
    k->lost = {}; /* it was well before */
    return false;
}

void cuda_pass(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud) {
    begin(k, key);
    issue(ud);
    if (end(k)) return;
    begin(k, key); /* graphs are off: it captures nothing */
    issue(ud);
    must(end(k));
}
