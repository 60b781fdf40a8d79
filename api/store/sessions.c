/* sessions.c - see sessions.h. */
#include "api/store/sessions.h"

#include <string.h>
#include <sys/random.h>

#include "api/store/shelf.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

struct game_kept {
    struct shelf_item at; /* held while it is entered */
    struct session session;
};

struct sessions {
    struct shelf *shelf;
};

static void game_drop(void *item) {
    struct session *it = &((struct game_kept *)item)->session;
    for (uint32_t i = 0; i < it->n_frames; i++)
        eng_picture_put(it->frames[i]);
}

struct sessions *sessions_new(int max, unsigned ttl_s) {
    struct sessions *s = mem_must(sizeof(*s));
    s->shelf = shelf_new(max, ttl_s, sizeof(struct game_kept), game_drop);
    return s;
}

void sessions_free(struct sessions *s) {
    if (!s) return;
    shelf_free(s->shelf);
    mem_free(s);
}

int sessions_create(struct sessions *s, enum eng_task game, uint32_t prompt_frames,
                    char id[2 * SESSION_ID_BYTES + 1]) {
    uint8_t random[SESSION_ID_BYTES];
    /* OpenSSL's generator stays broken once it had no memory; the kernel's needs none. */
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) return E_INTERNAL;
    hex_write(random, sizeof(random), id);
    shelf_lock(s->shelf);
    struct game_kept *new = shelf_add(s->shelf, id);
    if (new) {
        new->session = (struct session){.game = game, .prompt_frames = prompt_frames};
        memcpy(new->session.id, id, sizeof(new->session.id));
    }
    shelf_unlock(s->shelf);
    return new ? 0 : E_BUSY;
}

int sessions_enter(struct sessions *s, const char *id, struct session *out) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, id);
    int rc = !it ? E_NOT_FOUND : it->at.is_held ? E_BUSY : 0;
    if (rc == 0) {
        it->at.is_held = 1;
        *out = it->session;
        for (uint32_t i = 0; i < out->n_frames; i++)
            eng_picture_get(out->frames[i]);
    }
    shelf_unlock(s->shelf);
    return rc;
}

void sessions_leave(struct sessions *s, const char *id) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, id);
    if (it) {
        it->at.is_held = 0;
        shelf_use(&it->at);
    }
    shelf_unlock(s->shelf);
}

void sessions_see(struct sessions *s, const char *id, struct eng_picture *frame) {
    shelf_lock(s->shelf);
    struct game_kept *kept = shelf_find(s->shelf, id);
    struct session *it = kept ? &kept->session : NULL;
    if (it && it->n_frames == it->prompt_frames - 1) {
        eng_picture_put(it->frames[0]);
        memmove(it->frames, it->frames + 1, (it->n_frames - 1) * sizeof(it->frames[0]));
        it->n_frames--;
    }
    if (it) it->frames[it->n_frames++] = eng_picture_get(frame);
    shelf_unlock(s->shelf);
}

int sessions_forget(struct sessions *s, const char *id) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, id);
    if (it) shelf_remove(s->shelf, it);
    shelf_unlock(s->shelf);
    return it ? 0 : E_NOT_FOUND;
}

int sessions_count(struct sessions *s) {
    shelf_lock(s->shelf);
    int n = shelf_count(s->shelf);
    shelf_unlock(s->shelf);
    return n;
}
