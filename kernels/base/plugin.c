/* plugin.c - see plugin.h. A library is loaded once by the system however often it is opened, and
 * is never unloaded, since what it hands out lives on. */
#include "kernels/base/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int plugin_find(const char *name, char *path, size_t size) {
    static const char *const places[] = {"", "../", "../lib/lammd/"};
    char exe[2048];
    must(path && size);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    char *slash = n > 0 ? memrchr(exe, '/', (size_t)n) : NULL;
    for (size_t i = 0; slash && i < ARRAY_LEN(places); i++) {
        int len = snprintf(path, size, "%.*s/%s%s", (int)(slash - exe), exe, places[i], name);
        if (len > 0 && (size_t)len < size && access(path, R_OK) == 0) return 1;
    }
    return 0;
}

int plugin_load(const char *path, const char *symbol, plugin_fn **out, struct err *e) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) return err_set(e, E_NOT_FOUND, "plugin: %s", dlerror());
    void *found = dlsym(library, symbol);
    if (!found) return err_set(e, E_UNSUPPORTED, "plugin %s: has no %s", path, symbol);
    memcpy(out, &found, sizeof *out); /* C knows no way from object to function */
    return 0;
}
