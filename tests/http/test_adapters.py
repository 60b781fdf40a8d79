"""test_adapters.py - adapters over HTTP: named, loaded, judged, promoted, taken back; and what
stays of it when the server is killed.

Adapters are made here: LoRAs of random numbers for the tiny model, large enough to change answers.
"""
import base64
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading

import photos
import suite
from lamm import JSON, MINI, PNG, PROGRAM, TINY, Server
from suite import SOON, Thread

BODY = photos.png()
PROJECTIONS = ("q_proj", "v_proj")


def floats(shape, seed, scale):
    rng = random.Random(seed)
    n = shape[0] * shape[1]
    return struct.pack(f"<{n}f", *(rng.uniform(-scale, scale) for _ in range(n)))


def safetensors(tensors):
    head, data = {}, b""
    for name, (shape, raw) in sorted(tensors.items()):
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def lora(folder, seed, rank=4, hidden=64, layers=2):
    """An adapter as peft saves it."""
    os.makedirs(folder, exist_ok=True)
    tensors = {}
    for layer in range(layers):
        for i, place in enumerate(PROJECTIONS):
            name = f"base_model.model.model.layers.{layer}.self_attn.{place}.lora_"
            tensors[name + "A.weight"] = ((rank, hidden), floats((rank, hidden), (seed * 7 + layer) * 2 + i, 0.5))
            tensors[name + "B.weight"] = ((hidden, rank), floats((hidden, rank), (seed * 11 + layer) * 2 + i, 0.5))
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as f:
        f.write(safetensors(tensors))
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank,
                   "target_modules": sorted(PROJECTIONS), "base_model_name_or_path": "tiny", "bias": "none"}, f)


def gate(folder, decision):
    row = {"task": "refer", "metric": "P@0.5", "higher_is_better": True, "n": 64, "before": 0.41, "after": 0.12,
           "difference": -0.29, "low": -0.4, "high": -0.1, "p_worse": 0.99, "decision": decision}
    with open(os.path.join(folder, "gate.json"), "w") as f:
        json.dump({"version": 1, "decision": decision, "items": 64, "tasks": [row], "battery": [],
                   "why": f"refer is {decision}"}, f)


class Place:
    """A folder of --state with adapters a, b, c, a key for everything, and the server in it."""

    def __init__(self, *options, names="abc", model=TINY, **sizes):
        self.model = model
        self.folder = tempfile.TemporaryDirectory()
        self.keys, self.state = self.path("keys"), self.path("state")
        os.makedirs(self.path("state/adapters"), mode=0o700)
        for i, name in enumerate(names):
            lora(self.adapter(name), i + 1, **sizes)
        if "b" in names:
            gate(self.adapter("b"), "worse")
        if "a" in names:
            gate(self.adapter("a"), "better")
        self.key = {scopes: self.new_key(scopes) for scopes in ("ask,metrics,train,promote", "ask", "ask,train")}
        self.socket = self.path("admin.sock")
        self.options = ["--keys", self.keys, "--state", self.state, "--admin-socket", self.socket, *options]
        self.server = None
        self.start()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def adapter(self, name):
        return self.path("state/adapters/" + name)

    def new_key(self, scopes):
        done = subprocess.run([PROGRAM, "keys", "new", scopes, "--scopes", scopes, "--keys", self.keys],
                              capture_output=True, text=True, timeout=SOON, check=True)
        return done.stdout.strip()

    def start(self, *options):
        self.server = Server(*self.options, *options, model=self.model)

    def ask(self, method, path, body=None, headers=None, scopes="ask,metrics,train,promote"):
        headers = {**(headers or {}), "Authorization": "Bearer " + self.key[scopes]}
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body), {**headers, **JSON}
        return self.server.ask(method, path, body, headers)

    def load(self, name):
        return self.ask("POST", "/v1/adapters", {"name": name})

    def promote(self, name, **fields):
        return self.ask("POST", f"/v1/adapters/{name}/promote", fields)

    def seen(self, model=None):
        """What the model sees, as a PNG; and who says so."""
        query = f"?model={model}" if model else ""
        reply = self.ask("POST", "/v1/reconstruct" + query, BODY, PNG)
        assert reply.status == 200, reply.body
        return reply.body, reply.headers["X-Lammd-Model"]

    def events(self):
        return [(e["event"], e["name"]) for e in self.ask("GET", "/v1/adapters/history").json()["data"]][::-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.server.end() != 0:
                raise AssertionError(self.server.log()[-3000:])
        finally:
            self.folder.cleanup()


def refused(reply, status, code):
    assert (reply.status, reply.code) == (status, code), (reply.status, reply.body)
    return reply.json()["detail"]


def test_an_answer_changes_and_changes_back():
    with Place() as p:
        base, by = p.seen()
        assert by == "tiny" and p.seen("lammd") == p.seen("tiny") == (base, "tiny")
        assert p.load("a").status == 201 and p.load("a").status == 200 and p.load("b").status == 201
        mine, other = p.seen("a"), p.seen("b")
        assert (mine[1], other[1]) == ("a", "b") and len({base, mine[0], other[0]}) == 3
        assert p.seen() == (base, "tiny")
        assert p.promote("a").json() == {"default": "a", "changed": True}
        assert p.promote("a").json() == {"default": "a", "changed": False}
        assert p.seen() == p.seen("lammd") == mine and p.seen("tiny") == (base, "tiny")
        assert p.ask("POST", "/v1/adapters/rollback").json() == {"default": "tiny", "changed": True}
        assert p.seen() == (base, "tiny") and p.seen("a") == mine
        refused(p.ask("POST", "/v1/adapters/rollback"), 409, "nothing_before")
        assert p.ask("DELETE", "/v1/adapters/a").json() == {"id": "a", "object": "adapter", "deleted": True}
        assert "there are lammd, tiny, b" in refused(p.ask("POST", "/v1/reconstruct?model=a", BODY, PNG), 404, "model_not_found")
        assert p.events() == [("load", "a"), ("load", "b"), ("promote", "a"), ("rollback", "tiny"), ("unload", "a")]
        slots = p.ask("GET", "/v1/adapters").json()
        assert (slots["slots"], slots["slots_taken"], slots["default"]) == (4, 1, "tiny")


def test_every_call_takes_a_model():
    with Place() as p:
        assert p.load("a").status == 201
        calls = [("/v1/reconstruct", {"width": 2}), ("/v1/pixels", {"points": [[0, 0]]}), ("/v1/refer", {"sentence": "x"}),
                 ("/v1/segment", {"sentence": "x"}), ("/v1/describe", {}), ("/v1/vqa", {"question": "x?"})]
        image = "data:image/png;base64," + base64.b64encode(BODY).decode()
        for path, fields in calls:
            for model in ("a", "tiny", "lammd"):
                reply = p.ask("POST", path, {"image": image, "model": model, **fields}, {"Accept": "application/json"})
                assert reply.status == 200, (path, reply.body)
                name = "a" if model == "a" else "tiny"
                assert reply.headers["X-Lammd-Model"] == name, path
                assert path == "/v1/pixels" or reply.json()["model"] == name, path
            refused(p.ask("POST", path, {"image": image, "model": "gpt-4o", **fields}), 404, "model_not_found")
            refused(p.ask("POST", path, {"image": image, "model": 7, **fields}), 400, "invalid_parameter")
        hi = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        for model, name in (("a", "a"), (None, "tiny"), ("tiny", "tiny")):
            reply = p.ask("POST", "/v1/chat/completions", {"model": model, **hi})
            assert reply.json()["model"] == name
        got = p.ask("POST", "/v1/chat/completions", {"model": "a", "stream": True, **hi}).body.decode()
        assert '"model":"a"' in got and '"model":"tiny"' not in got
        models = {m["id"]: m for m in p.ask("GET", "/v1/models").json()["data"]}
        assert list(models) == ["tiny", "lammd", "a"]
        assert models["a"]["parent"] == "tiny" and models["lammd"]["stands_for"] == "tiny"
        assert p.ask("GET", "/v1/models/a").json() == models["a"]


def test_games():
    """A game that names a model stays with it; one that names none goes with the default."""
    image = "data:image/png;base64," + base64.b64encode(photos.png(0, 96, 96)).decode()
    with Place(names="a", model=MINI, hidden=256, layers=4) as p:
        assert p.load("a").status == 201
        play = {"frames": [image, image], "game": "car_racing"}
        for model, name in (("a", "a"), ("lamm-mini", "lamm-mini")):
            reply = p.ask("POST", "/v1/act", {"model": model, **play})
            assert reply.status == 200 and reply.json()["model"] == name, reply.body
        refused(p.ask("POST", "/v1/act", {"model": "b", **play}), 404, "model_not_found")
        refused(p.ask("POST", "/v1/act/sessions", {"game": "car_racing", "model": "b"}), 404, "model_not_found")
        named, free = (p.ask("POST", "/v1/act/sessions", {"game": "car_racing", **model}).headers["Location"]
                       for model in ({"model": "a"}, {}))

        def step(path):
            return p.ask("POST", path, photos.png(0, 96, 96), PNG)
        assert step(named).json()["model"] == "a" and step(free).json()["model"] == "lamm-mini"
        assert p.promote("a", force=True).status == 200
        assert step(named).json()["model"] == step(free).json()["model"] == "a"
        assert p.ask("POST", "/v1/adapters/rollback").status == 200 and p.ask("DELETE", "/v1/adapters/a").status == 200
        assert step(free).json()["model"] == "lamm-mini"
        refused(step(named), 404, "model_not_found")


def test_the_gate():
    with Place() as p:
        for name in "abc":
            assert p.load(name).status == 201
        reply = p.promote("b")
        assert "refer is worse" in refused(reply, 409, "gate_refused")
        row = reply.json()["gate"]["tasks"][0]
        assert (row["before"], row["after"]) == (0.41, 0.12)
        assert "no gate.json" in refused(p.promote("c"), 409, "gate_not_decided")
        gate(p.adapter("c"), "not_decided")
        refused(p.promote("c", force=False), 409, "gate_not_decided")
        assert p.promote("c", force=True).status == 200 and p.seen()[1] == "c"
        assert p.promote("b", force=True).status == 200
        refused(p.ask("DELETE", "/v1/adapters/b"), 409, "adapter_is_default")
        lora(p.adapter("b"), 77)
        refused(p.load("b"), 409, "adapter_is_default")  # nobody promoted that
        assert [e["forced"] for e in p.ask("GET", "/v1/adapters/history").json()["data"]][:2] == [True, True]
        assert p.ask("GET", "/v1/adapters/b").json()["gate"]["decision"] == "worse"
        text = p.ask("GET", "/metrics").body.decode()
        assert 'lammd_adapter_promotions_total{outcome="forced"} 2' in text
        assert 'lammd_adapter_promotions_total{outcome="refused"} 3' in text
        assert re.search(r'lammd_adapter_info\{name="b",sha256="[0-9a-f]{64}",default="true"\} 1', text)
        assert p.promote("tiny").json() == {"default": "tiny", "changed": True}


def test_two_promotions_at_once():
    with Place() as p:
        for name in "ab":
            assert p.load(name).status == 201
        before = len(p.events())
        for _ in range(suite.count(5, 50)):
            replies = []
            threads = [Thread(target=lambda n=n: replies.append(p.promote(n, force=True))) for n in "ab"]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert [r.status for r in replies] == [200, 200]
        lines = p.events()[before:]
        assert all(x != y for x, y in zip(lines, lines[1:]))  # one after the other, none twice
        assert p.seen()[1] == lines[-1][1]


def test_bad_input():
    with Place("--adapters", "2", "--adapter-rank", "8", names="abcd") as p:
        for name in ("nothing", "..", "../keys", "a/b", "/etc", "lammd", "history", "tiny", ".a", "-a", "a b", "x" * 95):
            refused(p.load(name), 404, "adapter_not_found")
        refused(p.load("x" * 96), 400, "invalid_parameter")
        refused(p.ask("POST", "/v1/adapters", {}), 400, "missing_parameter")
        refused(p.ask("POST", "/v1/adapters", {"name": "a", "folder": "/"}), 400, "unknown_parameter")
        refused(p.ask("POST", "/v1/adapters", b"name=a", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
        os.makedirs(p.adapter("empty"))
        assert "neither" in refused(p.load("empty"), 404, "adapter_not_found")
        lora(p.adapter("wide"), 9, hidden=256, layers=4)
        why = refused(p.load("wide"), 422, "adapter_does_not_fit")
        assert "wide" in why and p.folder.name not in why, why
        lora(p.adapter("large"), 9, rank=16)
        assert "16" in refused(p.load("large"), 422, "adapter_does_not_fit")
        lora(p.adapter("other"), 9)
        with open(p.adapter("other") + "/lammd.json", "w") as f:
            json.dump({"version": 1, "base": "0" * 64, "vision": "0" * 64, "text": "0" * 64}, f)
        why = refused(p.load("other"), 422, "adapter_does_not_fit")
        assert p.folder.name not in why, why
        assert p.load("a").status == p.load("b").status == 201
        assert "all 2 slots" in refused(p.load("c"), 503, "no_slot")
        refused(p.promote("nothing"), 404, "adapter_not_found")
        refused(p.promote("c"), 409, "adapter_not_loaded")
        refused(p.promote("a", force="yes"), 400, "invalid_parameter")
        refused(p.ask("POST", "/v1/adapters/a/promote", b"x", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
        refused(p.ask("POST", "/v1/adapters/rollback", b"x", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
        refused(p.ask("POST", "/v1/adapters/rollback", {"to": "a"}), 400, "unknown_parameter")
        refused(p.ask("DELETE", "/v1/adapters/c"), 409, "adapter_not_loaded")
        refused(p.ask("DELETE", "/v1/adapters/nothing"), 404, "adapter_not_found")
        refused(p.ask("GET", "/v1/adapters/nothing"), 404, "adapter_not_found")
        assert p.seen()[1] == "tiny"


def test_scopes():
    with Place() as p:
        for scopes in ("ask", "ask,train"):
            refused(p.ask("POST", "/v1/adapters", {"name": "a"}, scopes=scopes), 403, "scope_missing")
            refused(p.ask("POST", "/v1/adapters/a/promote", {"force": True}, scopes=scopes), 403, "scope_missing")
            refused(p.ask("POST", "/v1/adapters/rollback", scopes=scopes), 403, "scope_missing")
            refused(p.ask("DELETE", "/v1/adapters/a", scopes=scopes), 403, "scope_missing")
        refused(p.ask("GET", "/v1/adapters", scopes="ask"), 403, "scope_missing")
        assert p.ask("GET", "/v1/adapters", scopes="ask,train").status == 200
        assert p.events() == []


def test_without_a_folder():
    with Place(names="") as p:
        p.server.end()
        p.options = p.options[:2]
        p.start()
        for method, path in (("GET", "/v1/adapters"), ("GET", "/v1/adapters/history"), ("GET", "/v1/adapters/a"),
                             ("DELETE", "/v1/adapters/a"), ("POST", "/v1/adapters/a/promote"), ("POST", "/v1/adapters/rollback")):
            assert "--state DIR" in refused(p.ask(method, path), 503, "no_state")
        refused(p.load("a"), 503, "no_state")


def test_it_outlives_a_kill():
    with Place() as p:
        for name in "ab":
            assert p.load(name).status == 201
        assert p.promote("a").status == 200
        mine = p.seen()
        for cut in (0, 7):
            p.server.end(signal.SIGKILL)
            with open(p.path("state/adapters/history.jsonl"), "ab") as f:
                f.write(b'{"time":"2026-01-31T12:00:00Z","event":"rollback"'[:cut])
            p.start()
            assert p.seen() == mine and p.seen("b")[1] == "b"
            assert p.events() == [("load", "a"), ("load", "b"), ("promote", "a")]
        # What can't be loaded any more is missed aloud, and the base answers.
        p.server.end()
        shutil.move(p.adapter("a"), p.path("elsewhere"))
        p.start()
        assert p.seen()[1] == "tiny" and "default_lost" in p.server.log()
        lost = p.ask("GET", "/v1/adapters/a").json()
        assert lost["state"] == "not_loaded" and lost["why"]
        shutil.move(p.path("elsewhere"), p.adapter("a"))
        assert p.load("a").status == 201 and p.seen() == mine
        p.server.end()
        with open(p.path("state/adapters/history.jsonl"), "ab") as f:
            f.write(b"nonsense\n")
        done = subprocess.run([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", TINY, *p.options],
                              capture_output=True, text=True, timeout=SOON, check=False)
        assert done.returncode == 1 and "history.jsonl: line 5: " in done.stderr, done
        os.truncate(p.path("state/adapters/history.jsonl"), 0)
        p.start()


def test_one_server_a_folder():
    with Place(names="a") as p:
        done = subprocess.run([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", TINY, "--state", p.state],
                              capture_output=True, text=True, timeout=SOON, check=False)
        assert done.returncode == 1 and "another lammd serve has it" in done.stderr, done
        done = subprocess.run([PROGRAM, "serve", "--adapters", "2"], capture_output=True, text=True, timeout=SOON, check=False)
        assert done.returncode == 2 and "--state DIR" in done.stderr, done
    with tempfile.TemporaryDirectory() as top:
        with Server("--state", top + "/new", model=TINY):
            assert os.stat(top + "/new").st_mode & 0o7777 == 0o700


def test_full_disk():
    """What can't be written down is not done."""
    with Place() as p:
        assert p.load("a").status == 201
        subprocess.run(["prlimit", f"--pid={p.server.process.pid}", "--fsize=1"], check=True)
        refused(p.promote("a"), 503, "state_unwritable")
        refused(p.load("b"), 503, "state_unwritable")
        refused(p.ask("DELETE", "/v1/adapters/a"), 503, "state_unwritable")
        assert p.seen()[1] == "tiny" and p.seen("a")[1] == "a"


def test_the_command():
    with Place() as p:
        def run(*words, ok=True, **env):
            done = subprocess.run([PROGRAM, "adapters", *words], capture_output=True, text=True, timeout=SOON, check=False,
                                  env={**os.environ, **env})
            assert (done.returncode == 0) == ok, done
            return done.stdout if ok else done.stderr
        url = ["--url", f"http://127.0.0.1:{p.server.port}"]
        key = p.key["ask,metrics,train,promote"]
        with open(p.path("key"), "w") as f:
            f.write(key + "\n")
        by_file, by_socket = [*url, "--key-file", p.path("key")], ["--admin-socket", p.socket]
        assert "a is loaded" in run("load", "a", *by_file)
        assert "b is loaded" in run("load", "b", *by_socket)
        assert "the default is a\n" == run("promote", "a", *url, LAMMD_KEY=key)
        assert "as before" in run("promote", "a", *by_socket)
        why = run("promote", "b", *by_socket, ok=False)
        assert "gate_refused" in why and "before 0.41, after 0.12 (worse)" in why
        assert "the default is b" in run("promote", "b", "--force", *by_socket)
        listed = run("list", *by_file)
        assert re.search(r"^b +loaded +4 .*default$", listed, re.M) and "2 of 4 slots taken" in listed
        assert "the default is a" in run("rollback", *by_socket)
        assert "b is unloaded" in run("unload", "b", *by_socket)
        lines = run("history", *by_file).splitlines()
        assert "admin-socket" in lines[0] and "(forced)" in lines[2] and len(lines) == 6, lines
        assert "scope_missing" in run("rollback", *url, ok=False, LAMMD_KEY=p.key["ask"])
        assert "unauthorized" in run("list", *url, ok=False, LAMMD_KEY="")
        assert "adapter_not_found" in run("load", "../keys", *by_socket, ok=False)
        assert "speaks no TLS" in run("list", "--url", "https://localhost", ok=False)
        assert "is lammd serve running there?" in run("list", "--url", "http://127.0.0.1:1", ok=False)
        assert "usage: lammd adapters" in run("fly", ok=False)


def test_under_load():
    """Whatever an operator does, nobody's request fails."""
    with Place("--adapters", "4") as p:
        stop, failed, count = threading.Event(), [], [0, 0, 0]

        def ask(i):
            connection = http.client.HTTPConnection("127.0.0.1", p.server.port, timeout=SOON)
            headers = {**PNG, "Authorization": "Bearer " + p.key["ask"], "Accept": "application/json"}
            path = ("/v1/reconstruct?width=4&height=4", "/v1/describe?model=lammd&max_tokens=4", "/v1/pixels?points=[[0,0]]&model=tiny")[i]
            while not stop.is_set():
                connection.request("POST", path, body=BODY, headers=headers)
                reply = connection.getresponse()
                body = reply.read()
                count[i] += 1
                if reply.status != 200:
                    failed.append((path, reply.status, body))
            connection.close()

        def load(name):
            """A slot is free when the last that began with it has ended."""
            def is_loaded():
                reply = p.load(name)
                assert reply.status == 201 or reply.code == "no_slot", reply.body
                return reply.status == 201
            suite.wait_for(is_loaded)

        threads = [Thread(target=ask, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        try:
            for round_ in range(suite.count(4, 60)):
                load("a")
                assert p.promote("a").status == 200
                load("b")
                assert p.promote("b", force=True).status == 200
                lora(p.adapter("a"), 100 + round_)
                load("a")  # another one under its name
                assert p.promote("a").status == 200
                assert p.ask("POST", "/v1/adapters/rollback").json()["default"] == "b"
                assert p.promote("tiny").status == 200
                for name in "ab":
                    assert p.ask("DELETE", f"/v1/adapters/{name}").status == 200
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not failed, failed[:3]
        assert min(count) > 10, count
        suite.wait_for(lambda: p.ask("GET", "/v1/adapters").json()["slots_taken"] == 0)


def test_the_socket_needs_no_key():
    with Place(names="a") as p:
        s = socket.socket(socket.AF_UNIX)
        s.connect(p.socket)
        s.sendall(b"POST /v1/adapters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 12\r\n\r\n{\"name\":\"a\"}")
        got = b""
        while piece := s.recv(65536):
            got += piece
        assert b"HTTP/1.1 201 " in got, got
        assert p.ask("GET", "/v1/adapters/history").json()["data"][0]["key"] == "admin-socket"
