/* sessions.c - see sessions.h. */
#include "api/store/sessions.h"

#include <stdio.h>
#include <string.h>

#include "api/store/shelf.h"
#include "kernels/base/mem.h"

struct game_kept {
    struct shelf_item at; /* held while it is entered */
    struct session session;
    uint8_t *answer; /* to the step `sequence`; NULL: to none */
    size_t answer_len;
    uint64_t sequence;
};

struct sessions {
    struct shelf *shelf;
    int payer_max;
};

static void game_drop(void *item) {
    struct session *it = &((struct game_kept *)item)->session;
    mem_free(((struct game_kept *)item)->answer);
    for (uint32_t i = 0; i < it->n_frames; i++)
        eng_picture_put(it->frames[i]);
}

struct sessions *sessions_new(int max, int payer_max, unsigned ttl_s) {
    struct sessions *s = mem_must(sizeof(*s));
    s->payer_max = payer_max;
    s->shelf = shelf_new(max, ttl_s, sizeof(struct game_kept), game_drop);
    return s;
}

void sessions_free(struct sessions *s) {
    if (!s) return;
    shelf_free(s->shelf);
    mem_free(s);
}

int sessions_create(struct sessions *s, uint64_t owner, uint64_t payer, const char *id,
                    enum eng_task game, uint32_t prompt_frames, const char *model) {
    shelf_lock(s->shelf);
    int is_over = s->payer_max && shelf_count_of(s->shelf, payer) >= s->payer_max;
    struct game_kept *new = is_over ? NULL : shelf_add(s->shelf, owner, payer, id);
    if (new) {
        new->session =
            (struct session){.owner = owner, .game = game, .prompt_frames = prompt_frames};
        snprintf(new->session.model, sizeof(new->session.model), "%s", model);
        memcpy(new->session.id, new->at.id, sizeof(new->session.id));
    }
    shelf_unlock(s->shelf);
    return new ? 0 : is_over ? E_TOO_BIG : E_BUSY;
}

int sessions_enter(struct sessions *s, uint64_t owner, const char *id, struct session *out) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, owner, id);
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

void sessions_leave(struct sessions *s, uint64_t owner, const char *id) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, owner, id);
    if (it) {
        it->at.is_held = 0;
        shelf_use(&it->at);
    }
    shelf_unlock(s->shelf);
}

void sessions_see(struct sessions *s, uint64_t owner, const char *id, struct eng_picture *frame) {
    shelf_lock(s->shelf);
    struct game_kept *kept = shelf_find(s->shelf, owner, id);
    struct session *it = kept ? &kept->session : NULL;
    if (it && it->n_frames == it->prompt_frames - 1) {
        eng_picture_put(it->frames[0]);
        memmove(it->frames, it->frames + 1, (it->n_frames - 1) * sizeof(it->frames[0]));
        it->n_frames--;
    }
    if (it) it->frames[it->n_frames++] = eng_picture_get(frame);
    shelf_unlock(s->shelf);
}

int sessions_keep(struct sessions *s, uint64_t owner, const char *id, uint64_t sequence,
                  const void *answer, size_t len) {
    uint8_t *copy = mem_try(len + 1);
    if (!copy) return E_NOMEM;
    memcpy(copy, answer, len);
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, owner, id);
    uint8_t *old = it ? it->answer : copy;
    if (it) {
        it->answer = copy;
        it->answer_len = len;
        it->sequence = sequence;
    }
    shelf_unlock(s->shelf);
    mem_free(old);
    return 0;
}

enum sessions_step sessions_again(struct sessions *s, uint64_t owner, const char *id,
                                  uint64_t sequence, struct buf *out) {
    shelf_lock(s->shelf);
    const struct game_kept *it = shelf_find(s->shelf, owner, id);
    enum sessions_step step = !it || !it->answer || sequence > it->sequence ? SESSIONS_NEW
                              : sequence == it->sequence                    ? SESSIONS_AGAIN
                                                                            : SESSIONS_OLD;
    if (step == SESSIONS_AGAIN) buf_add(out, it->answer, it->answer_len);
    shelf_unlock(s->shelf);
    return step;
}

int sessions_forget(struct sessions *s, uint64_t owner, const char *id) {
    shelf_lock(s->shelf);
    struct game_kept *it = shelf_find(s->shelf, owner, id);
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
