/* text.h - what is said of a line, as JSON. Thread: any. */
#ifndef BATCH_TEXT_H
#define BATCH_TEXT_H

#include <jansson.h>

/* A string. Where `s` is no UTF-8, '?' stands for each byte that isn't ASCII. NULL: no memory. */
json_t *text_json(const char *s);

#endif
