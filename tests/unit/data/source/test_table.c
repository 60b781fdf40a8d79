/* test_table.c - texts and their numbers. */
#include "data/source/table.h"

#include <stdio.h>

#include "tests/check.h"

TEST(table_numbers_texts_in_their_order) {
    struct table *t = table_new();
    int is_new;
    char key[32];
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            int n = snprintf(key, sizeof(key), "%u.jpg", i * 7919u);
            CHECK_EQ(table_add(t, key, (size_t)n, &is_new), i);
            CHECK_EQ(is_new, round == 0);
        }
    }
    CHECK_EQ(table_count(t), 5000);
    CHECK_STR(table_key(t, 2), "15838.jpg");
    CHECK_EQ(table_find(t, "15838.jpg", 9), 2);
    CHECK_EQ(table_find(t, "15838.jp", 8), TABLE_NONE);
    CHECK_EQ(table_find(t, "", 0), TABLE_NONE);
    CHECK_EQ(table_add(t, "", 0, &is_new), 5000);
    CHECK_EQ(table_find(t, "", 0), 5000);
    CHECK_EQ(table_add(t, "a\0b", 3, &is_new), 5001); /* any bytes */
    CHECK_EQ(table_find(t, "a\0c", 3), TABLE_NONE);
    table_free(t);
    table_free(NULL);
}
