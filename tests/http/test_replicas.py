"""test_replicas.py - deploy/haproxy.cfg as it is, before three servers: who gets what; drain, kill;
and adapters in a folder that all of them share.

Ports and the socket are put in their places. Skips aloud where HAProxy is not installed.
"""
import http.client
import json
import os
import random
import re
import shutil
import socket
import signal
import subprocess
import tempfile
import threading
import time

import photos
from lamm import JSON, MINI, PNG, PROGRAM, ROOT, TINY, Reply, Server, Skip, data_url
from suite import SOON, Thread, count, wait_for
from test_adapters import gate, lora
from test_proxies import free_port

HAPROXY = "/usr/sbin/haproxy"
NAMES = ("one", "two", "three")
PICTURES = 18


class Front:
    """HAProxy before servers, by their names."""

    def __init__(self, servers, fingerprint=None):
        if not os.path.exists(HAPROXY):
            raise Skip("haproxy is not installed")
        self.servers = servers
        self.folder = tempfile.mkdtemp()
        self.port = free_port()
        with open(os.path.join(ROOT, "deploy/haproxy.cfg"), encoding="utf-8") as f:
            text = f.read()
        text = text.replace("/run/haproxy/lammd.sock", self.folder + "/admin").replace("bind :8080", f"bind 127.0.0.1:{self.port}")
        for i, name in enumerate(NAMES):
            assert f"127.0.0.1:{8081 + i}" in text
            text = text.replace(f"127.0.0.1:{8081 + i}", f"127.0.0.1:{servers[name].port}")
        self.file = os.path.join(self.folder, "haproxy.cfg")
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(text)
        env = {**os.environ, **({"LAMMD_FINGERPRINT": fingerprint} if fingerprint else {})}
        self.log = open(os.path.join(self.folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.file], stdout=self.log, stderr=self.log, env=env)

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        try:
            c.request(method, path, body=body, headers=headers or {})
            answer = c.getresponse()
            return Reply(answer.status, {k.title(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            c.close()

    def states(self):
        """{name: "UP" or "DOWN" ...} as HAProxy sees them."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.folder + "/admin")
            s.sendall(b"show stat\n")
            said = b""
            while piece := s.recv(65536):
                said += piece
        rows = [line.split(",") for line in said.decode().splitlines() if line.startswith("lammd,")]
        return {r[1]: r[17] for r in rows if r[1] in NAMES}

    def up(self):
        assert self.process.poll() is None, open(self.log.name, encoding="utf-8").read()
        try:
            return {name for name, state in self.states().items() if state.startswith("UP")}
        except OSError:
            return set()

    def picture(self, i):
        """Ask about the i-th picture, whose digest the client sends: (status, who answered)."""
        body = json.dumps({"image": data_url(photos.png(i)), "sentence": "the red thing"})
        reply = self.ask("POST", "/v1/refer", body, {**JSON, "X-Picture-Digest": f"picture-{i}"})
        return reply.status, reply.headers.get("X-Lammd-Replica")

    def __enter__(self):
        wait_for(lambda: self.up() == set(NAMES))
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(SOON)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def shares(asker):
    """Who answers about each picture."""
    asked = [asker.picture(i) for i in range(PICTURES)]
    assert all(status == 200 for status, _ in asked), asked
    return [who for _, who in asked]


def replica(name, *options, model=TINY, kind=Server):
    return kind("--replica", name, "--trusted-proxy", "127.0.0.1", "--idle-timeout=5", *options, model=model)


class Three:
    """Three servers of one model."""

    def __init__(self, *options, kind=Server, end=signal.SIGTERM):
        self.options, self.kind, self.last = options, kind, end

    def __enter__(self):
        if not os.path.exists(HAPROXY):
            raise Skip("haproxy is not installed")
        self.servers = {name: replica(name, *self.options, kind=self.kind) for name in NAMES}
        for s in self.servers.values():
            wait_for(lambda s=s: s.ask("GET", "/readyz").status == 200)
        return self.servers

    def __exit__(self, *_):
        for s in self.servers.values():
            s.end(self.last)


def photo(i):
    """The i-th of PICTURES pictures of 100 KiB to 2 MiB, a PNG of noise."""
    width, height = 256, 140 + 153 * i  # 105 KiB and 115 KiB more each
    noise = random.Random(i).randbytes(3 * width * height)
    rows = b"".join(b"\0" + noise[at:at + 3 * width] for at in range(0, len(noise), 3 * width))
    return photos.png_of(width, height, rows=rows)


class Album:
    """The same questions as a Front's, about pictures far larger than HAProxy's buffer."""

    def __init__(self, front):
        self.front = front
        self.photos = [photo(i) for i in range(PICTURES)]
        assert len(self.photos[0]) > 100 << 10 and len(self.photos[-1]) > 2 << 20

    def picture(self, i):
        reply = self.front.ask("POST", "/v1/pixels?points=[[0,0]]", self.photos[i],
                               {**PNG, "X-Picture-Digest": f"photo-{i}"})
        return reply.status, reply.headers.get("X-Lammd-Replica")


class Load:
    """Clients that ask on and on, each about all pictures; what came of it, in order."""

    def __init__(self, front, clients=4):
        self.front, self.is_over, self.lock = front, False, threading.Lock()
        self.asked = []  # (begun, ended, picture, status, who)
        self.latest = [0.0] * clients  # when each began what it asks now
        self.threads = [Thread(target=self.go, args=(i,)) for i in range(clients)]
        for t in self.threads:
            t.start()

    def go(self, client):
        i = client
        while not self.is_over:
            i = (i + 5) % PICTURES
            self.latest[client] = begun = time.monotonic()
            try:
                status, who = self.front.picture(i)
            except (OSError, http.client.HTTPException) as e:
                status, who = repr(e), None
            with self.lock:
                self.asked.append((begun, time.monotonic(), i, status, who))

    def more(self, n):
        """Until n more were answered."""
        have = len(self.asked)
        wait_for(lambda: len(self.asked) >= have + n)

    def settle(self):
        """Until all that is on its way now was answered."""
        now = time.monotonic()
        wait_for(lambda: min(self.latest) > now)

    def end(self):
        self.is_over = True
        for t in self.threads:
            t.join(SOON)
        return self.asked


def test_a_picture_stays_with_its_replica():
    with Three() as servers, Front(servers) as front:
        first = shares(front)
        assert set(first) == set(NAMES), first  # 18 pictures: each has some
        assert shares(front) == first
        # Without a digest the body says it, whatever is asked about the same picture.
        big = photos.jpeg() + bytes(40000)
        by_body = {front.ask("POST", f"/v1/pixels?points=[[{i},0]]", big, {"Content-Type": "image/jpeg"})
                   .headers["X-Lammd-Replica"] for i in range(4)}
        assert len(by_body) == 1, by_body


def test_ids_lead_to_their_replica():
    with Three() as servers, Front(servers) as front:
        kept = {}
        for i in range(PICTURES):
            reply = front.ask("PUT", "/v1/images", photos.png(i), PNG)
            assert reply.status in (200, 201), reply.body
            kept.setdefault(reply.json()["id"].split("-")[0], reply.json()["id"])
        assert set(kept) == set(NAMES), kept
        for name, stored in kept.items():
            body = json.dumps({"sentence": "x", "image": {"id": stored}})
            reply = front.ask("POST", "/v1/refer", body, {**JSON, "X-Picture-Digest": "picture-1"})
            assert (reply.status, reply.headers["X-Lammd-Replica"]) == (200, name), reply.body
            content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "lammd:" + stored}}]
            body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 1})
            reply = front.ask("POST", "/v1/chat/completions", body, JSON)
            assert (reply.status, reply.headers["X-Lammd-Replica"]) == (200, name), reply.body
            assert front.ask("DELETE", "/v1/images/" + stored).status == 204
        for _ in range(6):
            game = front.ask("POST", "/v1/act/sessions", json.dumps({"game": "car_racing"}), JSON)
            assert game.status == 201, game.body
            name = game.json()["id"].split("-")[0]
            gone = front.ask("DELETE", "/v1/act/sessions/" + game.json()["id"])
            assert (gone.status, gone.headers["X-Lammd-Replica"]) == (204, name), gone.body


def drain(asker, front, servers, name, is_delayed=False):
    before = shares(asker)
    load = Load(asker)
    load.more(20)
    servers[name].process.send_signal(signal.SIGTERM)
    if is_delayed:
        wait_for(lambda: name not in front.up())
        assert servers[name].process.poll() is None
        load.settle()  # the slowest of what is on its way there, too
        servers[name].process.send_signal(signal.SIGTERM)
    assert servers[name].process.wait(SOON) == 0
    wait_for(lambda: name not in front.up())
    load.more(20)
    asked = load.end()
    failed = [a for a in asked if a[3] != 200]
    assert not failed, (len(asked), failed[:5])
    assert any(a[4] == name for a in asked)  # it was in use
    after = shares(asker)
    assert all(b == a for a, b in zip(before, after) if a != name), (before, after)
    assert name not in after


def kill(asker, front, servers, name):
    before = shares(asker)
    load = Load(asker)
    load.more(20)
    servers[name].process.kill()
    servers[name].process.wait(SOON)
    killed = time.monotonic()
    wait_for(lambda: name not in front.up())
    load.more(20)
    asked = load.end()
    failed = [a for a in asked if a[3] != 200]
    assert len(failed) <= len(load.threads), failed
    for begun, ended, picture, status, _ in failed:
        assert before[picture] == name and begun <= killed <= ended + 1, failed
        assert status in (502, 503) or "RemoteDisconnected" in str(status) or "ConnectionReset" in str(status), failed
        again = asker.picture(picture)
        assert again[0] == 200 and again[1] != name, again
    after = shares(asker)
    assert [(a, b) for a, b in zip(before, after) if a not in (b, name)] == []
    assert name not in after


def test_a_drain_fails_nothing():
    with Three() as servers, Front(servers) as front:
        for name in NAMES[:count(1, 2)]:
            drain(front, front, servers, name)


def test_a_drain_fails_no_picture_above_the_buffer():
    """HAProxy can't send them again: so a replica takes them until HAProxy sends no more."""
    with Three("--drain-delay=3600", end=signal.SIGKILL) as servers, Front(servers) as front:
        for name in NAMES[:count(1, 2)]:
            drain(Album(front), front, servers, name, is_delayed=True)


def test_a_kill_fails_what_was_on_its_way_there_alone():
    with Three() as servers, Front(servers) as front:
        kill(front, front, servers, "two")


def test_a_kill_fails_of_large_pictures_too_what_was_on_its_way_there():
    with Three() as servers, Front(servers) as front:
        kill(Album(front), front, servers, "two")


def test_a_replica_of_another_model_gets_nothing():
    with Three() as servers:
        fingerprint = servers["one"].ask("GET", "/readyz").json()["fingerprint"]
        with Server("--replica", "three", model=MINI) as other:
            wait_for(lambda: other.ask("GET", "/readyz").status == 200)
            assert other.ask("GET", "/readyz").json()["fingerprint"] != fingerprint
            front = Front({**servers, "three": other}, fingerprint)
            try:
                wait_for(lambda: front.up() == {"one", "two"})
                assert set(shares(front)) == {"one", "two"}
                wait_for(lambda: front.states()["three"] == "DOWN")
            finally:
                front.__exit__()


def test_bench_replicas_measures_one_two_and_three():
    if not os.path.exists(HAPROXY):
        raise Skip("haproxy is not installed")
    words = [PROGRAM, "bench", "replicas", "deploy/haproxy.cfg", "--model", TINY, "--limit", "2", "--repeat", "1"]
    r = subprocess.run([*words, "--json"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * SOON)
    assert r.returncode == 0, r.stderr
    assert all(json.loads(r.stdout)[f"pictures_per_second_{n}"] > 0 for n in (1, 2, 3)), r.stdout
    for wrong, text in (("/nowhere", "/nowhere: No such file"), ("README.md", "README.md: it has no")):
        r = subprocess.run([*words[:3], wrong, *words[4:]], cwd=ROOT, capture_output=True, text=True, check=False,
                           timeout=2 * SOON)
        assert r.returncode == 1 and text in r.stderr, r.stderr


class Shared:
    """A folder with the adapters a and b, which the gate found better."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "adapters")
        for i, name in enumerate("ab"):
            lora(os.path.join(self.path, name), i + 5)
            gate(os.path.join(self.path, name), "better")
        keys = os.path.join(self.folder.name, "keys")
        self.options = ("--shared-adapters", self.path, "--keys", keys)
        words = [PROGRAM, "keys", "new", "me", "--keys", keys, "--scopes", "ask,metrics,train,promote"]
        made = subprocess.run(words, capture_output=True, text=True, check=True, timeout=SOON)
        self.headers = {"Authorization": "Bearer " + made.stdout.strip()}
        return self

    def server(self, *options, **more):
        """It is always asked with the key."""
        headers = self.headers

        class Keyed(Server):
            def ask(self, method, path, body=None, extra=None):
                return super().ask(method, path, body, {**headers, **(extra or {})})
        return Keyed(*options, **more)

    def replica(self, name, *options):
        return replica(name, *self.options, *options, kind=self.server)

    def __exit__(self, *_):
        self.folder.cleanup()


def load(s, name):
    reply = s.ask("POST", "/v1/adapters", json.dumps({"name": name}), JSON)
    assert reply.status in (200, 201), reply.body


def promote(s, name):
    return s.ask("POST", f"/v1/adapters/{name}/promote", "{}", JSON)


def default(s):
    """What a server says that it serves, in each of the places that say it."""
    while True:
        listed, ready = s.ask("GET", "/v1/adapters").json(), s.ask("GET", "/readyz").json()
        said = s.ask("GET", "/metrics").body.decode()
        if listed == s.ask("GET", "/v1/adapters").json():
            break  # nothing has changed meanwhile
    name, sha = re.search(r'^lammd_default_info[{]name="(.*)",sha256="([0-9a-f]{64})"[}] 1$', said, re.M).groups()
    assert (name, ready["serves"]) == (listed["default"], "fp_" + sha[:12]), (name, sha, ready)
    assert f"\nlammd_default_behind {int(listed['behind'])}\n" in said and ready["behind"] == listed["behind"]
    return listed["default"]


def seen(s, model=None):
    """(who answered, what it saw)"""
    query = f"&model={model}" if model else ""
    reply = s.ask("POST", f"/v1/pixels?points=[[0,0],[3,4],[5,1]]{query}", photos.png(), PNG)
    assert reply.status == 200, reply.body
    return reply.headers["X-Lammd-Model"], json.dumps(reply.json())


def test_a_promotion_spreads():
    """What is promoted or rolled back at one answers at all; no answer is another's."""
    with Shared() as shared, Three(*shared.options, kind=shared.server) as servers, Front(servers) as front:
        for name in "ab":
            load(servers["one"], name)
        for s in servers.values():
            wait_for(lambda s=s: {m["id"] for m in s.ask("GET", "/v1/models").json()["data"]} >= {"a", "b"})
        sees = dict(seen(servers["one"], m) for m in ("tiny", "a", "b"))
        assert len(set(sees.values())) == 3
        for s in servers.values():  # one adapter is the same bits everywhere
            assert dict(seen(s, m) for m in sees) == sees and default(s) == "tiny"
        is_over, wrong, asked = threading.Event(), [], []

        def ask(i):
            while not is_over.is_set():
                i = (i + 1) % PICTURES
                reply = front.ask("POST", "/v1/pixels?points=[[0,0],[3,4],[5,1]]", photos.png(),
                                  {**PNG, **shared.headers, "X-Picture-Digest": f"picture-{i}"})
                got = reply.headers.get("X-Lammd-Model"), reply.status == 200 and json.dumps(reply.json())
                asked.append((reply.headers.get("X-Lammd-Replica"), got[0]))
                if sees.get(got[0]) != got[1]:
                    wrong.append((reply.status, reply.body))
        clients = [Thread(target=ask, args=(i,)) for i in (0, 9)]
        for t in clients:
            t.start()
        for at, act, name in (("one", lambda s: promote(s, "a"), "a"), ("two", lambda s: promote(s, "b"), "b"),
                              ("three", lambda s: s.ask("POST", "/v1/adapters/rollback"), "a")):
            reply = act(servers[at])
            assert (reply.status, reply.json()) == (200, {"default": name, "changed": True}), reply.body
            for s in servers.values():
                wait_for(lambda s=s, name=name: default(s) == name)
                assert seen(s) == (name, sees[name])
            begun = len(asked)
            wait_for(lambda begun=begun: len(asked) > begun + 2 * PICTURES)
            assert {who for who in asked[begun + len(clients):]} == {(n, name) for n in NAMES}
        is_over.set()
        for t in clients:
            t.join(SOON)
        assert not wrong, wrong[:3]
        events = [s.ask("GET", "/v1/adapters/history").json() for s in servers.values()]
        assert events[0] == events[1] == events[2] and len(events[0]["data"]) == 5


def test_a_replica_that_cannot_follow_says_so():
    with Shared() as shared, shared.replica("one") as one, shared.replica("two", "--adapters=1") as two:
        load(one, "a")
        assert promote(one, "a").status == 200
        wait_for(lambda: default(two) == "a")
        was = seen(two)
        load(one, "b")
        assert promote(one, "b").status == 200
        wait_for(lambda: two.ask("GET", "/readyz").json()["behind"])
        wait_for(lambda: "default_behind" in two.log() and "adapter_not_loaded" in two.log())
        listed = two.ask("GET", "/v1/adapters").json()
        assert (listed["default"], listed["wanted"], listed["behind"]) == ("a", "b", True)
        assert "all 1 slots" in [row["why"] for row in listed["data"] if row["id"] == "b"][0]
        assert seen(two) == was == (default(two), was[1]) and seen(one)[0] == "b"
        assert two.ask("POST", "/v1/pixels?points=[[0,0]]&model=b", photos.png(), PNG).status == 404
        assert one.ask("POST", "/v1/adapters/rollback").status == 200
        wait_for(lambda: not two.ask("GET", "/readyz").json()["behind"])
        assert seen(two) == seen(one) == was
        # A replica of another model doesn't start; what the others have stays as it is.
        words = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", MINI, *shared.options]
        r = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SOON)
        assert r.returncode == 1 and "it is the folder of tiny" in r.stderr and "here is lamm-mini" in r.stderr, r.stderr


def test_a_kill_amid_promotions_leaves_one_history():
    """Two replicas promote on and on, one of them is killed: no line is half, and all agree."""
    with Shared() as shared, shared.replica("two") as two:
        load(two, "a")
        load(two, "b")
        for turn in range(count(2, 12)):
            one = shared.replica("one")
            wait_for(lambda one=one: "b" in {m["id"] for m in one.ask("GET", "/v1/models").json()["data"]})
            is_over, said = threading.Event(), {"one": [], "two": []}

            def go(s, name, is_over=is_over, said=said):
                while not is_over.is_set():
                    for adapter in "ab":
                        try:
                            said[name].append(promote(s, adapter).status)
                        except (OSError, http.client.HTTPException):
                            return  # it is dead
            clients = [Thread(target=go, args=(one, "one")), Thread(target=go, args=(two, "two"))]
            for t in clients:
                t.start()
            wait_for(lambda said=said: min(map(len, said.values())) > 10 + turn)
            one.end(signal.SIGKILL)
            have = len(said["two"])
            wait_for(lambda said=said, have=have: len(said["two"]) > have + 4)
            is_over.set()
            for t in clients:
                t.join(SOON)
            assert set(said["one"] + said["two"]) <= {200, 409} and 200 in said["two"][-4:], said
            with shared.replica("one") as again:
                wait_for(lambda again=again: default(again) == default(two))
                assert seen(again) == seen(two)
                events = [s.ask("GET", "/v1/adapters/history").json()["data"] for s in (again, two)]
                assert events[0] == events[1]
        lines = sorted(n for n in os.listdir(shared.path + "/history") if n[0] == "0")
        assert lines == [f"{i + 1:08}.json" for i in range(len(lines))]
        assert int(open(shared.path + "/history/newest", encoding="utf-8").read()) == len(lines)


def dashboard_rules(folder):
    """The expressions of the dashboard as rules, for promtool to read."""
    with open(os.path.join(ROOT, "deploy/prometheus/grafana.json"), encoding="utf-8") as f:
        asked = [t["expr"] for panel in json.load(f)["panels"] for t in panel["targets"]]
    assert len(asked) > 10
    rules = [{"record": f"dashboard:{i}", "expr": e} for i, e in enumerate(asked)]
    path = os.path.join(folder, "dashboard.yaml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, f)
    return path


def test_the_recipes_are_valid():
    """Manifests, rules and the dashboard, by the programs that read them."""
    tried = 0
    with tempfile.TemporaryDirectory() as tmp:
        for words in (["promtool", "check", "rules", "deploy/prometheus/lammd.rules.yaml", dashboard_rules(tmp)],
                      ["promtool", "test", "rules", "deploy/prometheus/lammd.test.yaml"],
                      ["kubernetes-validate", "--strict", "deploy/kubernetes/lammd.yaml"]):
            if not shutil.which(words[0]):
                print(f"skip: {words[0]} is not installed: {' '.join(words[1:3])}")
                continue
            tried += 1
            r = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SOON)
            assert r.returncode == 0, (words, r.stdout, r.stderr)
    if not tried:
        raise Skip("neither promtool (apt-get install prometheus) nor kubernetes-validate (PyPI)")


def test_every_figure_that_is_watched_is_there():
    with Server(model=TINY) as s:
        wait_for(lambda: s.ask("GET", "/readyz").status == 200)
        s.ask("POST", "/v1/refer?sentence=x", photos.png(), PNG)
        there = set(re.findall(r"^# TYPE (\w+)", s.ask("GET", "/metrics").body.decode(), re.M))
    there |= {f"{name}_{end}" for name in there for end in ("bucket", "sum", "count")}
    for name in ("lammd.rules.yaml", "grafana.json"):
        with open(os.path.join(ROOT, "deploy/prometheus", name), encoding="utf-8") as f:
            used = set(re.findall(r"\b(?:lammd|process)_[a-z_]+", f.read())) - {"lammd_dashboard"}
        assert used and used <= there | {"process_resident_memory_bytes"}, (name, used - there)
