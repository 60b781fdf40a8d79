"""test_batches.py - /v1/batches: files of questions that are asked while nobody else asks.

What the server has of a batch survives its end, however it ends, and no line is asked twice that
was answered. The bodies of answers are those that the same question gets by itself.
"""
import json
import os
import signal
import sqlite3
import time

import lamm
import photos
import state
from lamm import data_url
from suite import SOON, wait_for

BATCHES = "/v1/batches"
OVER = ("completed", "failed", "expired", "cancelled")


def line(name, url="/v1/vqa", **body):
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def asked(name, i=0, what="it"):
    return line(name, "/v1/refer", image=data_url(photos.png(i)), sentence=what)


def jsonl(*lines):
    return "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines).encode()


class Place(state.Folder):
    """A state folder, and servers on it that are asked with a key of the scope ask."""

    def __init__(self):
        super().__init__()
        self.stranger, self.chief = self.new_key("ask"), self.new_key("ask,admin,metrics")

    def batches(self, *options):
        s = self.serve(*options)
        ask = s.ask
        s.ask = lambda method, path, body=None, headers=None, timeout=SOON, key=None: ask(
            method, path, body, {"Authorization": f"Bearer {key or self.asking}", **(headers or {})}, timeout)
        return s

    def record(self, batch, name="output.jsonl"):
        try:
            with open(os.path.join(self.path, "batches", batch, name), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""


def send(s, data, purpose="batch", key=None):
    body, headers = lamm.multipart(("purpose", purpose), ("file", data, "application/jsonl"))
    return s.ask("POST", "/v1/files", body, headers, key=key)


def post(s, file, endpoint="*", key=None, once=None, **more):
    body = {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h", **more}
    return s.ask("POST", BATCHES, json.dumps(body), lamm.JSON | ({"Idempotency-Key": once} if once else {}), key=key)


def begin(s, *lines, **more):
    file = send(s, jsonl(*lines))
    assert file.status == 200, file.body
    reply = post(s, file.json()["id"], **more)
    assert reply.status == 200, reply.body
    assert reply.headers["Location"] == f"{BATCHES}/{reply.json()['id']}"
    return reply.json()["id"]


def get(s, batch):
    reply = s.ask("GET", f"{BATCHES}/{batch}")
    assert reply.status == 200, reply.body
    return reply.json()


def until(s, batch, true):
    found = {}

    def look():
        found.update(get(s, batch))
        assert true(found) or found["status"] not in OVER, found
        return true(found)
    wait_for(look)
    return found


def over(s, batch, status="completed"):
    return until(s, batch, lambda b: b["status"] == status)


def content(s, file):
    return s.ask("GET", f"/v1/files/{file}/content").body if file else b""


def lines_of(s, file):
    return [json.loads(x) for x in content(s, file).splitlines()]


def counts(batch):
    return tuple(batch["request_counts"][n] for n in ("total", "completed", "failed"))


def plain(body):
    """What the same question says again, and what batches leave out."""
    moment = ("timing", "latency_ms", "usage", "id", "created")
    return {k: v for k, v in body.items() if k not in moment} if isinstance(body, dict) else body


def refused(reply, status, code):
    assert (reply.status, reply.code) == (status, code), (reply.status, reply.body)
    return reply.json()["detail"]


def test_a_file_of_questions_is_asked():
    picture = data_url(photos.png(7))
    with Place() as place, place.batches() as s:
        stored = s.ask("PUT", "/v1/images", photos.png(3), {"Content-Type": "image/png"}).json()["id"]
        chat = [{"role": "user", "content": [{"type": "text", "text": "hm?"}, {"type": "image_url", "image_url": {"url": picture}}]}]
        questions = [
            line("a", "/v1/reconstruct", image=picture, width=8, height=8), line("b", "/v1/refer", image=picture, sentence="it"),
            line("ä", image={"id": stored}, question="what is it?", choices=["a", "b"]), line("c", "/v1/chat/completions", messages=chat, max_tokens=4),
            line("d", "/v1/pixels", image=picture, points=[[1, 2]]), line("e", "/v1/describe", image=picture, max_tokens=4)]
        batch = begin(s, *questions[:3], "", *questions[3:], metadata={"for": "you"})
        b = over(s, batch)
        assert counts(b) == (6, 6, 0), b
        assert b["errors"] is None and b["error_file_id"] is None and b["metadata"] == {"for": "you"}, b
        assert b["created_at"] <= b["in_progress_at"] <= b["finalizing_at"] <= b["completed_at"] < b["expires_at"]
        assert b["expires_at"] - b["created_at"] == 24 * 3600 and b["lammd"]["waits_for"] is None
        answers = lines_of(s, b["output_file_id"])
        assert [a["custom_id"] for a in answers] == [q["custom_id"] for q in questions]
        for q, a in zip(questions, answers):
            assert a["response"]["status_code"] == 200 and a["error"] is None and a["id"].startswith(batch)
            alone = s.ask("POST", q["url"], json.dumps(q["body"]), {**lamm.JSON, "Accept": "application/json"}).json()
            assert plain(a["response"]["body"]) == plain(alone), q
        file = s.ask("GET", f"/v1/files/{b['output_file_id']}").json()
        assert (file["purpose"], file["status"], file["filename"]) == ("batch_output", "processed", f"{batch}_output.jsonl")
        assert len(content(s, file["id"])) == file["bytes"]
        assert not os.listdir(os.path.join(place.path, "batches"))
        assert s.ask("DELETE", f"/v1/files/{b['input_file_id']}").status == 200
        assert f"event=batch id={batch} state=completed lines=6 completed=6 failed=0" in s.log()
        text = s.ask("GET", "/metrics", key=place.chief).body.decode()
        assert 'lammd_batches{state="completed"} 1\n' in text and 'lammd_batch_lines_total{outcome="completed"} 6\n' in text


def test_broken_lines_are_told_and_the_rest_goes_on():
    with Place() as place, place.batches() as s:
        other = s.ask("PUT", "/v1/images", photos.png(3), {"Content-Type": "image/png"}, key=place.stranger).json()["id"]
        b = over(s, begin(
            s, asked("a"), "nonsense", asked("a", 1), line("file", "/v1/refer", image="file:/etc/passwd", sentence="it"),
            {"custom_id": "get", "method": "GET", "url": "/v1/refer", "body": {}}, line("far", "/v1/files"), line("", image="", question=""),
            line("sum", "/v1/vqa", image=data_url(photos.png()), question="?"), line("bad", "/v1/refer", image=data_url(b"\x89PNG none"), sentence="it"),
            line("gone", "/v1/refer", image={"id": other}, sentence="it"), asked("z", 2),
            {**asked("more"), "x" * 39 + "é": 1}, line("way", "/v1/" + "x" * 55 + "é"), endpoint="/v1/refer"))
        assert counts(b) == (13, 2, 11), b
        assert [(e["line"], e["code"]) for e in b["errors"]["data"]] == [
            (2, "invalid_line"), (3, "duplicate_custom_id"), (5, "invalid_line"), (6, "invalid_line"), (7, "invalid_line"), (8, "invalid_line"),
            (12, "invalid_line"), (13, "invalid_line")]
        assert "/v1/refer" in b["errors"]["data"][5]["message"]
        assert [a["custom_id"] for a in lines_of(s, b["output_file_id"])] == ["a", "z"]
        faults = {f["custom_id"]: f for f in lines_of(s, b["error_file_id"])}
        assert list(faults) == ["file", "get", "far", "sum", "bad", "gone", "more", "way"]
        assert faults["get"]["response"] is None and faults["get"]["error"]["code"] == "invalid_line"
        codes = {n: (faults[n]["response"]["status_code"], faults[n]["response"]["body"]["error"]["code"]) for n in ("file", "bad", "gone")}
        assert codes["gone"] == (404, "image_not_found") and codes["bad"][0] in (415, 422) and codes["file"] == (400, "unsupported_url"), codes
        text = s.ask("GET", "/metrics", key=place.chief).body.decode()
        assert 'lammd_batch_lines_total{outcome="failed"} 11\n' in text, text
        assert "passwd" not in content(s, b["output_file_id"]).decode()
        b = over(s, begin(s, *("{}" for _ in range(150)), ), "failed")
        assert counts(b) == (150, 0, 150) and b["failed_at"] and b["output_file_id"] is None and b["error_file_id"] is None
        told = b["errors"]["data"]
        assert len(told) == 101 and told[100] == {"code": "more_lines", "message": "50 more lines can't be asked", "param": None, "line": None}
        b = over(s, begin(s, "", "  "), "failed")
        assert [e["code"] for e in b["errors"]["data"]] == ["empty_file"] and counts(b) == (0, 0, 0)


def test_a_file_has_a_bound():
    with Place() as place, place.batches() as s:
        many = b"".join(b'{"custom_id":"%d","method":"POST","url":"/v1/vqa","body":{}}\n' % i for i in range(50002))
        b = over(s, post(s, send(s, many).json()["id"]).json()["id"], "failed")
        assert b["errors"]["data"][0]["code"] == "too_many_lines" and "50000" in b["errors"]["data"][0]["message"]
        b = over(s, begin(s, asked("a"), line("long", image="A" * (16 << 20), question="?"), asked("b")))
        assert counts(b) == (3, 2, 1) and "16 MiB" in b["errors"]["data"][0]["message"]


def test_what_is_refused():
    with Place() as place, place.batches("--key-jobs", "2", "--key-batch-mib", "1", "--jobs", "3") as s:
        file = send(s, jsonl(asked("a"))).json()["id"]
        refused(post(s, file, endpoint="/v1/images"), 400, "invalid_parameter")
        refused(post(s, file, endpoint="/v1/act/sessions"), 400, "invalid_parameter")
        refused(post(s, file, completion_window="1h"), 400, "invalid_parameter")
        refused(post(s, file, output_expires_after={}), 400, "unknown_parameter")
        refused(post(s, file, metadata={"a": 1}), 400, "invalid_parameter")
        for field in ("input_file_id", "endpoint", "completion_window"):
            body = {"input_file_id": file, "endpoint": "*", "completion_window": "24h"}
            del body[field]
            refused(s.ask("POST", BATCHES, json.dumps(body), lamm.JSON), 400, "missing_parameter")
        refused(post(s, "file-0"), 404, "file_not_found")
        refused(post(s, file, key=place.stranger), 404, "file_not_found")
        refused(send(s, b"x", key=place.key), 403, "scope_missing")
        refused(send(s, b"x", purpose="fine-tune"), 403, "scope_missing")
        refused(send(s, b"x", purpose="batch_output"), 400, "invalid_parameter")
        learnt = place.file(b"{}\n")
        refused(post(s, learnt), 404, "file_not_found")
        refused(s.ask("GET", f"/v1/files/{learnt}"), 404, "file_not_found")
        for method, path in (("GET", f"{BATCHES}/batch_0"), ("POST", f"{BATCHES}/batch_0/cancel"), ("GET", f"{BATCHES}?after=batch_0")):
            refused(s.ask(method, path), 404, "batch_not_found")
        refused(s.ask("GET", f"{BATCHES}?limit=0"), 400, "invalid_parameter")
        for method, path in (("GET", f"{BATCHES}/%zz"), ("POST", f"{BATCHES}/%zz/cancel")):
            refused(s.ask(method, path), 400, "header_gate")
        assert "1 MiB" in refused(send(s, b" " * (1 << 20)), 429, "too_many_own_bytes")
        full = send(s, b" " * (1 << 20), key=place.stranger).json()["id"]
        refused(post(s, full, key=place.stranger), 429, "too_many_own_bytes")  # no room for answers
        for _ in range(256):
            assert send(s, b"x", key=place.chief).status == 200
        refused(send(s, b"x", key=place.chief), 429, "too_many_own_bytes")  # each counts as 4 KiB
    with Place() as place, place.batches("--state-free-mib", "0") as s:
        output = over(s, begin(s, asked("a")))["output_file_id"]
        refused(post(s, output), 409, "file_not_processed")
    with lamm.Server() as s:
        refused(post_without_key(s), 503, "no_state")


def post_without_key(s):
    body = {"input_file_id": "file-0", "endpoint": "*", "completion_window": "24h"}
    return s.ask("POST", BATCHES, json.dumps(body), lamm.JSON)


def test_a_request_that_comes_twice_makes_one_batch():
    with Place() as place, place.batches() as s:
        file = send(s, jsonl(asked("a"))).json()["id"]
        batch = post(s, file, once="k-1").json()["id"]
        over(s, batch)
        assert s.ask("DELETE", f"/v1/files/{file}").status == 200
        again = post(s, file, once="k-1")
        assert again.status == 200 and (again.json()["id"], again.json()["status"]) == (batch, "completed")
        refused(post(s, file, once="k-1", metadata={"a": "b"}), 409, "idempotency_conflict")
        refused(post(s, file, once="x" * 129), 400, "invalid_parameter")
        refused(post(s, file, once="k-1", key=place.stranger), 404, "file_not_found")
        refused(post(s, file, once="k-2"), 404, "file_not_found")
        assert len(s.ask("GET", BATCHES).json()["data"]) == 1


def test_acts_on_what_is_anothers_are_audited():
    with Place() as place:
        audit, both = os.path.join(os.path.dirname(place.path), "audit"), place.new_key("ask,train")
        acts = lambda: [(x["key"], x["route"]) for x in map(json.loads, open(audit, encoding="utf-8")) if x["event"] == "admin"]
        with place.batches("--audit", audit) as s:
            want, chief = [], place.chief.split("_")[1]
            files = [send(s, jsonl(asked("a")), key=k).json()["id"] for k in (None, both, place.chief)]
            batches = [post(s, f, key=k).json()["id"] for f, k in zip(files[::2], (None, place.chief))]
            assert acts() == []
            learnt = send(s, b"{}\n", purpose="fine-tune", key=both).json()["id"]
            assert s.ask("DELETE", f"/v1/files/{learnt}", key=both).status in (200, 409)
            want += [(both.split("_")[1], "POST /v1/files"), (both.split("_")[1], "DELETE /v1/files/{id}")]
            assert acts() == want
            for batch in batches[::-1]:
                s.ask("POST", f"{BATCHES}/{batch}/cancel", key=place.chief)
            want.append((chief, "POST /v1/batches/{id}/cancel"))
            assert acts() == want
            assert s.ask("DELETE", f"/v1/files/{files[1]}", key=place.stranger).status == 404
            assert s.ask("DELETE", f"/v1/files/{files[1]}", key=place.chief).status == 200
            want.append((chief, "DELETE /v1/files/{id}"))
            assert acts() == want


def slow(n):
    """Whole pictures, each another one."""
    return [line(f"p{i}", "/v1/reconstruct", image=data_url(photos.png(i))) for i in range(n)]


def test_batches_and_files_are_their_owners():
    with Place() as place, place.batches("--key-jobs", "2", "--jobs", "3") as s:
        held = [begin(s, *slow(40)) for _ in range(2)]
        file = get(s, held[0])["input_file_id"]
        refused(post(s, file), 429, "too_many_own_batches")
        own = send(s, jsonl(asked("a")), key=place.stranger).json()["id"]
        third = post(s, own, key=place.stranger).json()["id"]
        refused(post(s, own, key=place.stranger), 503, "too_many_batches")
        refused(s.ask("DELETE", f"/v1/files/{file}"), 409, "file_in_use")
        for method, path in (("GET", f"{BATCHES}/{held[0]}"), ("POST", f"{BATCHES}/{held[0]}/cancel"), ("GET", f"/v1/files/{file}"),
                             ("GET", f"/v1/files/{file}/content"), ("DELETE", f"/v1/files/{file}")):
            assert s.ask(method, path, key=place.stranger).status == 404, path
        assert s.ask("GET", f"/v1/files/{file}", key=place.key).status == 404  # train alone
        ids = lambda reply: [x["id"] for x in reply.json()["data"]]
        assert ids(s.ask("GET", BATCHES)) == held[::-1] and ids(s.ask("GET", BATCHES, key=place.stranger)) == [third]
        assert ids(s.ask("GET", BATCHES, key=place.chief)) == [third, *held[::-1]]
        page = s.ask("GET", f"{BATCHES}?limit=1").json()
        assert page["has_more"] and page["first_id"] == page["last_id"] == held[1]
        page = s.ask("GET", f"{BATCHES}?limit=1&after={held[1]}").json()
        assert not page["has_more"] and page["data"][0]["id"] == held[0]
        assert file not in ids(s.ask("GET", "/v1/files", key=place.stranger)) and file in ids(s.ask("GET", "/v1/files?purpose=batch"))
        assert s.ask("POST", f"{BATCHES}/{held[1]}/cancel", key=place.chief).status == 200
        assert s.ask("POST", f"{BATCHES}/{held[0]}/cancel").status == 200
        for batch in held:
            over(s, batch, "cancelled")


def test_killed_twice_it_goes_on_and_asks_nothing_twice():
    with Place() as place:
        questions = [asked(f"q{i}", i % 5, f"number {i}") for i in range(40)] + ["broken"] + slow(2)
        before = b""
        s = place.batches()
        batch = begin(s, *questions)
        for enough in (5, 20):
            wait_for(lambda: place.record(batch).count(b"\n") >= enough)
            s.end(signal.SIGKILL)
            after = place.record(batch)
            after = after[:after.rindex(b"\n") + 1]
            assert after.startswith(before) and len(after) > len(before)
            before = after
            with open(os.path.join(place.path, "batches", batch, "output.jsonl"), "ab") as f:
                f.write(b'{"id":"torn')
            s = place.batches()
        b = over(s, batch)
        done = content(s, b["output_file_id"])
        assert done.startswith(before) and counts(b) == (43, 42, 1), b
        assert [json.loads(x)["custom_id"] for x in done.splitlines()] == [q["custom_id"] for q in questions if q != "broken"]
        # This server asked what was missing, and no more.
        text = s.ask("GET", "/metrics", key=place.chief).body.decode()
        assert f'lammd_batch_lines_total{{outcome="completed"}} {42 - before.count(bytes([10]))}\n' in text, text
        again = over(s, post(s, b["input_file_id"]).json()["id"])  # undisturbed: the same answers
        assert content(s, again["output_file_id"]).replace(again["id"].encode(), batch.encode()).count(b"\n") == 42
        bodies = [[plain(json.loads(x)["response"]["body"]) for x in part.splitlines()] for part in (done, content(s, again["output_file_id"]))]
        assert bodies[0] == bodies[1]
        assert s.end() == 0


def test_sigterm_keeps_what_is_done_and_another_server_goes_on():
    with Place() as place:
        with place.batches() as s:
            batch = begin(s, *(asked(f"q{i}", i % 9, f"number {i}") for i in range(90)))
            wait_for(lambda: place.record(batch).count(b"\n") >= 3)
            assert s.end() == 0
        done = place.record(batch)
        # Those on their way have ended, forty at most, and no other was begun.
        assert done.endswith(b"\n") and 3 <= done.count(b"\n") < 90
        with place.batches() as s:
            assert content(s, over(s, batch)["output_file_id"]).startswith(done)


def test_cancelling_keeps_what_is_done():
    with Place() as place, place.batches() as s:
        batch = begin(s, asked("first"), *slow(60))
        until(s, batch, lambda b: b["request_counts"]["completed"] >= 1)
        reply = s.ask("POST", f"{BATCHES}/{batch}/cancel")
        assert reply.status == 200 and reply.json()["status"] == "cancelling" and reply.json()["cancelling_at"]
        b = over(s, batch, "cancelled")
        total, completed, failed = counts(b)
        assert total == 61 and 1 <= completed < 61 and failed == 0 and b["cancelled_at"] >= b["cancelling_at"]
        assert [a["custom_id"] for a in lines_of(s, b["output_file_id"])] == ["first", *(f"p{i}" for i in range(completed - 1))]
        assert s.ask("POST", f"{BATCHES}/{batch}/cancel").json() == b
        done = over(s, begin(s, asked("a")))
        refused(s.ask("POST", f"{BATCHES}/{done['id']}/cancel"), 409, "wrong_state")


def test_its_time_is_over():
    with Place() as place:
        with place.batches() as s:
            batch = begin(s, asked("a"), *slow(60), "broken")
            until(s, batch, lambda b: b["request_counts"]["completed"] >= 1)
            assert s.end() == 0
        with sqlite3.connect(os.path.join(place.path, "jobs.db")) as c:
            c.execute("UPDATE batches SET expires = ?", (int(time.time()) - 1,))
        with place.batches() as s:
            b = over(s, batch, "expired")
            total, completed, failed = counts(b)
            late = [f for f in lines_of(s, b["error_file_id"]) if f["error"]]
            assert (total, failed) == (62, 1) and len(lines_of(s, b["output_file_id"])) == completed
            assert {f["error"]["code"] for f in late} == {"batch_expired"} and len(late) == 61 - completed and b["expired_at"]


def change(place, what, *values):
    with sqlite3.connect(os.path.join(place.path, "jobs.db")) as c:
        c.execute(f"UPDATE batches SET {what}", values)


def test_one_that_is_to_end_does_not_wait_for_the_end_of_a_turn():
    with Place() as place:
        with place.batches() as s:
            batch = begin(s, *slow(250))
            until(s, batch, lambda b: b["request_counts"]["completed"] >= 1)
            other = post(s, send(s, jsonl(asked("a")), key=place.stranger).json()["id"], key=place.stranger).json()["id"]
            assert s.end() == 0
        # So that the first one has its turn, which is half a minute.
        change(place, "turn = 9 WHERE id = ?", other)
        change(place, "expires = ? WHERE id = ?", int(time.time()) + 4, other)
        with place.batches() as s:
            wait_for(lambda: s.ask("GET", f"{BATCHES}/{other}", key=place.stranger).json()["status"] == "expired")
            b = get(s, batch)
            assert b["status"] == "in_progress" and counts(b)[1] < 250, b
            assert s.ask("POST", f"{BATCHES}/{batch}/cancel").status == 200
            over(s, batch, "cancelled")


def test_its_questions_are_lost():
    """It fails, keeps its answers, and says why. One that is cancelled needs no questions."""
    with Place() as place:
        with place.batches() as s:
            lost, dropped, new = begin(s, asked("a"), "broken", *slow(40)), begin(s, *slow(20)), begin(s, asked("c"))
            until(s, lost, lambda b: b["request_counts"]["completed"] >= 1)
            s.end(signal.SIGKILL)
        change(place, "state = 3, cancelling = 1 WHERE id = ?", dropped)
        for name in os.listdir(os.path.join(place.path, "files")):
            os.unlink(os.path.join(place.path, "files", name))
        with place.batches() as s:
            b = over(s, lost, "failed")
            assert [(e["code"], e["line"]) for e in b["errors"]["data"]] == [("invalid_line", 2), ("file_lost", None)], b
            assert len(lines_of(s, b["output_file_id"])) == counts(b)[1] >= 1
            over(s, dropped, "cancelled")
            b = over(s, new, "failed")
            assert [e["code"] for e in b["errors"]["data"]] == ["file_lost"], b
            text = s.ask("GET", "/metrics", key=place.chief).body.decode()
            assert 'lammd_batch_lines_total{outcome="failed"} 0\n' in text, text


def test_a_full_disk_is_waited_for():
    with Place() as place:
        with place.batches() as s:
            batch = begin(s, asked("a"), *slow(4))
            until(s, batch, lambda b: b["request_counts"]["completed"] >= 1)
            s.end(signal.SIGKILL)
        done = place.record(batch)
        with place.batches("--state-free-mib", str(1 << 30)) as s:
            b = until(s, batch, lambda b: b["lammd"]["waits_for"] == "disk")
            assert b["status"] == "in_progress" and "event=batch_waits" in s.log()
            assert s.ask("GET", "/v1/models").status == 200 and s.end() == 0
        assert place.record(batch).startswith(done[:done.rindex(b"\n") + 1])
        with place.batches() as s:
            assert counts(over(s, batch)) == (5, 5, 0)


def test_whoever_asks_himself_comes_first():
    """The order of passes is the engine's and is tested there; here, that both get their answers
    and that nothing of a batch counts against who asks."""
    with Place() as place, place.batches("--key-requests", "1", "--key-tokens", "1") as s:
        alone = s.ask("POST", "/v1/reconstruct", photos.png(500), {"Content-Type": "image/png"}).body
        batch = begin(s, *slow(30))
        until(s, batch, lambda b: b["request_counts"]["completed"] >= 1)
        for _ in range(3):
            reply = s.ask("POST", "/v1/reconstruct", photos.png(500), {"Content-Type": "image/png"})
            assert (reply.status, reply.body) == (200, alone)
            assert s.ask("POST", "/v1/vqa?question=what", photos.png(501), {"Content-Type": "image/png"}).status == 200
        assert get(s, batch)["status"] == "in_progress"  # they went past it
        assert s.ask("GET", "/readyz").status == 200
        assert s.ask("POST", f"{BATCHES}/{batch}/cancel").status == 200
        over(s, batch, "cancelled")
