/* prompt.c - the canonical single turn of spec section 4.1.
 *
 * TRAPS (each has a case in test_prompt.c):
 *   - the text is cut at the picture and each piece is tokenized on its own, with its own dummy space;
 *   - there is no space between `rgb:` and what `inst_spaces` puts before [/INST];
 *   - the two numbers are row, column unless the model says otherwise.
 */
#include "engine/task/prompt.h"

#include <stdio.h>
#include <string.h>

static int add_text(const struct sptok *t, const char *text, struct prompt *p, struct err *e) {
    size_t n;
    int rc = sptok_encode(t, text, strlen(text), SPTOK_PREFIX, p->ids + p->n,
                          (size_t)(PROMPT_MAX - p->n), &n, e);
    if (!rc) p->n += (int)n;
    return rc;
}

int prompt_text(const struct model_config *c, const struct sptok *t, const char *instruction,
                struct prompt *out, struct err *e) {
    enum { TEXT_MAX = 8 * PROMPT_MAX };
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "</Img> %s%*s[/INST]", instruction, c->inst_spaces, "");
    if (n < 0 || n >= (int)sizeof text)
        return err_set(e, E_TOO_BIG, "the instruction has over %d bytes", TEXT_MAX - 32);
    struct prompt p = {.n = 0};
    for (int i = 0; i < c->bos_count; i++)
        p.ids[p.n++] = c->text.bos_id;
    int rc = add_text(t, "[INST] <Img>", &p, e);
    if (!rc && p.n == PROMPT_MAX) rc = err_set(e, E_TOO_BIG, "over %d tokens", PROMPT_MAX);
    if (rc) return rc;
    p.ids[p.n++] = PROMPT_IMAGE;
    rc = add_text(t, text, &p, e);
    if (!rc) *out = p;
    return rc;
}

int prompt_pixel(const struct model_config *c, const struct sptok *t, int x, int y,
                 struct prompt *out, struct err *e) {
    if (x < 0 || y < 0 || x >= c->pixel_grid || y >= c->pixel_grid)
        return err_set(e, E_INVALID, "place (%d,%d) is outside the grid of %d", x, y,
                       c->pixel_grid);
    int is_yx = c->coord_order == MODEL_COORD_YX;
    char text[64];
    snprintf(text, sizeof text, "[reconstruct] loc: [%d,%d] rgb:", is_yx ? y : x, is_yx ? x : y);
    return prompt_text(c, t, text, out, e);
}
