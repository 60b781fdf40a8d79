/* images.c - PUT /v1/images, DELETE /v1/images/{id}: send a picture once, then name it.
 *
 * The store keeps at most `max` pictures, each for ttl seconds after its last use; the one unused
 * for longest makes room. A picture's id is its digest, so sending it twice stores it once. A call
 * that uses a picture holds a reference of its own: deleting it harms nobody.
 *
 * A few dozen entries: they are searched one by one, under one lock that is held for that alone.
 * Thread: any worker.
 */
#include <string.h>

#include "api/call.h"
#include "api/wire/input.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

struct entry {
    struct eng_picture *picture;
    uint64_t used_ns;
};

struct images {
    pthread_mutex_t mu; /* guards all below */
    struct entry *entries;
    int n, max;
    uint64_t ttl_ns;
};

struct images *images_new(int max, unsigned ttl_s) {
    struct images *s = mem_must(sizeof(*s));
    pthread_mutex_init(&s->mu, NULL);
    s->entries = mem_must((size_t)max * sizeof(s->entries[0]));
    s->max = max;
    s->ttl_ns = (uint64_t)ttl_s * 1000000000u;
    return s;
}

void images_free(struct images *s) {
    if (!s) return;
    for (int i = 0; i < s->n; i++)
        eng_picture_put(s->entries[i].picture);
    mem_free(s->entries);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

/* ---- under the lock ---- */

static void drop(struct images *s, int i) {
    eng_picture_put(s->entries[i].picture);
    s->entries[i] = s->entries[--s->n];
}

static void drop_expired(struct images *s, uint64_t now) {
    for (int i = s->n - 1; i >= 0; i--) {
        if (now - s->entries[i].used_ns > s->ttl_ns) drop(s, i);
    }
}

static int look_up(struct images *s, const char *id) {
    drop_expired(s, clock_ns());
    for (int i = 0; i < s->n; i++) {
        if (strcmp(eng_picture_digest(s->entries[i].picture), id) == 0) return i;
    }
    return -1;
}

static void make_room(struct images *s) {
    if (s->n < s->max) return;
    int oldest = 0;
    for (int i = 1; i < s->n; i++) {
        if (s->entries[i].used_ns < s->entries[oldest].used_ns) oldest = i;
    }
    drop(s, oldest);
}

/* ---- the store ---- */

struct eng_picture *images_find(struct images *s, const char *id) {
    struct eng_picture *picture = NULL;
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    if (i >= 0) {
        s->entries[i].used_ns = clock_ns();
        picture = eng_picture_get(s->entries[i].picture);
    }
    pthread_mutex_unlock(&s->mu);
    return picture;
}

int images_count(struct images *s) {
    pthread_mutex_lock(&s->mu);
    drop_expired(s, clock_ns());
    int n = s->n;
    pthread_mutex_unlock(&s->mu);
    return n;
}

/* 1: it is new; 0: it was there. The store takes a reference of its own. */
static int store(struct images *s, struct eng_picture *picture) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, eng_picture_digest(picture)), is_new = i < 0;
    if (is_new) {
        make_room(s);
        i = s->n++;
        s->entries[i].picture = eng_picture_get(picture);
    }
    s->entries[i].used_ns = clock_ns();
    pthread_mutex_unlock(&s->mu);
    return is_new;
}

static int forget(struct images *s, const char *id) {
    pthread_mutex_lock(&s->mu);
    int i = look_up(s, id);
    if (i >= 0) drop(s, i);
    pthread_mutex_unlock(&s->mu);
    return i >= 0 ? 0 : -1;
}

/* ---- the endpoints ---- */

int images_put_step(struct api_call *c) {
    static const char *const known[] = {NULL};
    static const struct input_wants wants = {.picture = "image", .known = known};
    struct input in;
    int rc = call_open(c, &in, &wants);
    if (!rc) rc = call_pictures(c, &in);
    input_close(&in);
    if (rc) return call_fail(c);
    const char *id = eng_picture_digest(c->pictures[0]);
    int is_new = store(c->api->images, c->pictures[0]), w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(&c->body, "{\"id\":\"%s\",\"width\":%d,\"height\":%d,\"ttl_s\":%u}\n", id, w, h,
               c->api->opt.image_ttl_s);
    call_header_printf(c, "Location", "/v1/images/%s", id);
    return call_answer(c, is_new ? 201 : 200, "application/json");
}

int images_delete_step(struct api_call *c) {
    if (forget(c->api->images, c->in.arg)) return call_fail_as(c, PROBLEM_IMAGE_NOT_FOUND);
    return call_answer(c, 204, NULL);
}
