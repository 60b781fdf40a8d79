/* texts.c - see texts.h. */
#include "data/draw/texts.h"

#include <string.h>

#include "kernels/base/err.h"

enum { WORDS_MAX = 50 };

/* Of each list, the index of what lammd asks by. */
enum { REFER_ASKED = 1, IDENTIFY_ASKED = 0, CAPTION_ASKED = 0, GROUNDING_ASKED = 0, VQA_ASKED = 1 };

/* `@` is where the sentence, question or box goes. */
static const char *const refer[] = {"[refer] @",
                                    "[refer] give me the location of @",
                                    "[refer] where is @ ?",
                                    "[refer] from this image, tell me the location of @",
                                    "[refer] the location of @ is",
                                    "[refer] could you tell me the location for @ ?",
                                    "[refer] where can I locate the @ ?"};
static const char *const identify[] = {"[identify] @",
                                       "[identify] what object is in this location @",
                                       "[identify] identify the object present at this location @",
                                       "[identify] what is it in @",
                                       "[identify] describe this object in @",
                                       "[identify] this @ is",
                                       "[identify] the object in @ is"};
static const char *const caption[] = {
    "Briefly describe this image.",
    "Provide a concise depiction of this image.",
    "Present a short description of this image.",
    "Summarize this image in a few words.",
    "A short image caption:",
    "A short image description:",
    "A photo of ",
    "An image that shows ",
    "Write a short description for the image. ",
    "Write a description for the photo.",
    "Provide a description of what is presented in the photo.",
    "Briefly describe the content of the image.",
    "Can you briefly explain what you see in the image?",
    "Could you use a few words to describe what you perceive in the photo?",
    "Please provide a short depiction of the picture.",
    "Using language, provide a short account of the image.",
    "Use a few words to illustrate what is happening in the picture."};
static const char *const grounding[] = {
    "please describe this image in details", "describe this image as detailed as possible",
    "summarize this image in details", "give a thorough description of what you see in this image"};
static const char *const vqa[] = {
    "[vqa] @", "[vqa] Based on the image, respond to this question with a short answer: @"};

static const char *texts_one(const char *const *list, size_t n, size_t asked, struct dice *d) {
    return list[d ? dice_below(d, (uint32_t)n) : asked];
}

static void texts_fill(struct buf *to, const char *form, const char *what) {
    const char *at = strchr(form, '@');
    buf_add(to, form, (size_t)(at - form));
    buf_str(to, what);
    buf_str(to, at + 1);
}

static int hundredth(double v, int side) {
    double share = 100 * v / side;
    return share > 100 ? 100 : share > 0 ? (int)share : 0;
}

void texts_box(struct buf *to, const struct texts_box *b) {
    buf_printf(to, "{<%d><%d><%d><%d>}", hundredth(b->x1, b->w), hundredth(b->y1, b->h),
               hundredth(b->x2, b->w), hundredth(b->y2, b->h));
}

void texts_pixel(struct buf *to, int x, int y, int is_yx) {
    buf_printf(to, "[reconstruct] loc: [%d,%d] rgb:", is_yx ? y : x, is_yx ? x : y);
}

void texts_mask(struct buf *to, const char *sentence, int x, int y, int is_yx) {
    buf_printf(to, "[segmentation] %s loc: [%d,%d] mask:", sentence, is_yx ? y : x, is_yx ? x : y);
}

void texts_refer(struct buf *to, const char *sentence, struct dice *d) {
    texts_fill(to, texts_one(refer, ARRAY_LEN(refer), REFER_ASKED, d), sentence);
}

void texts_identify(struct buf *to, const struct texts_box *b, struct dice *d) {
    struct buf box;
    buf_init(&box, 64);
    texts_box(&box, b);
    texts_fill(to, texts_one(identify, ARRAY_LEN(identify), IDENTIFY_ASKED, d),
               box.p ? (const char *)box.p : "");
    if (box.bad) to->bad = box.bad;
    buf_clear(&box);
}

void texts_caption(struct buf *to, struct dice *d) {
    buf_str(to, "[caption] ");
    buf_str(to, texts_one(caption, ARRAY_LEN(caption), CAPTION_ASKED, d));
}

void texts_grounding(struct buf *to, struct dice *d) {
    buf_str(to, "[grounding] ");
    buf_str(to, texts_one(grounding, ARRAY_LEN(grounding), GROUNDING_ASKED, d));
}

void texts_detection(struct buf *to, const char *phrase) {
    buf_str(to, "[detection] ");
    buf_str(to, phrase);
}

void texts_vqa(struct buf *to, const char *question, struct dice *d) {
    texts_fill(to, texts_one(vqa, ARRAY_LEN(vqa), VQA_ASKED, d), question);
}

void texts_clean(struct buf *to, const char *text) {
    static const char blank[] = ".!\"()*#:;~ \t\n\v\f\r";
    int words = 0;
    for (const char *s = text + strspn(text, blank); *s && words < WORDS_MAX; words++) {
        size_t n = strcspn(s, blank);
        if (words) buf_char(to, ' ');
        for (size_t i = 0; i < n; i++)
            buf_char(to, s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i]);
        s += n;
        s += strspn(s, blank);
    }
    if (!words) buf_str(to, text);
}
