/* test_pass.c - a pass that points outside of what was planned stops before it reaches the
 * device. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/engine/model/model_rig.h"

TEST(pass_stops_when_it_points_outside) {
    enum { GOOD, ROWS, SRC, FEAT, POS, SLOT, TAIL, SPAN, GROUP, OWN, PICK, SET, COL, CASES };
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, "ref");
    struct rig_prompt t = rig_tiny_prompt(&r);
    for (int c = GOOD; c < CASES; c++) {
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            CHECK(freopen("/dev/null", "w", stderr) != NULL);
            rig_begin(&r, p);
            rig_chunk(p, &t, 0, 10, 0);
            rig_row(p, 1, 10, 10);
            rig_tail(p, 10);
            rig_group(p, -1, 0, 10);
            rig_pick(p, 10);
            int32_t cols[] = {0, 700};
            if (c == ROWS) p->p.rows = RIG_ROWS + 1;
            if (c == SRC) p->src[3] = 642;
            if (c == FEAT) p->src[3] = ~32;
            if (c == POS) p->pos[3] = 128;
            if (c == SLOT) p->slot[3] = 512;
            if (c == TAIL) p->tail[0] = -1;
            if (c == SPAN) p->spans[0] = (struct kern_attn_span){500, 13};
            if (c == GROUP) p->groups[1].row0 = 9;
            if (c == OWN) p->groups[0].own_slot = 503;
            if (c == PICK) p->pick_row[0] = 11;
            if (c == SET) p->pick_set[0] = 1;
            if (c == COL) p->p.cols = cols, r.col_off[1] = 2;
            float probs[700];
            p->pick_group.probs = probs;
            model_run(r.m, &p->p, NULL);
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(WIFEXITED(status) ? 0 : WTERMSIG(status), c == GOOD ? 0 : SIGABRT);
    }
    mem_free(p);
    rig_close(&r);
}
