/* rle.c - see rle.h. The format is rleToString's in maskApi.c of cocoapi. The runs of a mask are
 * read column by column, zeros first (perhaps none of them). From the fourth run on, a run is
 * written as the difference to the run two before it. A number is written in groups of five bits,
 * low ones first; the sixth bit says that more follow; the sign is that of the last group. A group
 * becomes the character 48 + group. A backslash is one of these, so the string has to be escaped in
 * JSON. Thread: any.
 */
#include "media/rle.h"

void rle_begin(struct rle *r, struct buf *out) { *r = (struct rle){.out = out}; }

static void write_run(struct rle *r) {
    int64_t x = r->run;
    if (r->n > 2) x -= r->before[0];
    int is_more = 1;
    while (is_more) {
        int group = (int)(x & 0x1f);
        x >>= 5;
        is_more = group & 0x10 ? x != -1 : x != 0;
        buf_char(r->out, (char)(48 + (is_more ? group | 0x20 : group)));
    }
    r->before[0] = r->before[1];
    r->before[1] = r->run;
    r->n++;
    r->run = 0;
}

void rle_add(struct rle *r, int bit, uint32_t n) {
    if (n == 0) return;
    if (bit != r->bit) {
        write_run(r);
        r->bit = bit;
    }
    r->run += n;
}

int rle_end(struct rle *r) {
    write_run(r);
    return r->out->bad;
}
