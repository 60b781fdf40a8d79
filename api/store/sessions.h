/* sessions.h - the games that are being played.
 *
 * A session keeps the frames before the one that comes next, as the engine's pictures. The store
 * holds at most `max`, of one owner at most `owner_max`. A session is found by its owner alone. One
 * step at a time belongs to a session, because frames have an order: entering one that is entered
 * already is refused. A session that was idle for ttl seconds is forgotten, one that is entered is
 * not. A step that is on its way holds no pointer into the store: it comes back by id, and finds
 * its session gone or not.
 *
 * A client that lost an answer sends the step again. So the last answer to a step with a sequence
 * number is kept. Thread: any.
 */
#ifndef API_STORE_SESSIONS_H
#define API_STORE_SESSIONS_H

#include "api/store/shelf.h"
#include "engine/engine.h"
#include "kernels/base/buf.h"

enum { SESSION_FRAMES_MAX = ENG_SHOOT_FRAMES - 1, SESSION_MODEL_BYTES = 96 };

struct session {
    char id[SHELF_ID_BYTES];
    uint64_t owner;
    enum eng_task game;
    uint32_t prompt_frames;          /* that a prompt of the game holds */
    char model[SESSION_MODEL_BYTES]; /* that answers, as it was asked for; "": the default */
    struct eng_picture *frames[SESSION_FRAMES_MAX]; /* oldest first; fewer than a prompt's */
    uint32_t n_frames;
};

struct sessions;
/* Must-succeed. owner_max 0: as many as there is room for. */
struct sessions *sessions_new(int max, int owner_max, unsigned ttl_s);
void sessions_free(struct sessions *s); /* NULL is legal */
/* A new one; `model` "": the default, whatever that is at each step. 0, E_BUSY (there is no room),
 * E_TOO_BIG (the owner has as many as it may). */
int sessions_create(struct sessions *s, uint64_t owner, const char *id, enum eng_task game,
                    uint32_t prompt_frames, const char *model);
/* A copy, with references to its frames that are the caller's; it is entered until sessions_leave.
 * 0, E_NOT_FOUND, E_BUSY (it is entered). */
int sessions_enter(struct sessions *s, uint64_t owner, const char *id, struct session *out);
void sessions_leave(struct sessions *s, uint64_t owner, const char *id);
/* `frame` was played: it is the newest now. The store takes a reference of its own. */
void sessions_see(struct sessions *s, uint64_t owner, const char *id, struct eng_picture *frame);
/* Keep a copy of the answer to this step, instead of the last one. 0 also when the session is gone;
 * E_NOMEM. */
int sessions_keep(struct sessions *s, uint64_t owner, const char *id, uint64_t sequence,
                  const void *answer, size_t len);
enum sessions_step { SESSIONS_NEW, SESSIONS_AGAIN, SESSIONS_OLD };
/* AGAIN: it is the step whose answer is kept, which is added to `out`. OLD: it came before that. */
enum sessions_step sessions_again(struct sessions *s, uint64_t owner, const char *id,
                                  uint64_t sequence, struct buf *out);
int sessions_forget(struct sessions *s, uint64_t owner, const char *id); /* 0, E_NOT_FOUND */
int sessions_count(struct sessions *s);

#endif
