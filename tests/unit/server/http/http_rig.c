/* http_rig.c - see http_rig.h. */
#include "tests/unit/server/http/http_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check.h"

enum { PATIENCE_MS = 30000 };

static struct sockaddr_in address(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int rig_connect(int port) {
    struct sockaddr_in to = address(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void rig_pair(int *client, int *server) {
    struct sockaddr_in at = address(0);
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    *client = rig_connect(ntohs(at.sin_port));
    *server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    CHECK(*server >= 0);
    close(listener);
}

void rig_send(int fd, const char *text) {
    for (size_t n = strlen(text), at = 0; at < n;) {
        ssize_t sent = send(fd, text + at, n - at, MSG_NOSIGNAL);
        CHECK(sent > 0);
        at += (size_t)sent;
    }
}

size_t rig_read(int fd, const char *part, char text[RIG_TEXT]) {
    size_t len = 0;
    text[0] = '\0';
    while (len < RIG_TEXT - 1 && !(part && strstr(text, part))) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        CHECK(poll(&p, 1, PATIENCE_MS) > 0);
        ssize_t n = recv(fd, text + len, RIG_TEXT - 1 - len, 0);
        if (n <= 0) break;
        len += (size_t)n;
        text[len] = '\0';
    }
    return len;
}

void rig_ask(int fd, const char *request, const char *part, char text[RIG_TEXT]) {
    rig_send(fd, request);
    rig_read(fd, part, text);
    CHECK_HAS(text, part);
}

void rig_closed(int fd) {
    char text[RIG_TEXT];
    rig_read(fd, NULL, text);
    CHECK_STR(text, "");
}
