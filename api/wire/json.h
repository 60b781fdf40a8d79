/* json.h - strict JSON in. Out: json_write.h.
 *
 * Reading goes through jansson after a scan that bounds what it may cost; json_open is the only way
 * in. Values are read strictly: "64" is no number, 64.0 is no integer, 1 is no boolean.
 * Thread: any.
 */
#ifndef API_WIRE_JSON_H
#define API_WIRE_JSON_H

#include <jansson.h>

#include "api/wire/problem.h"

enum { JSON_DEPTH_MAX = 16, JSON_TOKENS_MAX = 40000 };

/* Bytes -> a tree, given to the caller (json_decref). Refused with a text that says where: too
 * deep, too many tokens, duplicate names, numbers out of range, anything but UTF-8, bytes behind
 * the end. */
int json_open(const uint8_t *bytes, size_t len, json_t **root, struct problem *p);

/* What somebody sent, for "got ...": `65`, `the string "64"`, `null`, `an array`. */
void json_describe(const json_t *v, char *to, size_t cap);
/* The same for text: printable ASCII in quotes, shortened. */
void json_quote(const char *text, size_t len, char *to, size_t cap);
/* The fault "NAME must be WHAT; got V". Returns -1. */
int json_must_be(struct problem *p, const char *name, const json_t *v, const char *what);

#endif
