"""state.py - a state folder for tests: a server that trains, files that are there, and what became
of jobs.

    with state.Folder() as folder, folder.serve() as s:
        file = folder.file(state.pairs(12))
        job = s.ask("POST", "/v1/fine_tuning/jobs", ...)

Files go into the folder and its database by hand, checked already: uploading them has tests of its
own. The model is lamm-mini with two layers, so a step takes some ten milliseconds.
"""
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time

import lamm
from suite import SOON

sys.path.append(os.path.join(lamm.ROOT, "tests", "train"))
try:
    import shards
    import small
except ImportError as e:
    shards, missing = None, str(e)

OVER = ("succeeded", "failed", "cancelled")
JOBS = "/v1/fine_tuning/jobs"


def pairs(n=12):
    """A tar of n pictures with three lines each."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as d, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        shards.pairs(d, n)
        for name in sorted(os.listdir(d)):
            t.add(os.path.join(d, name), name)
    return out.getvalue()


class Folder:
    def __init__(self, path=None):
        if not shards:
            raise lamm.Skip(f"{missing}: apt-get install python3-pil python3-numpy")
        self.own = None if path else tempfile.mkdtemp(prefix="lammd-jobs-")
        self.path = path or os.path.join(self.own, "state")
        self.model = os.path.join(self.own or path, "small")
        small.write(lamm.MINI, self.model)
        self.recipes = os.path.join(self.own or path, "recipes")
        shutil.copytree(os.path.join(lamm.ROOT, "recipes"), self.recipes)
        with open(os.path.join(self.recipes, "own.ini"), encoding="utf-8") as f:
            text = f.read()  # the gate asks some hundred questions: a minute and more
        with open(os.path.join(self.recipes, "own.ini"), "w", encoding="utf-8") as f:
            f.write(text.replace("[run]", "[run]\ngate = no", 1))
        with open(os.path.join(self.recipes, "gated.ini"), "w", encoding="utf-8") as f:
            f.write(text)
        self.keys = os.path.join(self.own or path, "keys")
        self.key, self.other, self.asking = map(self.new_key, ("train,metrics", "train", "ask"))

    def new_key(self, scopes):
        made = subprocess.run([lamm.PROGRAM, "keys", "new", "test", "--keys", self.keys, "--scopes", scopes],
                              capture_output=True, text=True, check=True)
        return made.stdout.split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end_runs()
        if self.own:
            shutil.rmtree(self.own, ignore_errors=True)

    def serve(self, *options, env=None, under=()):
        """`listening` and ready."""
        s = lamm.Server("--state", self.path, "--keys", self.keys, "--recipes", self.recipes, "--drain-timeout", "5", *options,
                        model=self.model, env=env, under=under)
        ask, key = s.ask, {"Authorization": f"Bearer {self.key}"}
        s.ask = lambda method, path, body=None, headers=None, timeout=SOON: ask(
            method, path, body, {**key, **(headers or {})}, timeout)
        return s

    @contextlib.contextmanager
    def db(self):
        c = sqlite3.connect(os.path.join(self.path, "jobs.db"), timeout=SOON)
        try:
            with c:
                yield c
        finally:
            c.close()

    def file(self, data, status=1, pictures=0, purpose="fine-tune"):
        """Adds a file that was checked; its id."""
        sha = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "files", sha), "wb") as f:
            f.write(data)
        key = "file-" + os.urandom(12).hex()
        report = json.dumps({"pictures": pictures}) if pictures else ""
        with self.db() as c:
            c.execute("INSERT INTO files(id, name, purpose, sha256, owner, bytes, created, status, report)"
                      " VALUES(?, 'pairs.tar', ?, ?, '', ?, ?, ?, ?)",
                      (key, purpose, sha, len(data), int(time.time()), status, report))
        return key

    def run(self, job, name):
        return os.path.join(self.path, "runs", job, name)

    def pid(self, job):
        """The process of a run, by its lock; 0: none."""
        try:
            with open(self.run(job, "lock"), encoding="ascii") as f:
                pid = int(f.read() or 0)
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read()
                return pid if job.encode() in words or b"--take" in words else 0
        except (OSError, ValueError):
            return 0

    def end_runs(self):
        runs = os.path.join(self.path, "runs")
        for job in os.listdir(runs) if os.path.isdir(runs) else ():
            pid = self.pid(job)
            if pid:
                os.kill(pid, signal.SIGKILL)


def create(s, file, headers=None, status=200, **fields):
    body = {"model": "small", "training_file": file, **fields}
    reply = s.ask("POST", JOBS, json.dumps(body), {**lamm.JSON, **(headers or {})})
    assert reply.status == status, (reply.status, reply.body)
    return reply.json()


def get(s, job):
    reply = s.ask("GET", f"{JOBS}/{job}")
    assert reply.status == 200, (reply.status, reply.body)
    return reply.json()


def wait(s, job, *states, wait_s=SOON, also=None):
    """The job, as soon as it is in one of these states (none given: over)."""
    end = time.monotonic() + wait_s
    while True:
        now = get(s, job)
        if now["status"] in (states or OVER) and (not also or also(now)):
            return now
        if now["status"] in OVER or time.monotonic() > end:
            raise AssertionError(f"{now}\n{s.log()[-2000:]}")
        time.sleep(0.05)


def act(s, job, what, status=200):
    reply = s.ask("POST", f"{JOBS}/{job}/{what}")
    assert reply.status == status, (reply.status, reply.body)
    return reply.json()
