/* broken_disk.h - for the rest of this process a system call fails, as on a full or broken disk.
 *
 * The kernel itself refuses, by a seccomp filter: so what is tried is the product's own code, with
 * any file system and without being root. A test has a process of its own. For tests only.
 */
#ifndef TESTS_UNIT_ENGINE_FILES_BROKEN_DISK_H
#define TESTS_UNIT_ENGINE_FILES_BROKEN_DISK_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernels/base/err.h"
#include "tests/check.h"

/* System call `nr` returns `error` when its third argument is at least `least`: of write(2) that is
 * the number of bytes. 0: always. */
static inline void broken_disk(int nr, uint32_t least, int error) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, least, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = ARRAY_LEN(program), .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0))
        skip("no seccomp filters here");
}

#endif
