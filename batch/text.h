/* text.h - what is said of a line, as JSON. Thread: any. */
#ifndef BATCH_TEXT_H
#define BATCH_TEXT_H

struct json_t;

/* A string. Where `s` is no UTF-8, '?' stands for each byte that isn't ASCII. NULL: no memory. */
struct json_t *text_json(const char *s);

#endif
