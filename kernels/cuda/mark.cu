/* mark.cu - places in the order of the stream, and the time between them: events that the device
 * stamps as it comes by. They are made as they are first set; who never marks has none.
 *
 * Where the device has run dry the time between two marks is the host's. Not while a pass is
 * recorded: there an event would be a node of the graph, stamped by each of its launches, and be
 * read by nobody.
 */
#include "kernels/cuda/common.cuh"

void marks_close(struct kern *k) {
    for (int i = 0; k->marks && i < KERN_MARKS; i++)
        if (k->marks[i]) (void)cudaEventDestroy(k->marks[i]);
    mem_free(k->marks);
    k->marks = NULL;
}

void cuda_mark(struct kern *k, int i) {
    must(!graphs_record(k) && i >= 0 && i < KERN_MARKS);
    CUDA_TRY(k, cudaSetDevice(k->device));
    if (!k->marks) k->marks = (cudaEvent_t *)mem_must(KERN_MARKS * sizeof *k->marks);
    if (!k->marks[i]) CUDA_TRY(k, cudaEventCreateWithFlags(&k->marks[i], cudaEventDefault));
    CUDA_TRY(k, cudaEventRecord(k->marks[i], k->stream));
}

int cuda_marked(struct kern *k, int n, uint64_t *ns, struct err *e) {
    must(!graphs_record(k) && n <= KERN_MARKS);
    CUDA_TRY(k, cudaSetDevice(k->device));
    if (n > 0) CUDA_TRY(k, cudaEventSynchronize(k->marks[n - 1]));
    for (int i = 0; i + 1 < n; i++) {
        float ms = 0;
        CUDA_TRY(k, cudaEventElapsedTime(&ms, k->marks[i], k->marks[i + 1]));
        ns[i] = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
    }
    return k->lost.code ? err_set(e, E_DEVICE, "%s", k->lost.text) : 0;
}
