/* test_hasher.c - what goes by on two threads has the digest of the whole, and its flaws are found.
 */
#include "engine/import/hasher.h"

#include "kernels/base/mem.h"
#include "tests/check.h"

enum { ALL = 1000000 /* times the letter a, as in FIPS 180's third example */ };
static const char digest_of_all[] =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static const struct st_tensor bytes_of = {.name = "bytes", .dtype = ST_OTHER};
static const struct st_tensor numbers_of = {.name = "numbers", .dtype = ST_F16};

/* Every second piece is made in the hasher's room, the others lie where they are. */
static void check_digest(size_t most) {
    struct hasher h;
    struct err e = {0};
    char hex[65], *all = mem_must(ALL);
    memset(all, 'a', ALL);
    CHECK_EQ(hasher_start(&h, &e), 0);
    for (size_t at = 0, n, k = 0; at < ALL; at += n, k++) {
        n = ALL - at < most ? ALL - at : most;
        void *piece = k % 2 ? hasher_room(&h, &e) : all + at;
        CHECK(piece);
        memset(piece, 'a', n);
        hasher_give(&h, k % 3 ? &bytes_of : NULL, piece, n);
    }
    CHECK(!hasher_is_over(&h));
    CHECK_EQ(hasher_end(&h, 0, hex, &e), 0);
    CHECK_STR(hex, digest_of_all);
    mem_free(all);
}

TEST(hasher_knows_the_digest_of_pieces) {
    check_digest(ALL);
    check_digest(100000);
    check_digest(999);
}

/* Finite numbers, more of them than may wait, and among them one that is none. */
TEST(hasher_refuses_what_is_no_number) {
    struct hasher h;
    struct err e = {0};
    char hex[65];
    CHECK_EQ(hasher_start(&h, &e), 0);
    for (int k = 0; k < 3 * HASHER_PIECES; k++) {
        uint16_t *room = hasher_room(&h, &e);
        CHECK(room);
        for (int i = 0; i < 1000; i++)
            room[i] = 0x3c00;
        if (k == HASHER_PIECES) room[999] = 0x7c00;
        hasher_give(&h, &numbers_of, room, 1000 * sizeof *room);
    }
    CHECK_EQ(hasher_end(&h, 0, hex, &e), E_FORMAT);
    CHECK_STR(e.text, "tensor numbers has a weight that is infinite or not a number");
}

/* The maker failed, with pieces under way and a room in its hands. */
TEST(hasher_ends_with_the_makers_error) {
    struct hasher h;
    struct err e = {0};
    char hex[65];
    CHECK_EQ(hasher_start(&h, &e), 0);
    for (int k = 0; k < HASHER_PIECES; k++) {
        char *room = hasher_room(&h, &e);
        CHECK(room);
        memset(room, 0, HASHER_ROOM);
        hasher_give(&h, NULL, room, HASHER_ROOM);
    }
    CHECK(hasher_room(&h, &e));
    CHECK_EQ(hasher_end(&h, err_set(&e, E_IO, "the disk"), hex, &e), E_IO);
    CHECK_STR(e.text, "the disk");
}

TEST(hasher_has_no_memory) {
    struct hasher h;
    struct err e = {0};
    char hex[65];
    CHECK_EQ(hasher_start(&h, &e), 0);
    mem_fail_at(1);
    CHECK(!hasher_room(&h, &e));
    CHECK_EQ(e.code, E_NOMEM);
    CHECK(hasher_room(&h, &(struct err){0}));
    CHECK_EQ(hasher_end(&h, e.code, hex, &e), E_NOMEM);
}
