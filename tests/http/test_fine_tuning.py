"""test_fine_tuning.py - runs by HTTP: they begin, are watched, paused, cancelled, killed, and go
on.

Runs are real and small (state.py). Both the daemon and a run are killed at random moments: no job
is lost, and what comes of it is to the bit what comes of a run that nobody touched. --long kills a
hundred times in place of five.
"""
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import lamm
import state
from lamm import JSON, PROGRAM, Skip
from state import JOBS, act, create, get, wait
from suite import IS_LONG, SOON, Thread, wait_for

FAST = {"steps": 12}


def digest(folder, name):
    """Of what a job has learnt: its recipe adapts the decoder alone."""
    with open(os.path.join(folder.path, "adapters", name, "adapter_model.safetensors"), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def all_events(s, job):
    out, after = [], ""
    while True:
        page = s.ask("GET", f"{JOBS}/{job}/events?limit=7{after}").json()
        out += page["data"]
        if not page["has_more"]:
            return out
        after = f"&after={page['last_id']}"


def test_a_run_from_its_file_to_its_adapter():
    with state.Folder() as folder, folder.serve("--keep-checkpoints") as s:
        file = folder.file(state.pairs(), pictures=12)
        check = folder.file(state.pairs(5), pictures=5)
        job = create(s, file, validation_file=check, suffix="parts", seed=7, metadata={"who": "me"},
                     method={"type": "supervised", "supervised": {"hyperparameters": {
                         "n_epochs": 2, "batch_size": 2, "learning_rate_multiplier": 0.5}}},
                     lammd={"recipe": "own", "tasks": ["refer"], "lora": {"r": 4, "alpha": 8, "targets": ["q", "v"]}})
        assert job["status"] in ("validating_files", "queued") and job["seed"] == 7
        assert job["lammd"]["steps"] == 12 and job["lammd"]["epochs"] == 2 and job["hyperparameters"]["n_epochs"] == 2
        done = wait(s, job["id"])
        assert done["status"] == "succeeded", done
        assert done["fine_tuned_model"] == f"ft:small:parts:{job['id']}"
        assert done["hyperparameters"] == {"n_epochs": 2, "batch_size": 2, "learning_rate_multiplier": 0.5}
        own = done["lammd"]
        assert own["steps"] == own["step"] == 12 and own["tasks"] == ["refer"] and done["metadata"] == {"who": "me"}
        assert own["lora"] == {"r": 4, "alpha": 8, "targets": ["q", "v"]}
        assert done["created_at"] <= done["started_at"] <= done["finished_at"] and done["error"] is None
        events = all_events(s, job["id"])
        assert [int(e["id"].rsplit("-", 1)[1]) for e in events] == list(range(1, len(events) + 1))
        steps = [e["data"]["step"] for e in events if e["type"] == "metrics" and "train_loss" in e["data"]]
        assert steps == list(range(1, 13))
        assert {"Phase: train", "Phase: export"} <= {e["message"] for e in events}
        kept = s.ask("GET", f"{JOBS}/{job['id']}/checkpoints").json()["data"]
        assert kept[0]["step_number"] == 12 and kept[0]["metrics"]["valid_loss"] > 0
        for key, behind in (("", kept[1:]), (kept[0]["id"], kept[2:])):  # page by page
            page = s.ask("GET", f"{JOBS}/{job['id']}/checkpoints?limit=1{'&after=' + key if key else ''}").json()
            assert page["has_more"] == bool(behind) and page["last_id"] == (page["data"] or [{"id": None}])[-1]["id"]
        assert s.ask("GET", f"{JOBS}/{job['id']}/checkpoints?after=ftckpt-0").status == 400
        card = os.path.join(folder.path, "adapters", done["fine_tuned_model"])
        assert {"adapter_config.json", "adapter_model.safetensors", "lammd.json", "README.md"} <= set(os.listdir(card))
        assert [j["id"] for j in s.ask("GET", JOBS).json()["data"]] == [job["id"]]
        assert s.metric('lammd_finetune_jobs{state="succeeded"}') == 1
        assert s.metric("lammd_finetune_steps_total") == 12
        s.end()
        with folder.serve() as later:
            assert later.ask("GET", f"{JOBS}/{job['id']}/checkpoints").json()["data"] == []
            assert act(later, job["id"], "resume", 409)["error"]["code"] == "wrong_state"
        assert not [name for name in os.listdir(folder.run(job["id"], "")) if name.startswith("step-")]


def test_what_comes_of_a_run_is_judged_and_loaded():
    with state.Folder() as folder, folder.serve() as s:
        job = create(s, folder.file(state.pairs(), pictures=12), lammd={"recipe": "gated", "steps": 2})["id"]
        done = wait(s, job, wait_s=3 * SOON)
        assert done["status"] == "succeeded", done
        assert "Phase: evaluate" in {e["message"] for e in all_events(s, job)}
        with open(os.path.join(folder.path, "adapters", done["fine_tuned_model"], "gate.json"), encoding="utf-8") as f:
            gate = json.load(f)
        assert gate["decision"] == "not_decided"  # there are but few questions
        wait_for(lambda: '"state":"loaded"' in s.ask("GET", "/v1/adapters").body.decode())
        shown = s.ask("GET", f"/v1/adapters/{done['fine_tuned_model']}").json()
        by = shown["gate"]["judged_by"]
        assert by == gate["judged_by"] and by["adapter"] == shown["digest"] and by["battery_seed"] == 18
        assert [one["share"] for one in by["validation"]] == [0.2] and len(by["validation"][0]["digest"]) == 64
        with open(os.path.join(folder.path, "adapters", done["fine_tuned_model"], "lammd.json"), encoding="utf-8") as f:
            assert by["base"] == json.load(f)["base"]


def test_events_as_a_stream_that_ends_and_goes_on():
    """It goes on until the job is over, for longer than a request may take."""
    with state.Folder() as folder, folder.serve("--request-timeout=3") as s:
        job = create(s, folder.file(state.pairs()), lammd={"steps": 30})["id"]
        reply = s.ask("GET", f"{JOBS}/{job}/events", headers={"Accept": "text/event-stream"})
        blocks = [dict(line.split(": ", 1) for line in b.splitlines() if line[0] != ":")
                  for b in reply.body.decode().split("\n\n") if b and b[0] != ":"]
        assert blocks[-1]["event"] == "end" and json.loads(blocks[-1]["data"])["status"] == "succeeded"
        ids = [b["id"] for b in blocks[:-1]]
        assert len(set(ids)) == len(ids) and ids == [e["id"] for e in all_events(s, job)]
        again = s.ask("GET", f"{JOBS}/{job}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": ids[-3]})
        assert again.body.decode().count("\nevent: ") == 3 and ids[-2] in again.body.decode()
        bad = s.ask("GET", f"{JOBS}/{job}/events?after=ftevent-other-1")
        assert (bad.status, bad.code) == (400, "invalid_parameter")


def test_pause_resume_cancel_and_what_they_refuse():
    with state.Folder() as folder, folder.serve() as s:
        file = folder.file(state.pairs())
        whole = wait(s, create(s, file, lammd=FAST)["id"])
        job = create(s, file, lammd=FAST)["id"]
        waiting = create(s, file, lammd=FAST)["id"]
        wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 2)
        assert act(s, waiting, "cancel")["status"] == "cancelled"
        act(s, job, "pause")
        act(s, job, "pause")
        paused = wait(s, job, "paused")
        assert paused["error"] is None and not folder.pid(job)
        assert act(s, job, "resume")["status"] == "queued"
        done = wait(s, job)
        assert done["status"] == "succeeded"
        assert digest(folder, done["fine_tuned_model"]) == digest(folder, whole["fine_tuned_model"])
        for what in ("pause", "resume", "cancel"):
            assert act(s, job, what, 409)["error"]["code"] == "wrong_state"
            assert act(s, "ftjob-000000000000", what, 404)["error"]["code"] == "job_not_found"
        job = create(s, file, lammd={"steps": 500})["id"]
        wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 1)
        act(s, job, "cancel")
        act(s, job, "cancel")
        assert wait(s, job)["status"] == "cancelled" and act(s, job, "cancel")["status"] == "cancelled"
        assert not os.path.exists(os.path.join(folder.path, "adapters", f"ft:small::{job}"))
        pages, after = [], ""
        while after is not None:  # the newest first
            page = s.ask("GET", f"{JOBS}?limit=3{after}").json()
            pages += page["data"]
            after = f"&after={page['data'][-1]['id']}" if page["has_more"] else None
        assert [j["id"] for j in pages] == [job, waiting, done["id"], whole["id"]]


def test_the_same_request_twice_is_one_job():
    with state.Folder() as folder, folder.serve("--key-jobs", "4", "--jobs", "5") as s:
        file = folder.file(state.pairs())
        hold = create(s, file, lammd={"steps": 5000})["id"]  # the others wait behind it
        wait(s, hold, "running")
        once = {"Idempotency-Key": "k-1"}
        first = create(s, file, headers=once)
        assert create(s, file, headers=once)["id"] == first["id"]
        assert create(s, file, headers=once, status=409, seed=2)["error"]["code"] == "idempotency_conflict"
        create(s, file)
        create(s, file)
        assert create(s, file, status=429)["error"]["code"] == "too_many_own_jobs"
        other = {"Authorization": f"Bearer {folder.other}"}
        assert create(s, file, headers={**other, **once})["id"] != first["id"]
        assert create(s, file, headers=other, status=503)["error"]["code"] == "too_many_jobs"
        assert len(s.ask("GET", f"{JOBS}?limit=2", headers=other).json()["data"]) == 2
        page = s.ask("GET", f"{JOBS}?limit=3").json()
        rest = s.ask("GET", f"{JOBS}?limit=3&after={page['data'][-1]['id']}").json()
        assert page["has_more"] and not rest["has_more"] and len(rest["data"]) == 2
        act(s, hold, "cancel")


def test_what_cannot_be_done_is_told_with_its_name():
    with state.Folder() as folder, folder.serve("--train-memory-mib", "20") as s:
        file = folder.file(state.pairs())
        cases = [
            (404, "model_not_found", {"model": "gpt-4"}), (400, "missing_parameter", {"training_file": None}),
            (404, "file_not_found", {"training_file": "file-0"}), (404, "file_not_found", {"validation_file": "file-0"}),
            (409, "file_not_processed", {"training_file": folder.file(b"x", status=2)}),
            (409, "file_not_processed", {"training_file": folder.file(b"y", purpose="vision")}),
            (400, "unknown_parameter", {"epochs": 2}), (400, "invalid_parameter", {"suffix": "a b"}),
            (400, "invalid_parameter", {"suffix": "x" * 65}), (400, "invalid_parameter", {"seed": -1}),
            (400, "invalid_parameter", {"hyperparameters": {"n_epochs": 0}}),
            (400, "unknown_parameter", {"hyperparameters": {"n_epoch": 1}}),
            (400, "invalid_parameter", {"method": {"type": "dpo"}}),
            (400, "invalid_parameter", {"integrations": [{"type": "wandb"}]}),
            (400, "invalid_parameter", {"lammd": {"recipe": "../own"}}),
            (400, "invalid_parameter", {"lammd": {"recipe": "none"}}),
            (400, "invalid_parameter", {"lammd": {"recipe": "ablation"}}),
            (400, "invalid_parameter", {"lammd": {"tasks": ["fly"]}}),
            (400, "invalid_parameter", {"lammd": {"lora": {"targets": "q"}}}),
            (400, "invalid_parameter", {"lammd": {"vision": 1}}),
            (400, "invalid_parameter", {"lammd": {"steps": 3}, "hyperparameters": {"n_epochs": 1}}),
            (422, "too_big", {})]
        for status, code, fields in cases:
            body = {"model": "small", "training_file": file, **fields}
            reply = s.ask("POST", JOBS, json.dumps(body), JSON)
            assert (reply.status, reply.code) == (status, code), (fields, reply.status, reply.body)
            assert folder.path not in reply.body.decode()
        assert "MiB, and there are 20" in reply.json()["detail"]
        assert s.ask("GET", JOBS).json()["data"] == [] and os.listdir(os.path.join(folder.path, "runs")) == []
        ask = {"Authorization": f"Bearer {folder.asking}"}
        assert s.ask("GET", JOBS, headers=ask).code == "scope_missing"
    with state.Folder() as folder, lamm.Server("--keys", folder.keys, model=folder.model) as s:
        assert s.ask("GET", JOBS, headers={"Authorization": f"Bearer {folder.key}"}).code == "no_state"


def test_the_memory_of_a_card_is_counted_before_a_job_is_taken():
    """The reference stands in for a card that has so much free, beside what serves."""
    for free, status in (("20", 422), ("100000", 200)):
        env = {**os.environ, "LAMMD_PLUGIN": lamm.built("plugin_dying.so"), "DYING_FREE": free}
        with state.Folder() as folder, folder.serve("--train-device", "cuda", env=env) as s:
            job = create(s, folder.file(state.pairs()), status=status)
            if status == 422:
                assert job["error"]["code"] == "too_big" and "MiB, and there are 20" in job["detail"], job
            else:
                act(s, job["id"], "cancel")


def test_recipes_are_listed():
    with state.Folder() as folder, folder.serve() as s:
        for name in ("broken", "UPPER"):
            with open(os.path.join(folder.recipes, name + ".ini"), "w", encoding="utf-8") as f:
                f.write("[stage a]\n" * 2)
        got = s.ask("GET", "/v1/fine_tuning/recipes").json()["data"]
        assert [r["id"] for r in got] == ["own", "car-racing", "gated", "segment", "space-invaders"]
        own, invaders = got[0], got[-1]
        assert own["description"] == "teaches lamm-mini things of your own: a LoRA from some hundred pictures and texts."
        assert invaders["description"] == "the paper's second game: what an expert did in recorded rounds of Space Invaders."
        assert own["set_aside"] == 0.2 and own["lammd"]["tasks"] is None and own["lammd"]["vision"] is False
        job = create(s, folder.file(state.pairs()))  # what was told is what holds
        assert all(job["lammd"][name] == own["lammd"][name] for name in ("recipe", "tasks", "lora", "vision", "pack"))
        assert job["hyperparameters"]["batch_size"] == own["batch_size"]
        act(s, job["id"], "cancel")
        told = subprocess.run([PROGRAM, "jobs", "recipes", "--url", f"http://127.0.0.1:{s.port}"], capture_output=True, text=True,
                              timeout=SOON, check=True, env={**os.environ, "LAMMD_KEY": folder.key}).stdout.splitlines()
        assert [line.split()[0] for line in told] == ["RECIPE"] + [r["id"] for r in got], told
        assert told[1].split()[1:5] == [str(own["lammd"]["steps"]), str(own["batch_size"]), "16", "no"], told


def test_jobs_that_are_not_there():
    with state.Folder() as folder, folder.serve() as s:
        calls = [("GET", ""), ("GET", "/events"), ("GET", "/checkpoints")]
        calls += [("POST", "/" + what) for what in ("cancel", "pause", "resume")]
        for method, behind in calls:
            reply = s.ask(method, f"{JOBS}/ftjob-0{behind}")
            assert (reply.status, reply.code) == (404, "job_not_found"), (method, behind, reply.body)
            assert s.ask(method, f"{JOBS}/ftjob-%12{behind}").status == 400, (method, behind)
        assert s.ask("GET", f"{JOBS}?after=ftjob-0").status == 404
        assert s.ask("GET", f"{JOBS}?limit=0").code == "invalid_parameter"
        job = create(s, folder.file(state.pairs()))
        assert s.ask("GET", f"{JOBS}/{job['id']}/events", headers={"Accept": "image/png"}).status == 406
        act(s, job["id"], "cancel")


def test_bad_data_ends_a_job_with_a_sentence():
    with state.Folder() as folder, folder.serve() as s:
        bad = wait(s, create(s, folder.file(b'{"task": "refer", "image": "1.png"}\n'))["id"])
        assert bad["status"] == "failed" and bad["error"]["code"] == "bad_data", bad
        assert "line" in bad["error"]["message"] and folder.path not in json.dumps(bad)
        job = create(s, folder.file(state.pairs()), lammd={"tasks": ["drive"]})["id"]
        assert wait(s, job)["error"]["code"] == "bad_data"


def test_a_run_that_crashes_without_getting_on_is_given_up():
    with state.Folder() as folder, folder.serve() as s:
        job = create(s, folder.file(state.pairs()), lammd={"steps": 400})["id"]
        crashed = set()
        while get(s, job)["status"] not in state.OVER:
            pid = folder.pid(job)
            if pid and pid not in crashed:
                os.kill(pid, signal.SIGSEGV)
                crashed.add(pid)
            time.sleep(0.01)
        now = get(s, job)
        assert now["status"] == "failed" and now["error"]["code"] == "crashed" and len(crashed) == 3, now


class MemoryGroup:
    """A control group of this machine that can have a limit."""

    def __init__(self):
        top, self.limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
        self.used = "memory.usage_in_bytes"
        if not os.path.isdir(top):
            top, self.limit, self.used = "/sys/fs/cgroup", "memory.max", "memory.current"
        self.path = os.path.join(top, f"lammd-test-{os.getpid()}")
        self.victims = []
        try:
            os.mkdir(self.path)
        except OSError as e:
            raise Skip(f"a memory limit needs to make a control group: {e}") from e
        if not os.path.exists(os.path.join(self.path, self.limit)):
            os.rmdir(self.path)
            raise Skip("control groups here count no memory")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for victim in self.victims:
            victim.kill()
            victim.wait()
        wait_for(lambda: not self.read("cgroup.procs"))
        os.rmdir(self.path)

    def add_victims(self, count):
        """The memory of an ended process comes back a moment later. Whoever wants a page until then
        has another process ended, the last one too. These are ended before all others."""
        for _ in range(count):
            victim = subprocess.Popen(["sleep", "600"])
            self.victims.append(victim)
            with open(f"/proc/{victim.pid}/oom_score_adj", "w", encoding="ascii") as f:
                f.write("1000")
            self.write("cgroup.procs", str(victim.pid))

    def read(self, name):
        with open(os.path.join(self.path, name), encoding="ascii") as f:
            return f.read()

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as f:
            f.write(text)


def test_a_run_that_takes_too_much_memory_is_given_up():
    """The kernel ends it, three times, or it has counted what it would take; serving goes on."""
    with MemoryGroup() as group, state.Folder() as folder:
        with folder.serve(under=("sh", "-c", f'echo $$ > {group.path}/cgroup.procs; exec "$@"', "sh")) as s:
            job = create(s, folder.file(state.pairs()), lammd={"steps": 400})["id"]
            wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 1)
            act(s, job, "pause")
            wait(s, job, "paused")
            group.add_victims(32)
            group.write(group.limit, str(int(group.read(group.used)) + (14 << 20)))
            act(s, job, "resume")
            now = wait(s, job, "failed")
            assert now["error"]["code"] == "too_big", now
            was_killed = "memory ran out" in now["error"]["message"]
            assert now["lammd"]["attempts"] == (3 if was_killed else 0), now
            assert s.ask("GET", "/readyz").status == 200
            group.write(group.limit, "-1" if "limit" in group.limit else "max")


def run_events(folder, job):
    """What its run wrote so far; a line that is cut is none."""
    try:
        with open(folder.run(job, "events.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("}\n")]
    except FileNotFoundError:
        return []


def again(folder, job):
    """How many steps were computed again behind each start of its run."""
    out, at = [], 0
    for event in run_events(folder, job):
        if event["event"] in ("start", "resume"):
            out.append(at - event["step"])
        elif event["event"] == "step":
            at = event["step"]
    return out


def kills(folder, steps, rounds, rng):
    """Jobs, one after the other, while their daemon and their runs are killed; what they say in the
    end, and how often what was killed."""
    s, job, done, killed = folder.serve(), None, [], collections.Counter()
    try:
        while job or sum(killed.values()) < rounds:
            job = job or create(s, folder.file(state.pairs()), lammd={"steps": steps})["id"]
            time.sleep(rng.random() * 1.5)
            now = get(s, job) if sum(killed.values()) < rounds else wait(s, job)
            if now["status"] in state.OVER:
                done, job = [*done, now], None
                continue
            what = rng.choice(("daemon", "run", "run", "both", "stop"))
            pid = folder.pid(job)
            if what in ("run", "both") and pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    killed["run"] += 1
            if what in ("daemon", "both", "stop"):
                s.end(signal.SIGTERM if what == "stop" else signal.SIGKILL)
                killed["daemon by SIGTERM" if what == "stop" else "daemon"] += 1
                s = folder.serve()
        return done, killed
    finally:
        s.end()


def test_killed_at_any_moment_to_the_same_bits():
    rounds, steps = (100, 400) if IS_LONG else (5, 40)
    rng = random.Random(int(os.environ.get("SEED", "1")))
    with state.Folder() as folder:
        with folder.serve() as s:
            whole = wait(s, create(s, folder.file(state.pairs()), lammd={"steps": steps})["id"])
        assert whole["status"] == "succeeded"
        done, killed = kills(folder, steps, rounds, rng)
        assert all(job["status"] == "succeeded" for job in done), done
        lost = [n for job in done for n in again(folder, job["id"])]
        assert max(lost) <= steps // 10, lost  # a tenth of the run lies between two checkpoints
        for job in done:
            assert digest(folder, job["fine_tuned_model"]) == digest(folder, whole["fine_tuned_model"])
        print(f"killed: {', '.join(f'{what} {n} times' for what, n in sorted(killed.items()))}; {len(done)} jobs of {steps} "
              f"steps, none lost, all of the same bits; of {len(lost)} starts at most {max(lost)} steps again, {sum(lost)} in all")


def test_a_daemon_that_ends_takes_its_run_along_and_goes_on():
    with state.Folder() as folder:
        s = folder.serve()
        job = create(s, folder.file(state.pairs()), lammd={"steps": 60})["id"]
        wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 3)
        assert folder.pid(job) and s.end() == 0 and not folder.pid(job)
        with folder.serve() as s:
            now = wait(s, job, "running", "succeeded")
            assert now["lammd"]["step"] >= 3 and wait(s, job)["status"] == "succeeded"
            texts = [e["message"] for e in all_events(s, job)]
            assert any("was stopped" in t for t in texts) and any(t.startswith("Training goes from step ") for t in texts)


def test_a_daemon_that_is_killed_finds_its_run_again():
    with state.Folder() as folder:
        s = folder.serve()
        job = create(s, folder.file(state.pairs()), lammd={"steps": 60})["id"]
        wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 1)
        pid = folder.pid(job)
        s.end(signal.SIGKILL)
        assert pid and folder.pid(job) == pid
        with folder.serve() as s:
            wait_for(lambda: "event=job_adopted" in s.log())
            assert folder.pid(job) == pid
            act(s, job, "cancel")
            assert wait(s, job)["status"] == "cancelled" and not folder.pid(job)


def test_a_full_disk_pauses_the_job_and_serving_goes_on():
    room = tempfile.mkdtemp(prefix="lammd-full-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", room], capture_output=True,
                      check=False).returncode:
        os.rmdir(room)
        raise Skip("a small disk needs to mount a tmpfs")
    try:
        with state.Folder() as folder:
            folder.path = os.path.join(room, "state")
            with folder.serve("--state-free-mib", "0") as s:
                file = folder.file(state.pairs())
                job = create(s, file, lammd={"steps": 60})["id"]
                wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 1)
                with contextlib.suppress(OSError), open(os.path.join(room, "full"), "wb") as f:
                    while True:
                        f.write(b"\0" * 4096)
                        f.flush()
                now = wait(s, job, "paused")
                assert now["error"]["code"] == "no_space", now
                assert s.ask("GET", "/readyz").status == 200
                os.unlink(os.path.join(room, "full"))
                act(s, job, "resume")
                assert wait(s, job)["status"] == "succeeded"
    finally:
        subprocess.run(["umount", "-l", room], check=False)
        os.rmdir(room)


def take(folder, *words, under=()):
    return subprocess.run([*under, PROGRAM, "train", "--take", folder.path, *words], capture_output=True, text=True,
                          timeout=SOON, check=False, env={**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                                                          "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})


def test_a_run_is_claimed_by_whoever_takes_it():
    with state.Folder() as folder:
        with folder.serve() as s:
            whole = wait(s, create(s, folder.file(state.pairs()), lammd=FAST)["id"])
        with folder.serve("--launcher", "pull") as s:
            file = folder.file(state.pairs())
            assert take(folder).returncode == 0  # nothing waits
            first, second = (create(s, file, lammd=FAST)["id"] for _ in range(2))
            ways = [()]
            if shutil.which("mpirun"):
                ways.append(("mpirun", "--oversubscribe", "-np", "2"))
            else:
                print("skip: take by mpirun: apt-get install openmpi-bin")
            wait(s, second, "queued")
            wait_for(lambda: os.path.exists(folder.run(second, "queued")))
            for under in ways:
                done = take(folder, *(("--comm", "mpi") if under else ()), under=under)
                assert done.returncode == 0, done
            for job in (first, second)[:len(ways)]:
                now = wait(s, job)
                assert now["status"] == "succeeded", now
                assert digest(folder, now["fine_tuned_model"]) == digest(folder, whole["fine_tuned_model"])
            job = create(s, file, lammd={"steps": 400})["id"]
            wait_for(lambda: os.path.exists(folder.run(job, "queued")))
            taker = Thread(target=take, args=(folder,))
            taker.start()
            wait(s, job, "running", also=lambda j: j["lammd"]["step"] >= 1)
            act(s, job, "pause")
            wait(s, job, "paused")
            taker.join(SOON)
            assert "Nothing waits" in take(folder).stderr
            assert act(s, job, "cancel")["status"] == "cancelled"


def test_the_official_client():
    python = os.environ.get("OPENAI_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import openai"], capture_output=True, check=False).returncode:
        raise Skip("openai is not installed (pip install openai); OPENAI_PYTHON may name a python that has it")
    script = """
import sys, openai
c = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key=sys.argv[2], max_retries=0)
job = c.fine_tuning.jobs.create(model="small", training_file=sys.argv[3], suffix="o", seed=3,
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 4}}},
    extra_body={"lammd": {"recipe": "own"}}, extra_headers={"Idempotency-Key": "o-1"})
assert job.status in ("validating_files", "queued", "running") and job.object == "fine_tuning.job"
c.fine_tuning.jobs.pause(job.id); c.fine_tuning.jobs.resume(job.id)
import time
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(0.1); job = c.fine_tuning.jobs.retrieve(job.id)
assert job.status == "succeeded" and job.fine_tuned_model.startswith("ft:small:o:"), job
assert job.hyperparameters.n_epochs == 3 and job.method.supervised.hyperparameters.batch_size == 4
events = list(c.fine_tuning.jobs.list_events(job.id, limit=5))
assert len(events) > 8 and any(e.type == "metrics" for e in events) and len({e.id for e in events}) == len(events)
assert [j.id for j in c.fine_tuning.jobs.list(limit=1)] == [job.id]
kept = list(c.fine_tuning.jobs.checkpoints.list(job.id, limit=1))  # it turns the pages
assert kept[0].step_number > 0 and len({k.id for k in kept}) == len(kept) > 1, kept
try:
    c.fine_tuning.jobs.cancel(job.id)
except openai.ConflictError as e:
    assert e.code == "wrong_state"
else:
    raise AssertionError("a job that is done was cancelled")
"""
    with state.Folder() as folder, folder.serve("--keep-checkpoints") as s:
        file = folder.file(state.pairs(), pictures=12)
        done = subprocess.run([python, "-c", script, f"http://127.0.0.1:{s.port}", folder.key, file],
                              capture_output=True, text=True, timeout=SOON, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
