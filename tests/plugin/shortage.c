/* shortage.c - makes memory short in a whole program, libraries included: for LD_PRELOAD.
 *
 * The file that the variable SHORTAGE names holds one byte: of a hundred allocations, so many fail.
 * A test changes it while the program runs. Allocations of the first moments, and those of a thread
 * that is only beginning, are spared with 0 in the file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static const volatile unsigned char *percent;
static _Atomic uint64_t state = 1;

__attribute__((constructor)) static void shortage_begin(void) {
    const char *path = getenv("SHORTAGE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p != MAP_FAILED) percent = p;
    if (fd >= 0) close(fd);
}

/* splitmix64 (Steele, Lea, Flood 2014) over a shared counter. */
static int is_short(void) {
    if (!percent || !*percent) return 0;
    uint64_t z = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    if ((z ^ (z >> 31)) % 100 >= *percent) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) { return is_short() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return is_short() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return is_short() ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) {
    return is_short() ? NULL : __libc_memalign(align, n);
}
