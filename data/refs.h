/* refs.h - sentences that refer to a thing in a picture, from public formats.
 *
 * COCO's instances (images, annotations with bbox and segmentation) with RefCOCO's refs (image_id,
 * ann_id, split, sentences with sent; ours may have a kind): in one file, or in instances.json and
 * refs.json. Or MiniGPT-v2's list: img_id (or file_name), sents (or sentence), bbox, height, width.
 * It has no masks. Boxes in files are [x, y, w, h] in pixels. Thread: main's.
 */
#ifndef DATA_REFS_H
#define DATA_REFS_H

#include <jansson.h>
#include <stdint.h>

#include "data/annot.h"
#include "kernels/base/err.h"

struct ref {
    const char *file, *sentence;
    const char *split, *kind; /* NULL: the file does not say */
    double box[4];            /* x1, y1, x2, y2 */
    int w, h;                 /* of the picture */
    const json_t *mask;       /* NULL: there is none */
    struct annot_at at;
};
struct refs {
    json_t *root, *more;
    char file[2][2048]; /* names of the files, for errors */
    struct ref *at;     /* (n), all texts borrowed from the trees */
    uint32_t n;
};

/* `path`: a file, or a folder with annotations.json, or with instances.json and refs.json. At most
 * `limit` sentences; 0: all. E_IO, E_FORMAT, E_TOO_BIG; refs_close after failure too. */
int refs_open(const char *path, int64_t limit, struct refs *out, struct err *e);
void refs_close(struct refs *r);
/* Does the picture have the size that the file says? 0, or E_FORMAT. */
int refs_check_size(const struct ref *r, int w, int h, struct err *e);
/* The mask (h, w), to be freed with mem_free. E_FORMAT, E_NOMEM. */
int refs_mask(const struct ref *r, uint8_t **bits, struct err *e);

#endif
