/* fuzz_config.c - bytes as a config.json. What is accepted must be usable without another check. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/model/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct model_config c;
    struct err e = {0};
    if (model_parse_config(data, size, &c, &e)) {
        must(e.code && !strchr(e.text, '\n'));
        return 0;
    }
    int side = c.vision.image_size / c.vision.patch_size;
    must(side * c.vision.patch_size == c.vision.image_size && side % c.concat == 0);
    must(c.n_patches == side * side && c.n_image_tokens * c.concat == c.n_patches);
    must(c.vision.hidden_size % c.vision.heads == 0 && c.text.hidden_size % c.text.heads == 0);
    must(c.text.bos_id < c.text.vocab_size && c.text.eos_id < c.text.vocab_size);
    must(c.vision.std[0] > 0 && c.vision.std[1] > 0 && c.vision.std[2] > 0);
    must(model_slot_bytes(&c, KERN_F32) > 0);
    return 0;
}
