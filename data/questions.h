/* questions.h - questions about pictures, from public formats. The fields tell which format it is.
 *
 * GQA      {id: {imageId, question, answer, types: {structural}}}
 * VSR      JSON lines or a list of {image, caption, label 0|1, relation}
 * VizWiz   a list of {image, question, answers: [{answer}, ...], answer_type}
 * choices  a list of {image, question, choices, answer}; answer: the text, or its place from 0
 *          IconQA's image_id is a folder with image.png
 * HM       JSON lines or a list of {img, text, label 0|1}: is the meme hateful?
 * names    a list of {image, names, question}: an answer is right when one of the names is said in
 *          it. Without a question a caption is wanted
 * A list of {image, question, answer} is read like GQA's. `type` names a question's type where the
 * fields above don't. Thread: main's.
 */
#ifndef DATA_QUESTIONS_H
#define DATA_QUESTIONS_H

#include <jansson.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum question_set { SET_GQA, SET_VSR, SET_VIZWIZ, SET_CHOICES, SET_HM, SET_NAMES };
enum { QUESTIONS_CHOICES_MAX = 64 };

struct question {
    const char *file;
    const char *text;           /* NULL: a caption is wanted */
    const char *type;           /* NULL: the file does not say */
    const char **answers;       /* (n), plain: the right one; with VizWiz those of the people;
                                   with names all that are right */
    const char *const *choices; /* (n_choices), as they are; NULL: none */
    uint32_t n, n_choices, right;
};
struct questions {
    json_t *root;
    struct arena *mem;
    enum question_set set;
    struct question *at; /* (n) */
    uint32_t n;
};

/* At most `limit` questions; 0: all. E_IO, E_FORMAT, E_TOO_BIG; questions_close after failure too.
 */
int questions_open(const char *path, int64_t limit, struct questions *out, struct err *e);
void questions_close(struct questions *q);

/* The form that answers are compared in: `<unk>` and white space around taken away, ASCII letters
 * lower. `out` has at least len + 1 bytes. */
void questions_plain(const char *text, size_t len, char *out);

#endif
