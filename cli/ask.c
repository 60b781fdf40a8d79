/* ask.c - `lammd ask TASK PHOTO... NAME=VALUE...`: any task about pictures, from the command line.
 *
 *     lammd ask segment photo.jpg sentence='the brown dog on the left' -o mask.png
 *     lammd ask act before.png now.png game=car_racing
 *
 * The arguments become the parts of a form, which goes to the API's endpoint of the task (local.h).
 * So the fields and the answers are those of openapi.yaml. An argument with an equals sign behind a
 * name is a field; any other is a file. JSON goes to standard output or to -o, a PNG to -o.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/local.h"
#include "data/files.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

static const struct task {
    const char *name, *path, *what;
} tasks[] = {
    {"segment", "/v1/segment", "the mask of sentence='the red ball': -o NAME.png, or JSON"},
    {"refer", "/v1/refer", "the box of sentence='the red ball'"},
    {"describe", "/v1/describe",
     "a description; task=identify, grounding or detection: of another kind"},
    {"vqa", "/v1/vqa", "the answer to question='is it raining?', perhaps one of choices=[...]"},
    {"act", "/v1/act", "the next action in game=car_racing (2 photos) or space_invaders (4)"},
    {"pixels", "/v1/pixels", "the colours at points=[[0,0],[31,40]]"}};

struct form {
    struct api_field field[CONFIG_LIST_MAX];
    char *name[CONFIG_LIST_MAX]; /* of a field; NULL: it is a picture */
    struct buf file[CONFIG_LIST_MAX];
    size_t n;
};

void cmd_ask_arguments(FILE *to) {
    fputs("Tasks:\n", to);
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
        fprintf(to, "  %-12s %s\n", tasks[i].name, tasks[i].what);
}

static const char *ask_path_of(const char *task) {
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
        if (strcmp(tasks[i].name, task) == 0) return tasks[i].path;
    return NULL;
}

/* The equals sign behind a field's name; NULL: the word is no field. */
static const char *ask_split(const char *word) {
    const char *at = word;
    while (islower((unsigned char)*at) || *at == '_')
        at++;
    return at > word && *at == '=' ? at : NULL;
}

static int add_word(struct form *f, const char *word, const char *picture, struct err *e) {
    size_t i = f->n++;
    const char *sign = ask_split(word);
    buf_init(&f->file[i], FILE_PICTURE_MAX);
    if (sign) {
        f->name[i] = mem_strdup(word);
        f->name[i][sign - word] = 0;
        f->field[i] = (struct api_field){
            .name = f->name[i], .data = (const uint8_t *)sign + 1, .len = strlen(sign + 1)};
        return 0;
    }
    int rc = file_read(word, &f->file[i], e);
    const struct buf *b = &f->file[i];
    f->field[i] = (struct api_field){.name = picture, .data = b->p, .len = b->len};
    return rc;
}

static void clear(struct form *f) {
    for (size_t i = 0; i < f->n; i++) {
        mem_free(f->name[i]);
        buf_clear(&f->file[i]);
    }
}

int cmd_ask(const struct config *cfg) {
    const char *path = cfg->rest.n > 1 ? ask_path_of(cfg->rest.at[0]) : NULL;
    if (!path) return cmd_misused(CMD_ASK);
    struct err e = {0};
    struct form f = {.n = 0};
    int rc = 0, is_act = strcmp(cfg->rest.at[0], "act") == 0;
    for (int i = 1; i < cfg->rest.n && rc == 0; i++)
        rc = add_word(&f, cfg->rest.at[i], is_act ? "frame" : "image", &e);
    const char *out = cfg->out ? cfg->out : "-";
    int is_png = has_suffix(out, ".png");
    struct api_input in = {.content_type = "multipart/form-data",
                           .accept = is_png ? "image/png" : "application/json",
                           .request_id = "local",
                           .form = f.field,
                           .n_form = f.n};
    if (rc == 0) rc = local_call(cfg, path, &in, out, &e);
    clear(&f);
    return rc ? cmd_fail(&e) : 0;
}
