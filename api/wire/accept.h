/* accept.h - content negotiation. Thread: any. */
#ifndef API_WIRE_ACCEPT_H
#define API_WIRE_ACCEPT_H

/* Index of the type in `types` (best first, NULL at the end) that the header's value likes most;
 * -1: none. No header: the first. */
int accept_pick(const char *accept, const char *const *types);

#endif
