/* gate.h - gate.json of an adapter's folder: is it better than what answered before it?
 *
 *     {"version": 1, "decision": "better", "items": 64, "why": "...",
 *      "tasks": [{"task": "refer", "metric": "P@0.5", "higher_is_better": true, "n": 64,
 *                 "before": 0.41, "after": 0.62, "difference": 0.21, "low": 0.1, "high": 0.3,
 *                 "decision": "better"}],
 *      "battery": [rows like these, of other tasks]}
 *
 * Who trained the adapter wrote it; here it is read strictly, within limits. Fields that are not
 * known are refused. Thread: any.
 */
#ifndef API_STORE_GATE_H
#define API_STORE_GATE_H

#include <jansson.h>

#include "kernels/base/err.h"

enum gate_decision { GATE_BETTER, GATE_NOT_WORSE, GATE_WORSE, GATE_NOT_DECIDED };
extern const char *const gate_words[]; /* "better", ...; NULL at the end */
enum { GATE_BYTES_MAX = 256 << 10, GATE_ROWS_MAX = 64, GATE_TEXT_MAX = 500 };

struct gate {
    enum gate_decision decision;
    char why[GATE_TEXT_MAX + 1];
    json_t *root; /* all of it, checked; what a client may see */
};

/* E_NOT_FOUND: the folder has none. E_FORMAT with the field's name, E_TOO_BIG, E_IO, E_NOMEM. The
 * text names no path. gate_clear on success. */
int gate_read(const char *folder, struct gate *out, struct err *e);
int gate_parse(const char *text, size_t len, struct gate *out, struct err *e);
void gate_clear(struct gate *g); /* of a zeroed one, too */

#endif
