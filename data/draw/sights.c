/* sights.c - what another network saw in the first picture where each picture token is, as the
 * picture is shown this time: the mean over SPOTS x SPOTS places of the token. See draw.h.
 */
#include "data/draw/draw.h"

enum { SPOTS = 3 };

static void sight_of_token(const struct draw *d, const struct features_map *map, int x, int y,
                           float to[SAMPLE_FEATURES]) {
    int wide = SPOTS * d->form->tokens_w, high = SPOTS * d->form->tokens_h;
    for (int c = 0; c < SAMPLE_FEATURES; c++)
        to[c] = 0;
    for (int i = 0; i < SPOTS * SPOTS; i++) {
        float spot[SAMPLE_FEATURES];
        double at[2];
        looks_place(&d->looks, (SPOTS * x + i % SPOTS + 0.5) / wide,
                    (SPOTS * y + i / SPOTS + 0.5) / high, at);
        features_at(d->form->features, map, at[0] / d->w, at[1] / d->h, spot);
        for (int c = 0; c < SAMPLE_FEATURES; c++)
            to[c] += spot[c] / (SPOTS * SPOTS);
    }
}

int draw_sights(struct draw *d, struct err *e) {
    const struct features *f = d->form->features;
    int wide = d->form->tokens_w, high = d->form->tokens_h;
    struct features_map map;
    if (!f || !d->n_pictures || !wide || !high || !features_find(f, d->digest, &map)) return 0;
    float *to = arena_take(d->mem, (size_t)wide * (size_t)high * SAMPLE_FEATURES * sizeof(*to));
    if (!to) return err_set(e, E_NOMEM, "no memory for features");
    d->features = to;
    for (int i = 0; i < wide * high; i++)
        sight_of_token(d, &map, i % wide, i / wide, to + (size_t)i * SAMPLE_FEATURES);
    return 0;
}
