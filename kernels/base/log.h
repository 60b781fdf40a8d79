/* log.h - one line per event on stderr, for people and for journald.
 *
 *     log_event(LOG_LEVEL_INFO, "job_done", "id=%s pixels=%d ms=%.1f", id, n, ms);
 *
 * prints `<6>time=2026-01-31T12:00:00.123Z event=job_done id=r-17 pixels=4096 ms=812.3`; the <N>
 * priority only when stderr is not a terminal. Control bytes and line breaks in the text are
 * escaped, lines are capped at 1,000 bytes, and a single write(2) carries each. Debug lines are
 * off unless asked for. Lower rooms report by struct err instead; the place that decides logs.
 *
 * A reader of stderr that stalls must not stop who logs. Between log_begin and log_end a thread of
 * its own writes, from a ring of LOG_LINES lines. When the ring is full a line is lost and counted,
 * and how many were lost is logged as soon as lines can be written again. Thread: any.
 */
#ifndef KERNELS_BASE_LOG_H
#define KERNELS_BASE_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_set_level(enum log_level most); /* default info; call before threads start */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

enum { LOG_LINES = 512 };
/* From now on no call of log_event blocks. Not twice. */
void log_begin(void);
/* Waits until all is written, wait_ms at most; whatever is left then is lost. */
void log_end(unsigned wait_ms);
unsigned long long log_lost(void); /* lines, since the start */

#ifdef __cplusplus
}
#endif
#endif
