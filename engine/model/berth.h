/* berth.h - adapters beside the model: the room that is kept for them, and how they get there.
 *
 * A berth is room for one adapter, made by model_plan: the A and B of all matrices of the decoder,
 * up to a rank; in some berths a tower, too. A cargo is an adapter's numbers on the host, checked
 * against the model, on their way into one berth of each of several devices. So filling a berth
 * allocates nothing, and goes layer by layer:
 *
 *     cargo_new(config, adapter, devices, &cargo, &e);     // the caller's thread
 *     model_berth_clear(m, berth);                         // each step thread
 *     for (i = 0; i < cargo_layers(cargo); i++) {
 *         model_berth_fill(m, berth, cargo, i);
 *         cargo_landed(cargo, i);                          // frees it when all devices have it
 *     }
 *     cargo_free(cargo);
 *
 * From its last layer on, a berth may serve passes (model_pass.sections) and pictures
 * (model_encode), until it is cleared. The base's own matrices are never touched. With A, B as in
 * files/peft.h, y += (x A^T) (scale B)^T, in f32, whatever the base is kept in.
 *
 * What an overlay doesn't have is the base's. Thread: step, but where it says otherwise.
 */
#ifndef ENGINE_MODEL_BERTH_H
#define ENGINE_MODEL_BERTH_H

#include "engine/files/adapter.h"
#include "engine/model/model.h"

struct cargo;

/* Copies the adapter's numbers to the host's memory, widened, B with its scale. Any thread.
 * E_FORMAT: a tensor that isn't finite, or of the overlay one that the model hasn't or that has
 * another shape. E_NOMEM. */
int cargo_new(const struct model_config *c, const struct adapter *a, int devices,
              struct cargo **out, struct err *e);
void cargo_free(struct cargo *c); /* NULL is legal. Any thread, the last to use it */
/* Steps in which it is loaded: the layers of decoder and tower that it has. At least 1. */
int cargo_layers(const struct cargo *c);
uint64_t cargo_parameters(const struct cargo *c);
/* One more device has this layer. The last frees its numbers. Any thread. */
void cargo_landed(struct cargo *c, int layer);

/* Empties a berth that nobody uses. */
void model_berth_clear(struct model *m, int berth);
/* The next layer, in order. must(): the cargo fits into the berth's rank, and an overlay into a
 * berth that has room for one. */
void model_berth_fill(struct model *m, int berth, const struct cargo *c, int layer);
/* Bytes of device memory that the berths of a plan take. UINT64_MAX: it overflows. */
uint64_t model_berth_bytes(const struct model *m, const struct model_plan *plan);

#endif
