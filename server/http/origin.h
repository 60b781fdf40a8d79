/* origin.h - who is asked, and by whose page: the Host and Origin headers (RFC 9110 section 7.2,
 * RFC 6454 section 7).
 *
 * A browser under a stranger's control can send requests here: by a Host name that the stranger
 * points to this address (DNS rebinding), or from the stranger's own page (Origin). Names and
 * origins that are served have to be known, so that both can be told from the page's own requests.
 * Pure functions over borrowed bytes. Thread: any.
 */
#ifndef SERVER_HTTP_ORIGIN_H
#define SERVER_HTTP_ORIGIN_H

#include <stddef.h>

#include "kernels/base/err.h"

/* What is served besides localhost and addresses; borrowed. */
struct origin_rules {
    const char *const *hosts; /* names without port; "*": every name */
    size_t n_hosts;
    const char *const *origins; /* scheme://host or scheme://host:port */
    size_t n_origins;
};

/* E_INVALID: a rule would never match; the text says what it should be. */
int origin_check_rules(const struct origin_rules *r, struct err *e);

/* NAME, NAME:PORT, 127.0.0.1:80 or [::1]:80. */
struct origin_host {
    const char *name;
    size_t len;
    long port; /* -1: none is given */
};
/* 0, or E_FORMAT. */
int origin_read_host(const char *s, size_t n, struct origin_host *out);
int origin_is_served(const struct origin_rules *r, const struct origin_host *host);
/* May a page of this Origin (n bytes) ask this host? A port that is left out is the scheme's. */
int origin_may_ask(const struct origin_rules *r, const char *origin, size_t n,
                   const struct origin_host *host);

#endif
