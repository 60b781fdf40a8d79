/* verdict.h - gate.json of an adapter's folder: is it better than what answered before it?
 *
 *     {"version": 1, "decision": "better", "items": 64, "why": "...",
 *      "tasks": [{"task": "refer", "metric": "P@0.5", "higher_is_better": true, "n": 64,
 *                 "before": 0.41, "after": 0.62, "difference": 0.21, "low": 0.1, "high": 0.3,
 *                 "decision": "better"}],
 *      "battery": [rows like these, of other tasks],
 *      "judged_by": {"base": DIGEST, "adapter": DIGEST, "battery_seed": 18,
 *                    "validation": [{"digest": DIGEST, "share": 0.2}]}}
 *
 * Who trained the adapter wrote it; here it is read strictly, within limits. Further fields may be
 * numbers and flags. `judged_by` may be left out, and so may each of its fields. Thread: any.
 */
#ifndef API_STORE_VERDICT_H
#define API_STORE_VERDICT_H

#include <jansson.h>

#include "kernels/base/err.h"

enum verdict_decision { VERDICT_BETTER, VERDICT_NOT_WORSE, VERDICT_WORSE, VERDICT_NOT_DECIDED };
extern const char *const verdict_words[]; /* "better", ...; NULL at the end */
enum { VERDICT_BYTES_MAX = 256 << 10, VERDICT_ROWS_MAX = 64, VERDICT_TEXT_MAX = 500 };

struct verdict {
    enum verdict_decision decision;
    char why[VERDICT_TEXT_MAX + 1];
    char adapter[65]; /* digest of what was judged; "": it doesn't say */
    json_t *root;     /* all of it, checked; what a client may see */
};

/* E_NOT_FOUND: the folder has none. E_FORMAT with the field's name, E_TOO_BIG, E_IO, E_NOMEM. The
 * text names no path. verdict_clear on success. */
int verdict_read(const char *folder, struct verdict *out, struct err *e);
int verdict_parse(const char *text, size_t len, struct verdict *out, struct err *e);
void verdict_clear(struct verdict *g); /* of a zeroed one, too */

#endif
