/* images.c - see images.h. */
#include "api/store/images.h"

#include "api/store/shelf.h"
#include "kernels/base/mem.h"

struct image {
    struct shelf_item at;
    struct eng_picture *picture;
};

struct images {
    struct shelf *shelf;
    int payer_max;
};

static void image_drop(void *item) { eng_picture_put(((struct image *)item)->picture); }

struct images *images_new(int max, int payer_max, unsigned ttl_s) {
    struct images *s = mem_must(sizeof(*s));
    s->payer_max = payer_max;
    s->shelf = shelf_new(max, ttl_s, sizeof(struct image), image_drop);
    return s;
}

void images_free(struct images *s) {
    if (!s) return;
    shelf_free(s->shelf);
    mem_free(s);
}

/* With the lock. The payer's oldest makes room for it, if none is left or he has his part. */
static struct image *images_add(struct images *s, uint64_t owner, uint64_t payer, const char *id) {
    int is_over = s->payer_max && shelf_count_of(s->shelf, payer) >= s->payer_max;
    struct image *image = is_over ? NULL : shelf_add(s->shelf, owner, payer, id);
    struct image *oldest = image ? NULL : shelf_oldest(s->shelf, payer);
    if (!oldest) return image;
    shelf_remove(s->shelf, oldest);
    return shelf_add(s->shelf, owner, payer, id);
}

int images_put(struct images *s, uint64_t owner, uint64_t payer, const char *id,
               struct eng_picture *picture) {
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, owner, id);
    if (image) {
        shelf_use(&image->at);
    } else {
        image = images_add(s, owner, payer, id);
        if (image) image->picture = eng_picture_get(picture);
    }
    shelf_unlock(s->shelf);
    return image ? 0 : E_BUSY;
}

struct eng_picture *images_find(struct images *s, uint64_t owner, const char *id) {
    struct eng_picture *picture = NULL;
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, owner, id);
    if (image) {
        shelf_use(&image->at);
        picture = eng_picture_get(image->picture);
    }
    shelf_unlock(s->shelf);
    return picture;
}

int images_forget(struct images *s, uint64_t owner, const char *id) {
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, owner, id);
    if (image) shelf_remove(s->shelf, image);
    shelf_unlock(s->shelf);
    return image ? 0 : E_NOT_FOUND;
}

int images_count(struct images *s) {
    shelf_lock(s->shelf);
    int n = shelf_count(s->shelf);
    shelf_unlock(s->shelf);
    return n;
}
