/* write.c - the model's folder.
 *
 *     copying config.json model.safetensors tokenizer.model SHA256SUMS README.md pointing
 *     config.json weights.json, changed.safetensors tokenizer.model SHA256SUMS README.md
 *
 * In both forms every weight is read once, checked, and hashed in the order of the one file, so
 * that both have the same digest. Pointing writes only what isn't to be found as it is in an
 * original.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/st_join.h"
#include "engine/files/st_write.h"
#include "engine/files/sums.h"
#include "engine/import/chunk.h"
#include "engine/import/hasher.h"
#include "engine/import/partfile.h"
#include "engine/import/partfolder.h"
#include "engine/import/writing.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

#define WEIGHTS "model.safetensors"
#define CHANGED "changed.safetensors"

enum {
    SAY_BYTES = 32 << 20,  /* between calls of progress */
    PLAIN_BYTES = 16 << 20 /* of a piece that isn't made */
};
_Static_assert((int)CHUNK_BYTES <= (int)HASHER_ROOM, "what is made fits into a room");

static const struct st_text format = {"format", "pt"};

struct writing {
    struct import *i;
    struct partfolder *folder;
    struct chunks chunks;
    struct st_tensor *tensors; /* (n_entries), as they will be */
    char *header;              /* of all of them in one file */
    size_t n_header;
    struct st_tensor *changed; /* (n_changed) */
    size_t n_changed, n_changed_header;
    char *changed_header;
    struct hasher hasher;
    struct partfile out;
    uint64_t done, all, said;
};

static void write_say(struct writing *w, int is_last) {
    const struct import_options *o = &w->i->o;
    if (!o->progress || (w->done - w->said < SAY_BYTES && !is_last)) return;
    w->said = w->done;
    o->progress(o->ud, w->done, w->all);
}

/* Where nothing is copied this thread has time, and looks at the numbers, too. */
static int write_give(struct writing *w, size_t k, const void *piece, size_t n, struct err *e) {
    const struct st_tensor *t = &w->tensors[k];
    int is_pointing = w->i->o.is_pointing;
    if (is_pointing && !hasher_is_finite(t, piece, n)) return hasher_refuse(t, e);
    hasher_give(&w->hasher, is_pointing ? NULL : t, piece, n);
    w->done += n;
    write_say(w, 0);
    return 0;
}

/* One that lies in an original as it will be. Pieces are long, so that this thread gets far ahead
 * of the hasher, and has time to make what isn't there. */
static int write_plain(struct writing *w, size_t k, struct err *e) {
    const struct st_tensor *t = &w->i->entries[k].from->t->t;
    int rc = 0;
    for (size_t at = 0, n; at < t->bytes && !rc && !hasher_is_over(&w->hasher); at += n) {
        const char *piece = (const char *)t->data + at;
        n = t->bytes - at < PLAIN_BYTES ? t->bytes - at : PLAIN_BYTES;
        rc = write_give(w, k, piece, n, e);
        if (!rc && !w->i->o.is_pointing) rc = partfile_add(&w->out, piece, n, e);
    }
    return rc;
}

/* One that is made piece by piece. */
static int write_made(struct writing *w, size_t k, struct err *e) {
    size_t bytes = w->tensors[k].bytes;
    int rc = 0;
    for (size_t at = 0, n; at < bytes && !rc && !hasher_is_over(&w->hasher); at += n) {
        void *piece = hasher_room(&w->hasher, e);
        n = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        rc = piece ? chunk_get(&w->chunks, &w->i->entries[k], at, n, piece, e) : E_NOMEM;
        if (!rc) rc = partfile_add(&w->out, piece, n, e);
        if (!rc) rc = write_give(w, k, piece, n, e);
    }
    return rc;
}

static int write_check(struct writing *w, const struct source *s, struct err *e) {
    return s ? original_check(w->i->originals[s->original], s->t, e) : 0;
}

static int write_entry(struct writing *w, size_t k, struct err *e) {
    const struct entry *t = &w->i->entries[k];
    int rc = write_check(w, t->from, e);
    if (!rc) rc = write_check(w, t->lora.a, e);
    if (!rc) rc = write_check(w, t->lora.b, e);
    if (rc) return rc;
    return chunk_is_plain(w->i, t) ? write_plain(w, k, e) : write_made(w, k, e);
}

/* The file that is written, and the digest of all. */
static int write_weights(struct writing *w, struct err *e) {
    struct import *i = w->i;
    int is_pointing = i->o.is_pointing, has_file = !is_pointing || w->n_changed;
    char path[sizeof w->folder->file];
    (void)snprintf(path, sizeof path, "%s",
                   partfolder_file(w->folder, is_pointing ? CHANGED : WEIGHTS));
    int rc = hasher_start(&w->hasher, e);
    if (!rc) hasher_give(&w->hasher, NULL, w->header, w->n_header);
    if (!rc && has_file) rc = partfile_open(&w->out, path, e);
    if (!rc && has_file)
        rc = partfile_add(&w->out, is_pointing ? w->changed_header : w->header,
                          is_pointing ? w->n_changed_header : w->n_header, e);
    for (size_t k = 0; k < i->n_entries && !rc && !hasher_is_over(&w->hasher); k++)
        rc = write_entry(w, k, e);
    rc = hasher_end(&w->hasher, rc, i->facts.digest, e);
    rc = partfile_close(&w->out, rc, e);
    if (!rc) write_say(w, 1);
    return rc;
}

/* ---- the table of a folder that points ---- */

/* The number of a file in the list, which gets it where it isn't there yet. */
static json_int_t file_number(json_t *files, const char *path, uint64_t bytes) {
    size_t n = json_array_size(files);
    for (size_t k = 0; k < n; k++) {
        const json_t *have = json_object_get(json_array_get(files, k), "path");
        if (!strcmp(json_string_value(have), path)) return (json_int_t)k;
    }
    json_array_append_new(files, json_pack("{s:s, s:I}", "path", path, "bytes", (json_int_t)bytes));
    return (json_int_t)n;
}

/* Where the data of entry k lies. *at: in the file of changes, which moves behind it. */
static json_t *write_place_of(const struct writing *w, size_t k, json_t *files, uint64_t *at) {
    const struct entry *t = &w->i->entries[k];
    const struct original_file *f = &w->i->originals[t->from->original]->files[t->from->t->file];
    const struct st_tensor *to = &w->tensors[k];
    json_int_t place, file;
    if (chunk_is_plain(w->i, t)) {
        file = file_number(files, f->path, f->len);
        place = (json_int_t)((const char *)t->from->t->t.data - (const char *)f->bytes);
    } else {
        file = file_number(files, CHANGED, w->out.at);
        place = (json_int_t)*at;
        *at += to->bytes;
    }
    json_t *shape = json_array();
    for (int d = 0; d < to->ndim; d++)
        json_array_append_new(shape, json_integer(to->shape[d]));
    return json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", to->name, "dtype", to->dtype_name,
                     "shape", shape, "file", file, "at", place);
}

static int write_table(struct writing *w, struct err *e) {
    json_t *files = json_array(), *tensors = json_array();
    uint64_t at = w->n_changed_header;
    for (size_t k = 0; k < w->i->n_entries; k++)
        json_array_append_new(tensors, write_place_of(w, k, files, &at));
    json_t *root = json_pack("{s:i, s:s, s:o, s:o}", "format", ST_JOIN_FORMAT, "sha256",
                             w->i->facts.digest, "files", files, "tensors", tensors);
    size_t n = root ? json_dumpb(root, NULL, 0, JSON_COMPACT) : 0;
    char *text = n ? mem_try(n + 1) : NULL;
    int rc = text ? 0 : err_set(e, E_INVALID, "a path of an original isn't UTF-8, or no memory");
    if (!rc) {
        (void)json_dumpb(root, text, n, JSON_COMPACT);
        text[n] = '\n';
        rc = newfile_write(partfolder_file(w->folder, ST_JOIN_FILE), text, n + 1, e);
    }
    mem_free(text);
    json_decref(root);
    return rc;
}

/* ---- the small files ---- */

static void write_card(const struct import *i, const char *name, struct buf *to) {
    const struct model_config *c = &i->c;
    buf_printf(to, "# %s\n\nImported by `lammd import`, in this order:\n\n", name);
    for (int k = 0; k < i->o.n_originals; k++)
        buf_printf(to, "* `%s`\n", i->originals[k]->path);
    buf_printf(to, "\n%d tensors, %llu parameters.", i->facts.tensors,
               (unsigned long long)i->facts.parameters);
    if (i->facts.merged)
        buf_printf(to, " A LoRA of rank %d and alpha %g was added to %d matrices.", i->rank,
                   i->alpha, i->facts.merged);
    if (i->rank && i->o.adapter)
        buf_printf(to, " Its LoRA, of rank %d and alpha %g, is an adapter of its own.", i->rank,
                   i->alpha);
    if (i->o.is_pointing)
        buf_str(to, " The weights stay in the originals, which have to stay where they are.");
    buf_printf(to,
               "\n\n| | |\n|---|---|\n| coord_order | %s |\n| inst_spaces | %d |\n| bos_count | %d "
               "|\n| rms_norm_eps | %g |\n| SHA-256 | %s |\n",
               c->coord_order == MODEL_COORD_XY ? "xy" : "yx", c->inst_spaces, c->bos_count,
               (double)c->text.rms_eps, i->facts.digest);
}

static int write_sums(struct writing *w, struct err *e) {
    static const char *const small[] = {"config.json", "tokenizer.model"};
    struct sums s = {0};
    char text[SUMS_TEXT];
    int rc = 0;
    for (size_t k = 0; k < ARRAY_LEN(small) && !rc; k++)
        rc = sums_add(&s, partfolder_file(w->folder, small[k]), small[k], e);
    if (!rc && w->i->o.is_pointing)
        rc = sums_add(&s, partfolder_file(w->folder, ST_JOIN_FILE), ST_JOIN_FILE, e);
    if (!rc && !w->i->o.is_pointing) { /* known already */
        (void)snprintf(s.at[s.n].hex, sizeof s.at[0].hex, "%s", w->i->facts.digest);
        (void)snprintf(s.at[s.n++].name, sizeof s.at[0].name, WEIGHTS);
    }
    size_t len = sums_write(&s, text);
    return rc ? rc : newfile_write(partfolder_file(w->folder, SUMS_FILE), text, len, e);
}

static int write_small(struct writing *w, struct err *e) {
    const struct import *i = w->i;
    const char *slash = strrchr(w->folder->path, '/');
    struct buf card;
    buf_init(&card, 64 << 10);
    write_card(i, slash ? slash + 1 : w->folder->path, &card);
    int rc = card.bad ? err_set(e, card.bad, "no memory for a card") : 0;
    if (!rc)
        rc = newfile_write(partfolder_file(w->folder, "config.json"), i->config, i->n_config, e);
    if (!rc)
        rc = newfile_write(partfolder_file(w->folder, "tokenizer.model"), i->tokenizer,
                           i->n_tokenizer, e);
    if (!rc) rc = newfile_write(partfolder_file(w->folder, "README.md"), card.p, card.len, e);
    if (!rc && i->o.is_pointing) rc = write_table(w, e);
    if (!rc) rc = write_sums(w, e);
    buf_clear(&card);
    return rc;
}

/* ---- all of it ---- */

static int prepare(struct writing *w, struct err *e) {
    struct import *i = w->i;
    w->tensors = mem_try((i->n_entries + 1) * sizeof *w->tensors);
    w->changed = mem_try((i->n_entries + 1) * sizeof *w->changed);
    if (!w->tensors || !w->changed) return err_set(e, E_NOMEM, "no memory to write by");
    uint64_t changed = 0;
    for (size_t k = 0; k < i->n_entries; k++) {
        w->tensors[k] = chunk_tensor(&i->entries[k]);
        w->all += w->tensors[k].bytes;
        if (chunk_is_plain(i, &i->entries[k])) continue;
        w->changed[w->n_changed++] = w->tensors[k];
        changed += w->tensors[k].bytes;
    }
    struct st_new all = {.tensors = w->tensors, .n = i->n_entries, .texts = &format, .n_texts = 1};
    struct st_new some = {.tensors = w->changed, .n = w->n_changed, .texts = &format, .n_texts = 1};
    int rc = st_write_header(&all, &w->header, &w->n_header, e);
    if (!rc) rc = st_write_header(&some, &w->changed_header, &w->n_changed_header, e);
    if (!rc) rc = chunks_init(&w->chunks, i, e);
    i->facts.bytes = w->n_header + w->all;
    if (rc) return rc;
    return i->o.is_pointing
               ? partfolder_check_room(w->folder, CHANGED, w->n_changed_header + changed, e)
               : partfolder_check_room(w->folder, WEIGHTS, i->facts.bytes, e);
}

/* What an earlier call left of the other form. */
static void drop_other_form(struct partfolder *f, int is_pointing) {
    (void)unlink(partfolder_file(f, is_pointing ? WEIGHTS : CHANGED));
    if (!is_pointing) (void)unlink(partfolder_file(f, ST_JOIN_FILE));
}

static int write_folder(struct writing *w, struct err *e) {
    int rc = prepare(w, e);
    if (!rc) drop_other_form(w->folder, w->i->o.is_pointing);
    if (!rc) rc = write_weights(w, e);
    if (!rc) rc = write_small(w, e);
    chunks_clear(&w->chunks);
    mem_free(w->tensors);
    mem_free(w->changed);
    mem_free(w->header);
    mem_free(w->changed_header);
    return rc;
}

/* The adapter isn't the model's folder, nor in it. Both are in the making. */
static int write_check_apart(const struct partfolder *model, const struct newfolder *adapter,
                             struct err *e) {
    char part[PATH_MAX], temp[PATH_MAX];
    if (!realpath(model->part, part) || !realpath(adapter->temp, temp))
        return err_set(e, E_IO, "%s: %s", adapter->temp, strerror(errno));
    size_t whole = strlen(part), n = whole - strlen(".part");
    int is_apart = strncmp(temp, part, n) || strcmp(temp + n, ".tmp");
    if (!strncmp(temp, part, whole) && (temp[whole] == '/' || !strcmp(temp + whole, ".tmp")))
        is_apart = 0;
    if (is_apart) return 0;
    return err_set(e, E_INVALID, "%s: is the model's: choose another folder for the adapter",
                   adapter->path);
}

int import_write(struct import *i, const char *folder, struct err *e) {
    static const char *const names[] = {"config.json", "tokenizer.model", WEIGHTS,     CHANGED,
                                        ST_JOIN_FILE,  SUMS_FILE,         "README.md", NULL};
    struct partfolder f;
    struct newfolder adapter = {0};
    struct writing w = {.i = i, .folder = &f, .out = {.fd = -1}};
    int rc = partfolder_begin(&f, folder, names, e);
    if (!rc && i->o.adapter) rc = writing_adapter_begin(i, &adapter, e);
    if (!rc && i->o.adapter) rc = write_check_apart(&f, &adapter, e);
    if (!rc) rc = write_folder(&w, e);
    if (!rc && i->o.adapter) rc = writing_adapter_card(i, &adapter, e);
    rc = newfolder_end(&adapter, rc, e);
    return partfolder_end(&f, rc, e);
}
