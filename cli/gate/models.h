/* models.h - the two models of a gate. Here alone is known whether they share an engine.
 *
 * An adapter is loaded beside its base in one engine and served unmerged, as `lammd serve` does, so
 * that what is judged is what is served. Another model has an engine of its own. Thread: main's.
 */
#ifndef CLI_GATE_MODELS_H
#define CLI_GATE_MODELS_H

#include "cli/eval/eval.h"

struct models {
    struct eval eval[2]; /* before, after: what eval_submit takes; eng may be the same one */
    struct eng_adapter *adapter; /* of `after`; NULL: it is a model */
};
/* `adapter` or `against`, as of gate_options. E_NOMEM, E_FORMAT, E_NOT_FOUND, E_UNSUPPORTED and
 * others of the engine; E_INVALID: the two see pictures in different sizes. */
int models_open(const struct config *cfg, const char *base, const char *adapter,
                const char *against, struct models *out, struct err *e);
void models_close(struct models *m); /* all zero is legal */

#endif
