/* names.c - see names.h.
 *
 *     eva_vit_g.pth        blocks.0.norm1.weight            -> visual_encoder.blocks.0.norm1.weight
 *     EVA-CLIP's export    visual.blocks.0.norm1.weight     -> the same
 *     LLaMA-2              model.layers.0. ..               -> as it is
 *     MiniGPT-v2, PAE      llama_model.base_model.model.model.layers.0. .. -> model.layers.0. ..
 *                          .. q_proj.lora_A.weight, .. q_proj.lora_A.default.weight ->
 *                          q_proj.weight
 *
 * A prefix `module.` of distributed training comes off first.
 */
#include "engine/import/names.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/str.h"

/* `s` without a prefix, or NULL. */
static const char *names_behind(const char *s, const char *prefix) {
    size_t n = strlen(prefix);
    return strncmp(s, prefix, n) ? NULL : s + n;
}

static int begins_with_one(const char *s, const char *const *prefixes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (names_behind(s, prefixes[i])) return 1;
    return 0;
}

/* "q_proj.lora_A.weight" or "q_proj.lora_A.NAME.weight" -> "q_proj.weight". */
static enum names_kind map_lora(const char *s, char to[ST_NAME_MAX + 1]) {
    static const char a[] = ".lora_A.", b[] = ".lora_B.";
    const char *at = strstr(s, a);
    enum names_kind kind = at ? NAMES_LORA_A : NAMES_LORA_B;
    if (!at) at = strstr(s, b);
    if (!at) return NAMES_UNKNOWN;
    const char *end = at + sizeof a - 1, *dot = strchr(end, '.');
    if (strcmp(end, "weight") && (!dot || strcmp(dot, ".weight"))) return NAMES_UNKNOWN;
    (void)snprintf(to, ST_NAME_MAX + 1, "%.*s.weight", (int)(at - s), s);
    return kind;
}

/* The decoder's, without what stands in front of it. */
static enum names_kind map_llama(const char *s, char to[ST_NAME_MAX + 1]) {
    static const char *const mine[] = {"model.layers.", "model.embed_tokens.", "model.norm.",
                                       "lm_head."};
    static const char wrapped[] = ".base_layer."; /* peft 0.6 and later, around a weight */
    if (!begins_with_one(s, mine, ARRAY_LEN(mine))) return NAMES_UNKNOWN;
    if (has_suffix(s, ".rotary_emb.inv_freq")) return NAMES_SPARE;
    if (strstr(s, ".lora_")) return map_lora(s, to);
    const char *at = strstr(s, wrapped);
    if (at)
        (void)snprintf(to, ST_NAME_MAX + 1, "%.*s.%s", (int)(at - s), s, at + sizeof wrapped - 1);
    else
        (void)snprintf(to, ST_NAME_MAX + 1, "%s",
                       strcmp(s, "lm_head.0.weight") ? s : "lm_head.weight");
    return NAMES_WEIGHT;
}

static enum names_kind map_tower(const char *s, char to[ST_NAME_MAX + 1]) {
    static const char *const mine[] = {"cls_token", "pos_embed", "patch_embed.", "blocks."};
    static const char *const spare[] = {"norm.", "fc_norm.", "head.", "mask_token"};
    if (begins_with_one(s, spare, ARRAY_LEN(spare))) return NAMES_SPARE;
    if (!begins_with_one(s, mine, ARRAY_LEN(mine))) return NAMES_UNKNOWN;
    (void)snprintf(to, ST_NAME_MAX + 1, "visual_encoder.%.200s", s);
    return NAMES_WEIGHT;
}

enum names_kind names_map(const char *from, char to[ST_NAME_MAX + 1]) {
    static const char *const own[] = {"ln_vision.", "llama_proj."};
    static const char *const spare[] = {"text.", "logit_scale"}; /* of EVA-CLIP's export */
    const char *s = names_behind(from, "module."), *rest;
    enum names_kind kind;
    (void)snprintf(to, ST_NAME_MAX + 1, "%s", from);
    if (!s) s = from;
    if ((rest = names_behind(s, "llama_model.base_model.model.")) ||
        (rest = names_behind(s, "llama_model.")) || (rest = names_behind(s, "base_model.model.")))
        kind = map_llama(rest, to);
    else if ((rest = names_behind(s, "visual_encoder.")) || (rest = names_behind(s, "visual.")))
        kind = map_tower(rest, to);
    else if (begins_with_one(s, own, ARRAY_LEN(own))) {
        (void)snprintf(to, ST_NAME_MAX + 1, "%s", s);
        kind = NAMES_WEIGHT;
    } else if (begins_with_one(s, spare, ARRAY_LEN(spare)))
        kind = NAMES_SPARE;
    else if ((kind = map_llama(s, to)) == NAMES_UNKNOWN)
        kind = map_tower(s, to);
    if (kind == NAMES_UNKNOWN) (void)snprintf(to, ST_NAME_MAX + 1, "%s", from);
    return kind;
}
