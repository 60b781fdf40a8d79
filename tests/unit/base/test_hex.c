/* test_hex.c - every byte's two digits, and nothing written beyond them. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/hex.h"
#include "tests/check.h"

TEST(hex_every_byte) {
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        char got[8], wanted[8];
        memset(got, 'x', sizeof(got));
        snprintf(wanted, sizeof(wanted), "%02x", i);
        hex_write(&byte, 1, got);
        CHECK_STR(got, wanted);
        CHECK_MEM(got + 3, "xxxxx", 5);
    }
}

TEST(hex_in_order_and_of_nothing) {
    char got[13] = "?";
    hex_write("", 0, got);
    CHECK_STR(got, "");
    hex_write("\x00\x7f\x80\xff\x0a\xa0", 6, got);
    CHECK_STR(got, "007f80ff0aa0");
}
