/* numbers.c - which tokens are numbers.
 *
 * A tokenizer may have a token for each number, and one more for each number with what stands
 * behind it: "31", "31,", "31><". Numbers with the same end are a family. A soft target stays in
 * the family of the right one. Of a tokenizer that spells numbers by digits there is a family of
 * ten.
 */
#include <string.h>

#include "engine/train/internal.h"
#include "kernels/base/mem.h"

/* The number that a piece begins with, and where that ends; -1: none of 0..255, or with zeros in
 * front. */
static int leading_number(const char *s, const char **end) {
    int value = 0, digits = 0;
    for (; s[digits] >= '0' && s[digits] <= '9' && digits < 4; digits++)
        value = 10 * value + (s[digits] - '0');
    *end = s + digits;
    if (!digits || value >= TRAIN_NUMBERS || (digits > 1 && s[0] == '0')) return -1;
    return value;
}

/* The family of an end; a new one if there is room, else -1. */
static int family_of(struct train_numbers *n, const char *end) {
    for (int i = 0; i < n->n_families; i++)
        if (!strcmp(n->families[i].end, end)) return i;
    if (n->n_families == TRAIN_FAMILIES_MAX || strlen(end) >= sizeof n->families[0].end) return -1;
    struct train_family *f = &n->families[n->n_families];
    memcpy(f->end, end, strlen(end) + 1);
    memset(f->token, -1, sizeof f->token);
    return n->n_families++;
}

static void find_pieces(struct train_numbers *n, const struct sptok *t) {
    for (int32_t id = 0; id < sptok_size(t); id++) {
        const char *end;
        int value = leading_number(sptok_piece(t, id), &end);
        int family = value < 0 ? -1 : family_of(n, end);
        if (family < 0 || n->families[family].token[value] >= 0) continue;
        n->families[family].token[value] = id;
        n->value[id] = (int16_t)value;
        n->family[id] = (int16_t)family;
    }
    for (int i = 0; i < n->n_families; i++)
        while (n->families[i].n < TRAIN_NUMBERS && n->families[i].token[n->families[i].n] >= 0)
            n->families[i].n++;
}

/* How the tokenizer spells the four numbers of a box. */
static void find_box(struct train_numbers *n, const struct sptok *t) {
    static const char box[] = "{<12><3><100><99>}";
    int32_t ids[sizeof box];
    size_t count;
    int seen = 0;
    n->box = n->box_end = -1;
    if (sptok_encode(t, box, sizeof box - 1, SPTOK_PREFIX, ids, sizeof box, &count, NULL)) return;
    for (size_t i = 0; i < count; i++) {
        int family = n->family[ids[i]];
        if (family < 0) continue;
        if (n->families[family].n <= TRAIN_BOX_MOST) return;
        if (seen && seen < 3 && family != n->box) return;
        if (++seen <= 3) n->box = (int16_t)family;
        n->box_end = (int16_t)family;
    }
    if (seen != 4) n->box = n->box_end = -1;
}

int numbers_find(struct train_numbers *n, const struct sptok *t, int vocab, struct err *e) {
    if (sptok_size(t) > vocab)
        return err_set(e, E_FORMAT, "the tokenizer has %d pieces, the model %d", sptok_size(t),
                       vocab);
    size_t bytes = (size_t)vocab * sizeof *n->value;
    n->value = mem_try(bytes);
    n->family = mem_try(bytes);
    n->families = mem_try(TRAIN_FAMILIES_MAX * sizeof *n->families);
    if (!n->value || !n->family || !n->families)
        return err_set(e, E_NOMEM, "no memory for a vocabulary");
    memset(n->value, -1, bytes);
    memset(n->family, -1, bytes);
    find_pieces(n, t);
    find_box(n, t);
    return 0;
}

void numbers_clear(struct train_numbers *n) {
    mem_free(n->value);
    mem_free(n->family);
    mem_free(n->families);
    *n = (struct train_numbers){0};
}
