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
};

static void image_drop(void *item) { eng_picture_put(((struct image *)item)->picture); }

struct images *images_new(int max, unsigned ttl_s) {
    struct images *s = mem_must(sizeof(*s));
    s->shelf = shelf_new(max, ttl_s, sizeof(struct image), image_drop);
    return s;
}

void images_free(struct images *s) {
    if (!s) return;
    shelf_free(s->shelf);
    mem_free(s);
}

int images_put(struct images *s, struct eng_picture *picture) {
    const char *id = eng_picture_digest(picture);
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, id);
    int is_new = !image;
    if (image) {
        shelf_use(&image->at);
    } else {
        image = shelf_add(s->shelf, id);
        if (!image) {
            shelf_remove(s->shelf, shelf_oldest(s->shelf));
            image = shelf_add(s->shelf, id);
        }
        image->picture = eng_picture_get(picture);
    }
    shelf_unlock(s->shelf);
    return is_new;
}

struct eng_picture *images_find(struct images *s, const char *id) {
    struct eng_picture *picture = NULL;
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, id);
    if (image) {
        shelf_use(&image->at);
        picture = eng_picture_get(image->picture);
    }
    shelf_unlock(s->shelf);
    return picture;
}

int images_forget(struct images *s, const char *id) {
    shelf_lock(s->shelf);
    struct image *image = shelf_find(s->shelf, id);
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
