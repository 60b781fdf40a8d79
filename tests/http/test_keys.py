"""test_keys.py - who may do what: every call with every kind of key, the admin socket, the audit,
and what a start without keys means.
"""
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time

import photos
from lamm import PNG, PROGRAM, TINY, Reply, Server, contract
from suite import SOON, Thread, wait_for

SCOPES = ("ask", "metrics", "train", "promote", "admin")
FILES = "ask or train"  # a file's purpose says which
# Every call and the scope that it needs; None: none. A call that is not here fails the test.
NEEDS = {
    "POST /v1/reconstruct": "ask", "POST /v1/pixels": "ask", "POST /v1/segment": "ask",
    "POST /v1/refer": "ask", "POST /v1/describe": "ask", "POST /v1/vqa": "ask", "POST /v1/act": "ask",
    "POST /v1/act/sessions": "ask", "POST /v1/act/sessions/{id}": "ask",
    "DELETE /v1/act/sessions/{id}": "ask", "POST /v1/chat/completions": "ask", "PUT /v1/images": "ask",
    "DELETE /v1/images/{id}": "ask", "GET /v1/models": "ask", "GET /v1/models/{id}": "ask",
    **{f"{call.replace(' ', ' /v1/fine_tuning/jobs')}": "train" for call in (
        "GET ", "POST ", "GET /{id}", "GET /{id}/events", "GET /{id}/checkpoints", "POST /{id}/cancel",
        "POST /{id}/pause", "POST /{id}/resume")},
    "GET /v1/fine_tuning/recipes": "train",
    **{f"{call.replace(' ', ' /v1/files')}": FILES for call in ("GET ", "POST ", "GET /{id}", "DELETE /{id}", "GET /{id}/content")},
    **{f"{call.replace(' ', ' /v1/batches')}": "ask" for call in ("GET ", "POST ", "GET /{id}", "POST /{id}/cancel")},
    "GET /v1/adapters": "train", "POST /v1/adapters": "promote", "GET /v1/adapters/history": "train",
    "POST /v1/adapters/rollback": "promote", "GET /v1/adapters/{name}": "train", "DELETE /v1/adapters/{name}": "promote",
    "POST /v1/adapters/{name}/promote": "promote", "POST /v1/admin/reload": "admin", "GET /livez": None, "GET /readyz": None, "GET /metrics": "metrics",
    "GET /openapi.yaml": None, "GET /": None, "GET /ui/{file}": None}


class Place:
    """A folder with a file of keys, one for each scope, and one that has expired."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.file, self.audit = self.path("keys"), self.path("audit")
        self.key = {scope: self.new(scope, scope) for scope in SCOPES}
        self.key["expired"] = self.new("expired", ",".join(SCOPES))
        with open(self.file) as f:
            text = re.sub("never expired", "2020-01-01T00:00:00Z expired", f.read())
        with open(self.file, "w") as f:
            f.write(text)
        good = self.key["ask"]
        self.key["bad"] = good[:-1] + ("0" if good[-1] != "0" else "1")
        self.options = ["--keys", self.file, "--audit", self.audit]

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run(self, *words):
        return subprocess.run([PROGRAM, "keys", *words, "--keys", self.file], capture_output=True, text=True,
                              timeout=SOON)

    def new(self, name, scopes):
        done = self.run("new", name, "--scopes", scopes)
        assert done.returncode == 0 and re.fullmatch(r"lammd_[a-z0-9]{12}_[0-9a-f]{64}\n", done.stdout), done
        return done.stdout.strip()

    def lines(self):
        with open(self.audit) as f:
            return [json.loads(line) for line in f]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()


def metric(s, place, name):
    text = s.ask("GET", "/metrics", headers=bearer(place.key["metrics"])).body.decode()
    return float(re.search(rf"^{name} (.*)$", text, re.M)[1])


def bearer(key):
    return {"Authorization": "Bearer " + key} if key else {}


def on_socket(path, method, target):
    """The reply that comes through a unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=SOON)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request(method, target)
    answer = connection.getresponse()
    reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
    connection.close()
    contract.check(method, target, reply)
    return reply


def request_of(call):
    method, template = call.split()
    return method, template.replace("{id}", "0" * 64).replace("{name}", "x").replace("{file}", "app.js")


def verdict(reply):
    """401, 403, or "in"."""
    return reply.status if reply.code in ("unauthorized", "scope_missing") else "in"


def test_every_call_with_every_kind_of_key():
    assert {f"{m} {t}" for m, t in contract.calls()} == set(NEEDS)
    for call, scope in NEEDS.items():
        method, template = call.split()
        said = contract.document["paths"][template][method.lower()].get("security", contract.document["security"])
        assert said == ([{"key": [one]} for one in scope.split(" or ")] if scope else []), call
    with Place() as p, Server(*p.options, "--admin-socket", p.path("admin"), model=TINY) as s:
        n_refused = 0
        for call, scope in NEEDS.items():
            method, path = request_of(call)
            for kind in ("none", "bad", "expired", *SCOPES):
                reply = s.ask(method, path, headers=bearer(p.key.get(kind)))
                want = "in" if not scope or kind in scope.split(" or ") else 403 if kind in SCOPES else 401
                assert verdict(reply) == want, f"{call} with {kind}: {reply.status}"
                n_refused += want != "in"
                if want == 403:
                    assert scope in reply.json()["detail"], reply.body
                    assert f'scope="{scope}"' in reply.headers["WWW-Authenticate"]
                if want == 401:
                    assert ("invalid_token" in reply.headers["WWW-Authenticate"]) == (kind != "none")
            assert verdict(on_socket(p.path("admin"), method, path)) == "in", call
        lines = p.lines()
        assert sum(x["event"] == "refused" for x in lines) == n_refused
        acts = sum(scope in ("train", "promote", "admin") and not call.startswith("GET") for call, scope in NEEDS.items())
        assert acts > 0 and sum(x["event"] == "admin" for x in lines) == 2 * acts  # key, socket
        text = json.dumps(lines) + s.log()
        for key in p.key.values():
            assert key.split("_")[2] not in text, "a secret"


def test_without_keys_one_may_ask_but_not_administer():
    with tempfile.TemporaryDirectory() as folder, Server("--admin-socket", folder + "/admin", model=TINY) as s:
        for call, scope in NEEDS.items():
            method, path = request_of(call)
            for headers in ({}, bearer("sk-whatever")):  # clients of OpenAI's API send something
                assert verdict(s.ask(method, path, headers=headers)) == (401 if scope in ("train", "promote", "admin") else "in"), call
        assert os.stat(folder + "/admin").st_mode & 0o777 == 0o600
        assert on_socket(folder + "/admin", "POST", "/v1/admin/reload").json() == {"keys": None}
        assert s.end() == 0
        assert not os.path.exists(folder + "/admin")


def test_no_other_way_to_send_a_key():
    with Place() as p, Server(*p.options, model=TINY) as s:
        key = p.key["ask"]
        for headers in ({"Authorization": key}, {"Authorization": "Basic " + key}, {"X-Api-Key": key},
                        {"Cookie": "key=" + key}, {"Authorization": "Bearer " + key + "x"},
                        {"Authorization": "Bearer"}, {"Proxy-Authorization": "Bearer " + key}):
            assert s.ask("GET", "/v1/models", headers=headers).status == 401, headers
        assert s.ask("GET", "/v1/models?key=" + key).status == 401
        assert s.ask("GET", "/v1/models", headers={"authorization": "bearer   " + key}).status == 200
        for path in ("/livez/../v1/models", "//v1/models", "/v1/%6dodels", "/V1/models", "/v1/models/"):
            assert s.ask("GET", path).status in (400, 401, 404), path
        twice = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        assert s.raw(twice.encode())[0].startswith(b"HTTP/1.1 400")


def test_a_refused_body_is_read_and_thrown_away():
    with Place() as p, Server(*p.options, model=TINY) as s:
        reply = s.ask("POST", "/v1/reconstruct", b"x" * 3000000, PNG)
        assert (reply.status, reply.code) == (401, "unauthorized")
        assert s.ask("POST", "/v1/reconstruct?width=2&height=2", photos.png(), {**PNG, **bearer(p.key["ask"])}).status == 200


def test_revoked_and_new_keys_within_a_second():
    with Place() as p, Server(*p.options, model=TINY) as s:
        ask, admin = bearer(p.key["ask"]), bearer(p.key["admin"])
        assert s.ask("GET", "/v1/models", headers=ask).status == 200
        assert p.run("revoke", p.key["ask"].split("_")[1]).returncode == 0
        fresh = bearer(p.new("fresh", "ask"))
        assert s.ask("GET", "/v1/models", headers=fresh).status == 401
        s.process.send_signal(signal.SIGHUP)
        start = time.monotonic()
        wait_for(lambda: s.ask("GET", "/v1/models", headers=ask).status == 401)
        took = time.monotonic() - start
        assert took < 1 or os.getloadavg()[0] > 2, took
        assert s.ask("GET", "/v1/models", headers=fresh).status == 200
        # A bad file: the keys stay, and it is said by line.
        with open(p.file, "a") as f:
            f.write("nonsense\n")
        reply = s.ask("POST", "/v1/admin/reload", headers=admin)
        assert (reply.status, reply.code) == (409, "reload_failed")
        assert re.search(r"line \d+: a key has five fields", reply.json()["detail"]), reply.body
        assert p.file not in reply.body.decode()
        s.process.send_signal(signal.SIGHUP)
        wait_for(lambda: s.log().count("event=reload") == 3)
        assert s.ask("GET", "/v1/models", headers=fresh).status == 200
        # Mended: the same call takes it.
        with open(p.file) as f:
            text = f.read().replace("nonsense\n", "")
        with open(p.file, "w") as f:
            f.write(text)
        assert s.ask("POST", "/v1/admin/reload", headers=admin).json() == {"keys": len(SCOPES) + 1}


def test_the_audit_survives_a_rename_and_fails_closed():
    with Place() as p, Server(*p.options, model=TINY) as s:
        admin = bearer(p.key["admin"])
        assert s.ask("POST", "/v1/admin/reload", headers=admin | {"X-Request-Id": "one"}).status == 200
        os.rename(p.audit, p.audit + ".1")
        assert s.ask("POST", "/v1/admin/reload", headers=admin | {"X-Request-Id": "two"}).status == 200
        assert s.ask("POST", "/v1/admin/reload", headers=admin | {"X-Request-Id": "three"}).status == 200
        assert [x["request"] for x in p.lines()] == ["three"]
        line = p.lines()[0]
        assert line.pop("time") and line == {
            "event": "admin", "key": p.key["admin"].split("_")[1], "route": "POST /v1/admin/reload",
            "result": "accepted", "request": "three", "peer": "127.0.0.1"}
        full = s.process.pid
        resource.prlimit(full, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        reply = s.ask("POST", "/v1/admin/reload", headers=admin)
        assert (reply.status, reply.code) == (503, "audit_unavailable")
        assert s.ask("GET", "/v1/models", headers=bearer(p.key["ask"])).status == 200
        assert s.ask("GET", "/v1/models").status == 401
        resource.prlimit(full, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert s.ask("POST", "/v1/admin/reload", headers=admin).status == 200


def refuses_to_start(*options):
    done = subprocess.run([PROGRAM, "serve", "--model", TINY, *options], capture_output=True, text=True, timeout=SOON)
    assert done.returncode != 0 and not done.stdout, done
    return done.stderr


def starts(*options):
    """What it logs at its start, and that it answers on loopback."""
    process = subprocess.Popen([PROGRAM, "serve", "--model", TINY, *options], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("listening on ")
    finally:
        process.terminate()
        _, log = process.communicate(timeout=SOON)
    return log


def test_open_to_others_only_with_keys():
    everywhere = ("--listen", "0.0.0.0:0")
    with Place() as p:
        text = refuses_to_start(*everywhere)
        assert "can be reached from elsewhere" in text and "--keys" in text and "--insecure" in text
        assert "can be reached" in refuses_to_start("--listen", "127.0.0.1:0", *everywhere)
        assert "there are no keys" in starts(*everywhere, "--insecure")
        assert "unencrypted" in starts(*everywhere, "--keys", p.file)
        assert "insecure" not in starts(*everywhere, "--keys", p.file, "--trusted-proxy", "192.0.2.0/24")
        assert "insecure" not in starts("--listen", "127.0.0.1:0")
        here = ("--listen", "127.0.0.1:0")
        assert "No such file" in refuses_to_start(*here, "--keys", p.path("none"))
        assert "audit file" in refuses_to_start(*here, "--audit", p.path("no/such"))
        assert "no address or net" in refuses_to_start(*here, "--trusted-proxy", "proxy.example")
        os.chmod(p.file, 0o666)
        assert "chmod go-w" in refuses_to_start(*here, "--keys", p.file)


def test_keys_come_as_a_credential_of_systemd():
    with Place() as p:
        os.rename(p.file, p.path("api-keys"))
        env = {**os.environ, "CREDENTIALS_DIRECTORY": p.folder.name}
        with Server(model=TINY, env=env) as s:
            assert s.ask("GET", "/v1/models").status == 401
            assert s.ask("GET", "/v1/models", headers=bearer(p.key["ask"])).status == 200


def test_a_proxy_says_whom_it_asks_for():
    with Place() as p, Server(*p.options, "--trusted-proxy", "127.0.0.0/8", model=TINY) as s:
        for said, want in (("203.0.113.9", "203.0.113.9"), ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
                           ("2001:db8:0:7:1:2:3:4", "2001:db8:0:7::/64"), ("nonsense", "127.0.0.1")):
            assert s.ask("GET", "/v1/models", headers={"X-Forwarded-For": said}).status == 401
            assert p.lines()[-1]["peer"] == want
        wait_for(lambda: "peer=2001:db8:0:7:1:2:3:4 " in s.log())
    with Place() as p, Server(*p.options, model=TINY) as s:
        assert s.ask("GET", "/v1/models", headers={"X-Forwarded-For": "203.0.113.9"}).status == 401
        assert p.lines()[-1]["peer"] == "127.0.0.1"  # nobody is trusted


def test_pictures_and_games_belong_to_the_key_that_sent_them():
    with Place() as p, Server(*p.options, "--replica", "eu1", "--key-images", "2", "--key-sessions", "1",
                              model=TINY) as s:
        me, you = bearer(p.key["ask"]), bearer(p.new("you", "ask"))
        assert s.ask("GET", "/v1/models", headers=you).status == 401  # not known yet
        s.ask("POST", "/v1/admin/reload", headers=bearer(p.key["admin"]))
        body = photos.png(1)
        mine, yours = (s.ask("PUT", "/v1/images", body, PNG | who) for who in (me, you))
        assert mine.status == yours.status == s.ask("PUT", "/v1/images", body, PNG | me).status == 201
        a, b = mine.json()["id"], yours.json()["id"]
        assert a != b and a.startswith("eu1-") and s.ask("PUT", "/v1/images", body, PNG | me).json()["id"] == a

        def use(name, who):
            asked = json.dumps({"image": {"id": name}, "points": [[0, 0]]})
            return s.ask("POST", "/v1/pixels", asked, {"Content-Type": "application/json"} | who).status
        assert [use(a, me), use(b, you), use(a, you), use(b, me)] == [200, 200, 404, 404]
        assert s.ask("DELETE", f"/v1/images/{a}", headers=you).status == 404
        for i in range(4):  # yours push out yours
            assert s.ask("PUT", "/v1/images", photos.png(10 + i), PNG | you).status == 201
        assert [use(a, me), use(b, you)] == [200, 404]
        assert s.ask("DELETE", f"/v1/images/{a}", headers=me).status == 204
        game = s.ask("POST", "/v1/act/sessions?game=car_racing", headers=me)
        at = game.headers["Location"]
        assert game.status == 201 and "/eu1-" in at
        assert s.ask("POST", at, body, PNG | you).code == "session_not_found"
        assert s.ask("DELETE", at, headers=you).status == 404
        over = s.ask("POST", "/v1/act/sessions?game=car_racing", headers=me)
        assert (over.status, over.code) == (429, "quota_exceeded"), over.body
        assert over.headers["RateLimit-Policy"] == '"sessions";q=1' and over.headers["RateLimit"] == '"sessions";r=0'
        assert s.ask("POST", "/v1/act/sessions?game=car_racing", headers=you).status == 201
        assert s.ask("POST", at, body, PNG | me).code != "session_not_found"
        gone = s.ask("DELETE", at, headers=me)
        assert gone.status == 204, (gone.status, gone.body)


def test_full_of_the_pictures_of_others():
    with Place() as p, Server(*p.options, "--stored-images", "1", model=TINY) as s:
        you = bearer(p.new("you", "ask"))
        s.ask("POST", "/v1/admin/reload", headers=bearer(p.key["admin"]))
        assert s.ask("PUT", "/v1/images", photos.png(1), PNG | bearer(p.key["ask"])).status == 201
        full = s.ask("PUT", "/v1/images", photos.png(2), PNG | you)
        assert (full.status, full.code) == (503, "store_full")


def test_one_key_has_so_many_requests_and_bytes_at_once():
    with Place() as p, Server(*p.options, "--key-requests", "3", "--key-body-mib", "1", model=TINY) as s:
        me = p.key["ask"]
        you = p.new("you", "ask")
        s.ask("POST", "/v1/admin/reload", headers=bearer(p.key["admin"]))

        def half(key, length):
            """A request of whose body one byte comes."""
            c = s.connect()
            c.sendall(f"POST /v1/pixels HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
                      f"Content-Type: image/png\r\nContent-Length: {length}\r\n\r\nx".encode())
            return c
        held = [half(me, 100) for _ in range(2)]
        wait_for(lambda: metric(s, p, "lammd_body_bytes") == 200)
        over = s.ask("POST", "/v1/pixels", b"x" * 1100000, PNG | bearer(me))
        assert over.status == 429 and "body-bytes" in over.headers["RateLimit"]
        held.append(half(me, 100))
        wait_for(lambda: metric(s, p, "lammd_body_bytes") == 300)
        over = s.ask("GET", "/v1/models", headers=bearer(me))
        assert (over.status, over.code) == (429, "quota_exceeded")
        assert over.headers["RateLimit-Policy"] == '"requests";q=3;qu="concurrent-requests"'
        assert int(over.headers["Retry-After"]) >= 1
        assert s.ask("GET", "/v1/models", headers=bearer(you)).status == 200
        assert s.ask("GET", "/livez", headers=bearer(me)).status == 200
        for c in held:
            c.close()
        wait_for(lambda: s.ask("GET", "/v1/models", headers=bearer(me)).status == 200)


def test_one_key_has_so_much_in_the_queue():
    """A whole picture is let in when it is alone; the next one is sent away until its end."""
    with Place() as p, Server(*p.options, "--key-tokens", "1000") as s:
        me, you = bearer(p.key["ask"]), bearer(p.new("you", "ask"))
        s.ask("POST", "/v1/admin/reload", headers=bearer(p.key["admin"]))
        out = []
        whole = Thread(target=lambda: out.append(
            s.ask("POST", "/v1/reconstruct?estimate=mean", photos.png(1), PNG | me)))
        whole.start()
        wait_for(lambda: metric(s, p, "lammd_jobs_running") == 1)
        over = s.ask("POST", "/v1/reconstruct", photos.png(2), PNG | me)
        small = s.ask("POST", "/v1/reconstruct?width=2&height=2", photos.png(3), PNG | you)
        whole.join()
        assert (over.status, over.code) == (429, "quota_exceeded") and "tokens" in over.headers["RateLimit"]
        assert small.status == 200 and out[0].status == 200
        wait_for(lambda: s.ask("POST", "/v1/reconstruct?width=2&height=2", photos.png(2), PNG | me).status == 200)


def test_the_command_line():
    with Place() as p:
        listed = p.run("list")
        assert listed.returncode == 0 and "(expired)" in listed.stdout
        for scope in SCOPES:
            assert re.search(rf"^{p.key[scope].split('_')[1]} +{scope} +never +{scope}$", listed.stdout, re.M)
        assert os.stat(p.file).st_mode & 0o777 == 0o600
        assert p.run("revoke", "nobody").returncode == 1
        assert p.run("new", "x", "--scopes", "paint").returncode == 1
        assert p.run("new").returncode == 2 and p.run("burn", "x").returncode == 2
        assert subprocess.run([PROGRAM, "keys", "list"], capture_output=True).returncode == 2
        assert p.run("new", "brief", "--days", "1").returncode == 0
