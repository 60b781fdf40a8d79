/* neighbour.c - see neighbour.h. */
#include "cli/neighbour.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/gate/scene.h"
#include "data/files.h"
#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { SCENES = 32, BEGIN_S = 300, LOOK_MS = 50, PATH_SIZE = 4200, LOG_MAX = 64 << 20 };

extern char **environ;

struct neighbour {
    char folder[64];
    pid_t child; /* 0: none */
};

static void neighbour_path(const struct neighbour *n, const char *name, char to[PATH_SIZE]) {
    snprintf(to, PATH_SIZE, "%s/%s", n->folder, name);
}

/* ---- what it learns ---- */

static int write_scenes(const struct neighbour *n, struct err *e) {
    struct scene *s = mem_must(sizeof(*s));
    struct buf lines;
    char name[32], path[PATH_SIZE];
    int rc = 0;
    buf_init(&lines, 1 << 20);
    for (uint64_t i = 0; rc == 0 && i < SCENES; i++) {
        scene_draw(i, s);
        snprintf(name, sizeof(name), "%02d.png", (int)i);
        neighbour_path(n, name, path);
        rc = file_write_png(path, s->rgb, SCENE_SIDE, SCENE_SIDE, e);
        buf_printf(&lines, "{\"task\": \"pixels\", \"image\": \"%s\"}\n", name);
        for (int k = 0; k < s->n; k++) {
            const struct scene_thing *t = &s->things[k];
            buf_printf(
                &lines,
                "{\"task\": \"refer\", \"image\": \"%s\", \"sentence\": \"the %s\", \"box\": "
                "[%d, %d, %d, %d]}\n",
                name, scene_shapes[t->shape], t->box[0], t->box[1], t->box[2], t->box[3]);
        }
    }
    neighbour_path(n, "lines.jsonl", path);
    if (rc == 0) rc = file_write(path, lines.p, lines.len, e);
    buf_clear(&lines);
    mem_free(s);
    return rc;
}

static int write_recipe(const struct neighbour *n, const char *data, char to[PATH_SIZE],
                        struct err *e) {
    struct buf b;
    char here[4096] = "";
    if (data && *data != '/' && !getcwd(here, sizeof(here)))
        return err_set(e, E_IO, "the current folder: %s", strerror(errno));
    buf_init(&b, 16 << 10);
    buf_printf(
        &b,
        "[run]\njudge_every = 0\nvalidation = 0\ncheckpoint_every = 1000000\n"
        "[stage learn]\nsteps = 1000000\nsamples = 2\nlora_r = 16\nlora_targets = q, k, v, o\n"
        "rate = 1e-4\n[data it]\npath = %s%s%s\n",
        data ? here : ".", data && *here ? "/" : "", data ? data : "");
    neighbour_path(n, "recipe.ini", to);
    int rc = b.bad ? err_set(e, b.bad, "no memory for a recipe") : file_write(to, b.p, b.len, e);
    buf_clear(&b);
    return rc;
}

/* ---- the child ---- */

static int neighbour_spawn(struct neighbour *n, const char *model, char *recipe, struct err *e) {
    char out[PATH_SIZE], log[PATH_SIZE], exe[4096];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    const struct sched_param none = {0};
    if (len < 0) return err_set(e, E_IO, "/proc/self/exe: %s", strerror(errno));
    exe[len] = '\0';
    neighbour_path(n, "out", out);
    neighbour_path(n, "log", log);
    char *const words[] = {exe,
                           (char[]){"train"},
                           recipe,
                           (char[]){"--model"},
                           (char *)(uintptr_t)model,
                           (char[]){"--threads"},
                           (char[]){"1"},
                           (char[]){"--out"},
                           out,
                           NULL};
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSCHEDULER);
    posix_spawnattr_setschedpolicy(&attr, SCHED_IDLE);
    posix_spawnattr_setschedparam(&attr, &none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    int rc = posix_spawn(&n->child, exe, &files, &attr, words, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (rc) n->child = 0;
    return rc ? err_set(e, E_IO, "a run of lammd train: %s", strerror(rc)) : 0;
}

long neighbour_steps(const struct neighbour *n) {
    char path[PATH_SIZE];
    struct buf b;
    struct err none = {0};
    long steps = 0;
    neighbour_path(n, "out/events.jsonl", path);
    buf_init(&b, LOG_MAX);
    if (file_read(path, &b, &none) == 0)
        for (const char *at = (const char *)b.p; at && (at = strstr(at, "\"event\":\"step\""));
             at++)
            steps++;
    buf_clear(&b);
    return steps;
}

/* The last line that it wrote. */
static int neighbour_failed(const struct neighbour *n, struct err *e) {
    char path[PATH_SIZE];
    struct buf b;
    struct err none = {0};
    neighbour_path(n, "log", path);
    buf_init(&b, LOG_MAX);
    (void)file_read(path, &b, &none);
    while (b.len && b.p[b.len - 1] == '\n')
        b.p[--b.len] = '\0';
    const char *line = b.len ? memrchr(b.p, '\n', b.len) : NULL;
    line = line ? line + 1 : b.len ? (const char *)b.p : "it said nothing";
    int rc = err_set(e, E_IO, "the run of lammd train ended: %.200s", line);
    buf_clear(&b);
    return rc;
}

/* Until it is in the middle of its work. */
static int wait_for_steps(const struct neighbour *n, struct err *e) {
    const struct timespec pause = {0, LOOK_MS * 1000000L};
    uint64_t start = clock_ns();
    while (neighbour_steps(n) < 1) {
        siginfo_t ended = {0};
        if (waitid(P_PID, (id_t)n->child, &ended, WEXITED | WNOHANG | WNOWAIT) || ended.si_pid)
            return neighbour_failed(n, e);
        if (clock_ns() - start > BEGIN_S * CLOCK_S)
            return err_set(e, E_TIMEOUT, "the run of lammd train made no step in %d s", BEGIN_S);
        nanosleep(&pause, NULL);
    }
    return 0;
}

int neighbour_start(const char *model, const char *data, struct neighbour **out, struct err *e) {
    struct neighbour *n = mem_must(sizeof(*n));
    char recipe[PATH_SIZE];
    snprintf(n->folder, sizeof(n->folder), "/tmp/lammd-beside-XXXXXX");
    int rc = mkdtemp(n->folder) ? 0 : err_set(e, E_IO, "%s: %s", n->folder, strerror(errno));
    if (rc) n->folder[0] = '\0';
    if (rc == 0 && !data) rc = write_scenes(n, e);
    if (rc == 0) rc = write_recipe(n, data, recipe, e);
    if (rc == 0) rc = neighbour_spawn(n, model, recipe, e);
    if (rc == 0) rc = wait_for_steps(n, e);
    if (rc == 0) neighbour_pause(n);
    if (rc) {
        neighbour_end(n);
        return rc;
    }
    *out = n;
    return 0;
}

void neighbour_go(struct neighbour *n) { (void)kill(n->child, SIGCONT); }
void neighbour_pause(struct neighbour *n) { (void)kill(n->child, SIGSTOP); }

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *f) {
    (void)s;
    (void)kind;
    (void)f;
    return remove(path);
}

void neighbour_end(struct neighbour *n) {
    if (!n) return;
    if (n->child) {
        (void)kill(n->child, SIGKILL);
        (void)waitpid(n->child, NULL, 0);
    }
    if (n->folder[0]) (void)nftw(n->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    mem_free(n);
}
