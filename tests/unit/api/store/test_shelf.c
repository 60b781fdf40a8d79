/* The helper of the stores: what is found, what expires, what makes room, and who gives back. */
#include "api/store/shelf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"

struct toy {
    struct shelf_item at;
    int *dropped; /* counts */
    int colour;
};

static void toy_drop(void *item) { ++*((struct toy *)item)->dropped; }

static struct toy *add(struct shelf *s, const char *id, int colour, int *dropped) {
    struct toy *t = shelf_add(s, 0, 0, id);
    if (!t) return NULL;
    CHECK(!t->dropped && t->colour == 0); /* nothing of a former one */
    t->dropped = dropped;
    t->colour = colour;
    return t;
}

static int colour_of(struct shelf *s, const char *id) {
    struct toy *t = shelf_find(s, 0, id);
    return t ? t->colour : -1;
}

TEST(shelf_keeps_finds_and_forgets) {
    int dropped = 0;
    struct shelf *s = shelf_new(3, 60, sizeof(struct toy), toy_drop);
    shelf_lock(s);
    CHECK(shelf_find(s, 0, "a") == NULL && shelf_oldest(s, 0) == NULL);
    add(s, "a", 1, &dropped);
    add(s, "b", 2, &dropped);
    add(s, "c", 3, &dropped);
    CHECK(colour_of(s, "a") == 1 && colour_of(s, "b") == 2 && colour_of(s, "c") == 3);
    CHECK(add(s, "d", 4, &dropped) == NULL); /* it is full, and nobody is thrown out */
    shelf_remove(s, shelf_find(s, 0, "a"));  /* the last one fills the gap */
    CHECK_EQ(dropped, 1);
    CHECK(colour_of(s, "a") == -1 && colour_of(s, "b") == 2 && colour_of(s, "c") == 3);
    CHECK(add(s, "d", 4, &dropped) != NULL);
    CHECK_EQ(shelf_count(s), 3);
    shelf_unlock(s);
    shelf_free(s);
    CHECK_EQ(dropped, 4); /* each once */
}

TEST(shelf_oldest_is_the_one_unused_for_longest) {
    int dropped = 0;
    struct shelf *s = shelf_new(3, 60, sizeof(struct toy), toy_drop);
    shelf_lock(s);
    add(s, "a", 1, &dropped);
    add(s, "b", 2, &dropped);
    add(s, "c", 3, &dropped);
    CHECK_EQ(((struct toy *)shelf_oldest(s, 0))->colour, 1);
    shelf_use(shelf_find(s, 0, "a"));
    CHECK_EQ(((struct toy *)shelf_oldest(s, 0))->colour, 2);
    shelf_unlock(s);
    shelf_free(s);
}

TEST(shelf_drops_what_was_idle_but_not_what_is_held) {
    int dropped = 0;
    struct shelf *s = shelf_new(3, 1, sizeof(struct toy), toy_drop);
    shelf_lock(s);
    add(s, "idle", 1, &dropped);
    add(s, "held", 2, &dropped)->at.is_held = 1;
    add(s, "used", 3, &dropped);
    usleep(600 * 1000);
    shelf_use(shelf_find(s, 0, "used"));
    CHECK_EQ(dropped, 0);
    usleep(600 * 1000);
    CHECK_EQ(shelf_count(s), 2);
    CHECK_EQ(dropped, 1);
    CHECK(colour_of(s, "idle") == -1 && colour_of(s, "held") == 2 && colour_of(s, "used") == 3);
    ((struct toy *)shelf_find(s, 0, "held"))->at.is_held = 0;
    CHECK_EQ(colour_of(s, "held"), -1); /* it was idle long enough */
    shelf_unlock(s);
    shelf_free(s);
    CHECK_EQ(dropped, 3);
}

/* A full shelf makes room by itself once something has expired. */
TEST(shelf_add_takes_the_place_of_what_expired) {
    int dropped = 0;
    struct shelf *s = shelf_new(1, 1, sizeof(struct toy), toy_drop);
    shelf_lock(s);
    add(s, "a", 1, &dropped);
    CHECK(shelf_add(s, 0, 0, "b") == NULL);
    usleep(1100 * 1000);
    CHECK(add(s, "b", 2, &dropped) != NULL);
    CHECK_EQ(dropped, 1);
    shelf_unlock(s);
    shelf_free(s);
}

TEST(shelf_shows_each_owner_its_own) {
    int dropped = 0;
    struct shelf *s = shelf_new(3, 60, sizeof(struct toy), toy_drop);
    shelf_lock(s);
    add(s, "a", 1, &dropped);
    struct toy *other = shelf_add(s, 7, 7, "a");
    *other = (struct toy){.at = other->at, .dropped = &dropped, .colour = 2};
    CHECK_EQ(colour_of(s, "a"), 1);
    CHECK_EQ(((struct toy *)shelf_find(s, 7, "a"))->colour, 2);
    CHECK(shelf_find(s, 8, "a") == NULL && shelf_oldest(s, 8) == NULL);
    CHECK_EQ(((struct toy *)shelf_oldest(s, 7))->colour, 2);
    CHECK_EQ(shelf_count(s), 2);
    CHECK_EQ(shelf_count_of(s, 7), 1);
    shelf_remove(s, shelf_find(s, 7, "a"));
    CHECK_EQ(colour_of(s, "a"), 1);
    shelf_unlock(s);
    shelf_free(s);
}
