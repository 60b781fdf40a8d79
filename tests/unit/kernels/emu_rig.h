/* emu_rig.h - the controls of an emulated card. */
#ifndef TESTS_UNIT_KERNELS_EMU_RIG_H
#define TESTS_UNIT_KERNELS_EMU_RIG_H

#include <dlfcn.h>

#include "kernels/kern.h"
#include "tests/check.h"
#include "tests/cuda/emu/control.h"

/* Of the plugin that `ops` came from; NULL: it drives a real card. */
static inline struct emu_control *emu_find(const struct kern_ops *ops) {
    Dl_info where;
    void *open = NULL;
    memcpy(&open, &ops->open, sizeof open);
    CHECK(dladdr(open, &where) != 0);
    void *plugin = dlopen(where.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    CHECK(plugin != NULL);
    return dlsym(plugin, EMU_CONTROL);
}

#endif
