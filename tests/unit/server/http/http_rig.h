/* http_rig.h - clients of the HTTP side, over loopback. */
#ifndef TESTS_UNIT_SERVER_HTTP_HTTP_RIG_H
#define TESTS_UNIT_SERVER_HTTP_HTTP_RIG_H

#include <stddef.h>

enum { RIG_TEXT = 8192 };

/* A connection, both ends: client's, server's. */
void rig_pair(int *client, int *server);
/* Connect to 127.0.0.1:port. */
int rig_connect(int port);
void rig_send(int fd, const char *text);
/* What comes until `part` is there or the other side closes: at most RIG_TEXT - 1 bytes. Fails the
 * test after half a minute. Returns how much. */
size_t rig_read(int fd, const char *part, char text[RIG_TEXT]);
/* Send, read until `part` is in the answer, and demand that it is. */
void rig_ask(int fd, const char *request, const char *part, char text[RIG_TEXT]);
/* The other side closes, and sends nothing before. */
void rig_closed(int fd);

#define RIG_GET(path)  "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define RIG_POST(path) "POST " path " HTTP/1.1\r\nHost: localhost\r\n"

#endif
