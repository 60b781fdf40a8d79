/* table.h - texts -> numbers: 0, 1, 2 ... in the order in which they were added.
 *
 * Where a text lies depends on a number that is drawn for each table, so that nobody can make texts
 * that all fall together. Thread: its owner's; table_find alone from any, while nobody adds.
 */
#ifndef DATA_SOURCE_TABLE_H
#define DATA_SOURCE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table;
enum { TABLE_NONE = UINT32_MAX };

struct table *table_new(void); /* must-succeed */
void table_free(struct table *t);
/* The number of key (any bytes, copied): that which it has, or the next one, *is_new set.
 * TABLE_NONE when there is no memory. */
uint32_t table_add(struct table *t, const void *key, size_t len, int *is_new);
uint32_t table_find(const struct table *t, const void *key, size_t len); /* or TABLE_NONE */
uint32_t table_count(const struct table *t);
/* The key of a number, with a NUL behind. Valid until the next table_add. */
const char *table_key(const struct table *t, uint32_t number);

#endif
