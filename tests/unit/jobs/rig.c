/* rig.c - see rig.h. */
#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "tests/check.h"

static const char script[] =
    "#!/bin/bash\n"
    "rig=$(dirname \"$0\")\n"
    "case \"$*\" in\n"
    "*--check*) [ -e \"$rig/slow\" ] && sleep 1\n"
    "    grep -q bad \"$3\" && { echo '{\"status\":\"error\"}'; exit 1; }\n"
    "    echo '{\"pictures\":8}'; exit 0 ;;\n"
    "*--plan*--json*) [ -e \"$rig/big\" ] && { cat \"$rig/big\"; echo 'lammd: it is big' >&2; exit "
    "1; }\n"
    "    [ -e \"$rig/held\" ] && cat \"$rig/held\"; exit 0 ;;\n"
    "esac\n"
    "out=$4; ev=$out/events.jsonl\n"
    "exec 9>>\"$out/lock\"; flock -w 1 9 || exit 1; echo $$ > \"$out/lock\"\n"
    "say() { echo \"$1\" >> \"$ev\"; }\n"
    "steps=$(sed -n 's/^steps = //p' \"$2\")\n"
    "at=$(cat \"$out/at\" 2>/dev/null || echo 0)\n"
    "trap 'stop=1' TERM\n"
    "say '{\"event\":\"start\",\"step\":'$at',\"steps\":'$steps'}'\n"
    "[ -e \"$rig/fail\" ] && { say '{\"event\":\"failed\",'\"$(cat \"$rig/fail\")\"'}'; exit 1; }\n"
    "n=0\n"
    "while [ $at -lt $steps ]; do\n"
    "    [ -e \"$rig/slow\" ] && sleep 0.1\n"
    "    at=$((at + 1)); n=$((n + 1))\n"
    "    [ -e \"$rig/die\" ] && [ $n = 2 ] && { kill -$(cat \"$rig/die\") $$; exit 1; }\n"
    "    say '{\"event\":\"step\",\"step\":'$at',\"loss\":1.5,\"talks\":3,\"seconds\":0.1}'\n"
    "    if [ \"$stop\" ]; then\n"
    "        echo $at > \"$out/at\"; say '{\"event\":\"checkpoint\",\"step\":'$at'}'\n"
    "        : > \"$out/step-$(printf %08d $at).safetensors\"\n"
    "        say '{\"event\":\"stop\",\"step\":'$at'}'; exit 0\n"
    "    fi\n"
    "done\n"
    "mkdir -p \"$out/adapter\"; echo $steps > \"$out/adapter/made\"; echo '{}' > "
    "\"$out/gate.json\"\n"
    "say '{\"event\":\"end\",\"step\":'$at'}'\n";

static const char base[] =
    "# own\n[run]\ncheckpoint_every = 100\n[stage learn]\nsteps = 400\n"
    "samples = 4 # pictures\nrate = 1e-3\nwarmup = 20\nlora_r = 16\n"
    "ratio_refer = 1\nratio_vqa = 1\n[data pairs]\npath = ${PAIRS}\njitter = 0.1\n";

static void put(const char *path, const char *text, mode_t mode) {
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0 && chmod(path, mode) == 0);
}

static void on_done(void *ud, const char *name) {
    snprintf(((struct rig *)ud)->done, JOBS_NAME_BYTES, "%s", name);
}

void rig_start(struct rig *r, enum jobs_launcher launcher) {
    struct err e = {0};
    const struct jobs_options o = {.dir = r->state,
                                   .program = r->program,
                                   .model = "/nowhere/small",
                                   .recipes = r->recipes,
                                   .launcher = launcher,
                                   .live_max = 6,
                                   .owner_max = 4,
                                   .done = on_done,
                                   .ud = r};
    if (jobs_open(&o, &r->jobs, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    CHECK_EQ(jobs_start(r->jobs, "small", &e), 0);
}

void rig_open(struct rig *r) {
    char path[400];
    *r = (struct rig){.dir = "/tmp/lammd-rig-XXXXXX"};
    CHECK(mkdtemp(r->dir));
    snprintf(r->program, sizeof(r->program), "%s/lammd", r->dir);
    snprintf(r->recipes, sizeof(r->recipes), "%s/recipes", r->dir);
    snprintf(r->state, sizeof(r->state), "%s/state", r->dir);
    put(r->program, script, 0700);
    CHECK_EQ(mkdir(r->recipes, 0700), 0);
    snprintf(path, sizeof(path), "%s/own.ini", r->recipes);
    put(path, base, 0600);
    rig_start(r, JOBS_LOCAL);
}

void rig_close(struct rig *r) {
    char path[400];
    jobs_close(r->jobs);
    r->jobs = NULL;
    snprintf(path, sizeof(path), "%s/runs", r->state);
    disk_remove(path);
    disk_remove(r->state);
    disk_remove(r->dir);
}

void rig_restart(struct rig *r, enum jobs_launcher launcher) {
    jobs_close(r->jobs);
    rig_start(r, launcher);
}

void rig_set(const struct rig *r, const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    if (text)
        put(path, text, 0600);
    else
        CHECK_EQ(unlink(path), 0);
}

int rig_add(struct rig *r, const char *text, struct jobs_file *out, struct err *e) {
    char path[400], sha[65];
    snprintf(path, sizeof(path), "%s/spool/x", r->state);
    put(path, text, 0600);
    memset(sha, 'a', 64);
    sha[64] = '\0';
    snprintf(sha, 17, "%016zx", strlen(text));
    sha[16] = 'a';
    const struct jobs_file_new add = {.spooled = path,
                                      .sha256 = sha,
                                      .bytes = strlen(text),
                                      .name = "a/b\\pairs.jsonl",
                                      .purpose = "fine-tune",
                                      .owner = "k"};
    return jobs_file_add(r->jobs, &add, out, e);
}

struct jobs_file rig_file(struct rig *r, const char *text) {
    struct err e = {0};
    struct jobs_file out;
    if (rig_add(r, text, &out, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return out;
}

struct jobs_job rig_job(struct rig *r, const char *file, int steps) {
    struct err e = {0};
    struct jobs_outcome how;
    struct jobs_job out;
    const struct jobs_new ask = {
        .training_file = file, .seed = 1, .how = {.steps = steps}, .owner = "k"};
    if (jobs_create(r->jobs, &ask, &out, &how, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return out;
}

static void nap(void) {
    const struct timespec t = {0, 10 * 1000 * 1000};
    nanosleep(&t, NULL);
}

struct jobs_job rig_wait(struct rig *r, const char *id, enum jobs_state state) {
    struct jobs_job job;
    for (int i = 0; i < 6000; i++, nap()) {
        CHECK_EQ(jobs_get(r->jobs, id, &job, NULL), 0);
        if (job.state == state) return job;
        if (jobs_is_over(job.state)) break;
    }
    test_failed(__FILE__, __LINE__, "%s is %s (%s: %s), not %s", id, jobs_state_words[job.state],
                job.error_code, job.error, jobs_state_words[state]);
}

void rig_wait_step(struct rig *r, const char *id, int step) {
    struct jobs_job job;
    for (int i = 0; i < 6000; i++, nap()) {
        CHECK_EQ(jobs_get(r->jobs, id, &job, NULL), 0);
        if (job.step >= step) return;
    }
    test_failed(__FILE__, __LINE__, "%s never came to step %d", id, step);
}

int rig_has(const struct rig *r, const char *name) {
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", r->state, name);
    return access(path, F_OK) == 0;
}
