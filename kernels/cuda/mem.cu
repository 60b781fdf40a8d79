/* mem.cu - device memory, and the way between host and device.
 *
 * Every block is noted on the host, so that close frees what is left and the statistics are exact.
 * Puts go through a ring of pinned buffers: the host copies into one while the device reads
 * another, and the source is the caller's again when put returns. A buffer is used again when the
 * event behind its last copy has come to pass. Nothing of this file is called while a pass is
 * recorded (graph.cu).
 */
#include <string.h>

#include "kernels/cuda/common.cuh"

struct cuda_block {
    char *addr;
    size_t bytes;
    struct cuda_block *prev, *next;
};

static int lost(const struct kern *k, struct err *e) {
    return k->lost.code ? err_set(e, E_DEVICE, "%s", k->lost.text) : 0;
}

/* Is there room? Asked first, since what a card says to absurd sizes varies. */
static int check_room(const struct kern *k, size_t bytes, struct err *e) {
    size_t room = 0, total = 0;
    if (k->memory_max && bytes > k->memory_max - k->stats.live_bytes)
        return err_set(e, E_NOMEM, "cuda: %zu MiB are needed, %zu of the allowed %zu MiB are free",
                       bytes >> 20, (size_t)(k->memory_max - k->stats.live_bytes) >> 20,
                       (size_t)k->memory_max >> 20);
    if (cudaMemGetInfo(&room, &total) != cudaSuccess || bytes <= room) return 0;
    return err_set(e, E_NOMEM, "cuda: %zu MiB are needed, %zu of the card's %zu MiB are free",
                   bytes >> 20, room >> 20, total >> 20);
}

int cuda_alloc(struct kern *k, size_t bytes, struct kern_ptr *out, struct err *e) {
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    int rc = lost(k, e);
    if (!rc) rc = check_room(k, bytes, e);
    if (rc) return rc;
    struct cuda_block *b = (struct cuda_block *)mem_try(sizeof *b);
    if (!b) return err_set(e, E_NOMEM, "cuda: no memory for a note");
    cudaError_t cu = cudaMalloc((void **)&b->addr, bytes ? bytes : 1);
    if (cu != cudaSuccess) {
        (void)cudaGetLastError(); /* it is told here and needn't be told again */
        mem_free(b);
        return err_set(e, E_NOMEM, "cuda: %zu MiB: %s", bytes >> 20, cudaGetErrorString(cu));
    }
    b->bytes = bytes;
    b->next = k->blocks;
    if (b->next) b->next->prev = b;
    k->blocks = b;
    k->stats.allocations++;
    k->stats.live_bytes += bytes;
    if (k->stats.live_bytes > k->stats.peak_bytes) k->stats.peak_bytes = k->stats.live_bytes;
    CUDA_TRY(k, cudaMemsetAsync(b->addr, 0, bytes ? bytes : 1, k->stream));
    out->addr = b->addr;
    return 0;
}

static void drop(struct kern *k, struct cuda_block *b) {
    if (b->prev) b->prev->next = b->next;
    if (b->next) b->next->prev = b->prev;
    if (k->blocks == b) k->blocks = b->next;
    k->stats.live_bytes -= b->bytes;
    (void)cudaFree(b->addr);
    mem_free(b);
}

/* cudaFree waits for the device, so nothing queued still uses the block. */
void cuda_free(struct kern *k, struct kern_ptr p) {
    if (!p.addr) return;
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    struct cuda_block *b = k->blocks;
    while (b && b->addr != p.addr)
        b = b->next;
    must(b);
    drop(k, b);
}

void cuda_free_all(struct kern *k) {
    while (k->blocks)
        drop(k, k->blocks);
}

char *cuda_ring_take(struct kern *k) {
    must(!graphs_record(k));
    CUDA_TRY(k, cudaEventSynchronize(k->ring_free[k->ring_next]));
    return k->lost.code ? NULL : k->ring + (size_t)k->ring_next * RING_BYTES;
}

void cuda_ring_send(struct kern *k, char *dst, const char *from, size_t bytes) {
    CUDA_TRY(k, cudaMemcpyAsync(dst, from, bytes, cudaMemcpyHostToDevice, k->stream));
    CUDA_TRY(k, cudaEventRecord(k->ring_free[k->ring_next], k->stream));
    k->ring_next = (k->ring_next + 1) % RING;
}

void cuda_put(struct kern *k, struct kern_ptr dst, const void *src, size_t bytes) {
    CUDA_TRY(k, cudaSetDevice(k->device));
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < RING_BYTES ? bytes - at : RING_BYTES;
        char *pinned = cuda_ring_take(k);
        if (!pinned) return;
        memcpy(pinned, (const char *)src + at, n);
        cuda_ring_send(k, dst.addr + at, pinned, n);
        at += n;
    }
}

int cuda_get(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e) {
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    if (bytes)
        CUDA_TRY(k, cudaMemcpyAsync(dst, src.addr, bytes, cudaMemcpyDeviceToHost, k->stream));
    return cuda_sync(k, e);
}

/* The two may not overlap. */
void cuda_copy(struct kern *k, struct kern_ptr dst, struct kern_ptr src, size_t bytes) {
    must(dst.addr + bytes <= src.addr || src.addr + bytes <= dst.addr || bytes == 0);
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    if (bytes)
        CUDA_TRY(k,
                 cudaMemcpyAsync(dst.addr, src.addr, bytes, cudaMemcpyDeviceToDevice, k->stream));
}

int cuda_sync(struct kern *k, struct err *e) {
    must(!graphs_record(k));
    CUDA_TRY(k, cudaSetDevice(k->device));
    CUDA_TRY(k, cudaStreamSynchronize(k->stream));
    return lost(k, e);
}
