/* stream.h - an emulated stream, as a kernel's launch and the stand-in for cuBLASLt see it: work is
 * done at once, or kept while the stream is captured. */
#ifndef TESTS_CUDA_EMU_STREAM_H
#define TESTS_CUDA_EMU_STREAM_H

#include <cstdint>
#include <functional>
#include <vector>

enum emu_kind {
    EMU_KERNEL,
    EMU_PRODUCT
}; /* types of a graph's nodes: an update may not change them */

struct emu_node {
    enum emu_kind kind;
    std::function<void()> work;
};

struct emu_stream {
    /* False: refused; nothing of it happens. */
    bool (*put)(struct emu_stream *s, enum emu_kind kind, std::function<void()> work);
    bool is_captured, is_broken;
    std::vector<struct emu_node> nodes;
    uint64_t busy_ns; /* that what was done says it takes: see emu_control.is_timed */
};

#endif
