/* control.h - what a test may ask of the emulated card, and what it can make it refuse. Found by
 * its name in the plugin (dlsym); a real one has nothing of the kind. C11 and C++. */
#ifndef TESTS_CUDA_EMU_CONTROL_H
#define TESTS_CUDA_EMU_CONTROL_H

#include <stddef.h>

#define EMU_CONTROL "emu_control"

enum emu_call {
    EMU_MALLOC,       /* cudaMalloc, of host memory too */
    EMU_BEGIN,        /* cudaStreamBeginCapture */
    EMU_LAUNCH,       /* a kernel */
    EMU_END,          /* cudaStreamEndCapture */
    EMU_INSTANTIATE,  /* cudaGraphInstantiate */
    EMU_UPDATE,       /* cudaGraphExecUpdate */
    EMU_GRAPH_LAUNCH, /* cudaGraphLaunch */
    EMU_CALLS
};

struct emu_control {
    int calls[EMU_CALLS];  /* so far */
    int refuse[EMU_CALLS]; /* the how many-th from now on is refused; 0: none */
    int graphs, execs;     /* that live */
    int mallocs, events;   /* that live */
    int driver, devices;   /* the driver's version, devices; 0: the usual, -1: none */
    int major;             /* of their compute capability; 0: the usual */
    int processors;        /* of each; 0: the usual 132 */
    int libraries;         /* that were looked for */
    int hide_libraries;    /* they are not found */
    size_t memory;         /* bytes that are free; 0: the usual 4 GiB */
    int l2;           /* bytes of its L2; 0: 1 GiB, so that no test has a matrix worth a choice */
    int launch_error; /* what a refused launch says; 0: the usual */
    int is_timed;     /* events tell what work says it takes (stream.h), not the clock */
};

#endif
