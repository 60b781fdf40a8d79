/* replicas.c - see replicas.h. */
#include "cli/replicas.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/http_client.h"
#include "data/files.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { CONFIG_MAX = 1 << 20, PATH_SIZE = 300, READY_S = 300, SEEN_MS = 3000, LOOK_MS = 50 };

struct replicas {
    char folder[32]; /* of the configuration; "": none */
    pid_t child[REPLICAS_MAX], proxy;
    int port[REPLICAS_MAX], front;
};

/* ---- children ---- */

/* Its standard output goes to `out`, -1: nowhere. */
static int replicas_spawn(const char *program, char *const words[], int out, pid_t *child,
                          struct err *e) {
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&files, out, 1);
    else
        posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    int rc = posix_spawn(child, program, &files, NULL, words, environ);
    posix_spawn_file_actions_destroy(&files);
    if (rc) *child = 0;
    return rc ? err_set(e, E_IO, "%s: %s", program, strerror(rc)) : 0;
}

/* "listening on http://127.0.0.1:PORT" */
static int read_port(int fd, int *port, struct err *e) {
    char line[200] = "";
    size_t n = 0;
    while (n + 1 < sizeof(line) && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    const char *colon = strrchr(line, ':');
    if (!colon || sscanf(colon, ":%d", port) != 1)
        return err_set(e, E_IO, "a replica doesn't begin; try lammd serve by itself");
    return 0;
}

static int replicas_serve(struct replicas *r, int i, const struct replicas_how *how,
                          const char *name, struct err *e) {
    char exe[4096], threads[16], model[4096], replica[16];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    int pipe_[2];
    if (len < 0 || pipe2(pipe_, O_CLOEXEC)) return err_set(e, E_IO, "%s", strerror(errno));
    exe[len] = '\0';
    snprintf(threads, sizeof(threads), "%d", how->threads);
    snprintf(model, sizeof(model), "%s", how->model);
    snprintf(replica, sizeof(replica), "%s", name);
    char *const words[] = {exe,
                           (char[]){"serve"},
                           (char[]){"--listen"},
                           (char[]){"127.0.0.1:0"},
                           (char[]){"--queue-seconds"},
                           (char[]){"0"},
                           (char[]){"--request-timeout"},
                           (char[]){"3600"},
                           (char[]){"--replica"},
                           replica,
                           (char[]){"--model"},
                           model,
                           (char[]){"--threads"},
                           threads,
                           NULL};
    int rc = replicas_spawn(exe, words, pipe_[1], &r->child[i], e);
    close(pipe_[1]);
    if (rc == 0) rc = read_port(pipe_[0], &r->port[i], e);
    close(pipe_[0]);
    return rc;
}

/* ---- HAProxy ---- */

static int free_port(struct err *e) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 || bind(fd, (struct sockaddr *)&at, len) ||
             getsockname(fd, (struct sockaddr *)&at, &len);
    if (fd >= 0) close(fd);
    if (rc) (void)err_set(e, E_IO, "no free port: %s", strerror(errno));
    return rc ? -1 : ntohs(at.sin_port);
}

/* The one place of `old` in the text becomes `new`. */
static int replicas_replace(struct buf *text, const char *old, const char *new, struct err *e) {
    struct buf b;
    const char *at = text->p ? strstr((const char *)text->p, old) : NULL;
    if (!at) return err_set(e, E_FORMAT, "it has no %s, so it is no deploy/haproxy.cfg", old);
    buf_init(&b, CONFIG_MAX);
    (void)buf_add(&b, text->p, (size_t)(at - (const char *)text->p));
    (void)buf_str(&b, new);
    (void)buf_str(&b, at + strlen(old));
    buf_clear(text);
    *text = b;
    return b.bad ? err_set(e, b.bad, "the configuration of HAProxy is too large") : 0;
}

/* Replicas that aren't there get a port where nobody listens. */
static int replicas_config(struct replicas *r, struct buf *text, struct err *e) {
    char old[64], new[64];
    snprintf(new, sizeof(new), "%s/admin", r->folder);
    int rc = replicas_replace(text, "/run/haproxy/lammd.sock", new, e);
    snprintf(new, sizeof(new), "bind 127.0.0.1:%d", r->front);
    if (rc == 0) rc = replicas_replace(text, "bind :8080", new, e);
    for (int i = 0; rc == 0 && i < REPLICAS_MAX; i++) {
        snprintf(old, sizeof(old), "127.0.0.1:%d", 8081 + i);
        snprintf(new, sizeof(new), "127.0.0.1:%d", r->port[i] ? r->port[i] : 1);
        rc = replicas_replace(text, old, new, e);
    }
    return rc;
}

static int replicas_proxy(struct replicas *r, const char *config, struct err *e) {
    static const char *const programs[] = {"/usr/sbin/haproxy", "/usr/local/sbin/haproxy"};
    char path[PATH_SIZE], program[PATH_SIZE];
    struct buf text;
    const char *found = NULL;
    for (size_t i = 0; !found && i < ARRAY_LEN(programs); i++)
        if (access(programs[i], X_OK) == 0) found = programs[i];
    if (!found) return err_set(e, E_NOT_FOUND, "HAProxy is missing: apt-get install haproxy");
    buf_init(&text, CONFIG_MAX);
    snprintf(path, sizeof(path), "%s/haproxy.cfg", r->folder);
    snprintf(program, sizeof(program), "%s", found);
    r->front = free_port(e);
    int rc = r->front < 0 ? E_IO : file_read(config, &text, e);
    if (rc == 0 && (rc = replicas_config(r, &text, e))) err_in(e, "%s", config);
    if (rc == 0) rc = file_write(path, text.p, text.len, e);
    buf_clear(&text);
    char *const words[] = {program, (char[]){"-db"}, (char[]){"-f"}, path, NULL};
    return rc ? rc : replicas_spawn(program, words, -1, &r->proxy, e);
}

/* ---- start and end ---- */

static void replicas_pause(int ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* Until GET /readyz at the port says 200. */
static int replicas_wait(int port, struct err *e) {
    char url[64];
    struct http_client c;
    uint64_t start = clock_ns();
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", port);
    int rc = http_client_open(&c, url, NULL, NULL, e);
    for (int status = 0; rc == 0 && status != 200;) {
        struct http_request q = {.method = "GET", .path = "/readyz"};
        struct http_reply reply = {.status = 0};
        struct err none = {0};
        if (http_client_ask(&c, &q, &reply, &none) == 0) status = reply.status;
        http_client_drop(&reply);
        if (status != 200 && clock_ns() - start > READY_S * CLOCK_S)
            return err_set(e, E_TIMEOUT, "not ready in %d s: %s", READY_S, url);
        if (status != 200) replicas_pause(LOOK_MS);
    }
    return rc;
}

int replicas_start(const struct replicas_how *how, struct replicas **out, struct err *e) {
    static const char *const names[REPLICAS_MAX] = {"one", "two", "three"};
    struct replicas *r = mem_must(sizeof(*r));
    snprintf(r->folder, sizeof(r->folder), "/tmp/lammd-replicas-XXXXXX");
    int rc = mkdtemp(r->folder) ? 0 : err_set(e, E_IO, "%s: %s", r->folder, strerror(errno));
    if (rc) r->folder[0] = '\0';
    for (int i = 0; rc == 0 && i < how->n; i++)
        rc = replicas_serve(r, i, how, names[i], e);
    for (int i = 0; rc == 0 && i < how->n; i++)
        rc = replicas_wait(r->port[i], e);
    if (rc == 0) rc = replicas_proxy(r, how->config, e);
    if (rc == 0) rc = replicas_wait(r->front, e);
    if (rc == 0) replicas_pause(SEEN_MS); /* two checks of each, a second apart */
    if (rc) {
        replicas_end(r);
        return rc;
    }
    *out = r;
    return 0;
}

int replicas_port(const struct replicas *r) { return r->front; }

static void replicas_stop(pid_t child) {
    if (!child) return;
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

void replicas_end(struct replicas *r) {
    if (!r) return;
    char path[PATH_SIZE];
    replicas_stop(r->proxy);
    for (int i = 0; i < REPLICAS_MAX; i++)
        replicas_stop(r->child[i]);
    snprintf(path, sizeof(path), "%s/haproxy.cfg", r->folder);
    (void)unlink(path);
    snprintf(path, sizeof(path), "%s/admin", r->folder);
    (void)unlink(path);
    if (r->folder[0]) (void)rmdir(r->folder);
    mem_free(r);
}
