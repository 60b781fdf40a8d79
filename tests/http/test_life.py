"""test_life.py - start, overload, stop: what happens to requests, and what the program says."""
import base64
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import photos
from lamm import JSON, MINI, PNG, PROGRAM, ROOT, TINY, Reply, Server, built, contract, data_url, events, multipart
from suite import SOON, Thread, count, wait_for

BODY = photos.png()
WHOLE = "/v1/reconstruct?estimate=mean"


def every_pixel():
    """Body and headers of a request for all 4,096 points."""
    points = [[x, y] for y in range(64) for x in range(64)]
    return json.dumps({"image": base64.b64encode(BODY).decode(), "points": points}), JSON


def picture_size(png):
    return struct.unpack(">II", png[16:24])


def in_thread(f, *args):
    out = []
    t = Thread(target=lambda: out.append(f(*args)))
    t.start()
    return t, out


def run(*words, **how):
    return subprocess.run([PROGRAM, *words], capture_output=True, **{"timeout": 10 * SOON, **how})


def test_sigterm_lets_a_running_request_finish():
    for _ in range(count(1, 50)):
        check_drain()


def check_drain():
    with Server() as s:
        alone = s.ask("POST", WHOLE, BODY, PNG).body
        thread, out = in_thread(s.ask, "POST", WHOLE, photos.png(), PNG)
        wait_for(lambda: s.metric("lammd_jobs_running") == 1)
        idle = s.connect()
        assert s.end() == 0
        thread.join()
        assert out[0].status == 200 and out[0].body == alone
        assert out[0].headers["Connection"] == "close"
        try:
            assert idle.recv(10) == b""
        except ConnectionResetError:
            pass  # it was still waiting to be accepted when the door was closed
        idle.close()


def test_a_delayed_drain_takes_what_comes():
    """/readyz says no from the first signal on, questions are answered until the second."""
    with Server("--drain-delay", "3600", model=TINY) as s:
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: s.ask("GET", "/readyz").status == 503)
        assert s.ask("GET", "/readyz").code == "draining" and s.ask("GET", "/livez").status == 200
        assert "\nlammd_ready 0\n" in s.ask("GET", "/metrics").body.decode()
        for i in range(3):
            assert s.ask("POST", "/v1/pixels?points=[[0,0]]", photos.png(i), PNG).status == 200
        assert "event=leaving" in s.log() and "event=draining" not in s.log()
        assert s.end() == 0 and "event=draining" in s.log()


def test_the_deadline_of_the_drain_says_503():
    with Server("--drain-timeout", "0") as s:
        thread, out = in_thread(s.ask, "POST", WHOLE, BODY, PNG)
        wait_for(lambda: s.metric("lammd_jobs_running") == 1)
        assert s.end() == 0
        thread.join()
        assert (out[0].status, out[0].code) == (503, "draining")
    with Server("--drain-timeout", "0") as s:
        thread, out = in_thread(s.ask, "POST", "/v1/pixels", *every_pixel())
        wait_for(lambda: s.metric("lammd_jobs_running") == 1)
        assert s.end() == 0
        thread.join()
        assert (out[0].status, out[0].code) == (503, "draining")


def every_call(seed):
    """(path, body, headers) of one request of each kind, about pictures that are not cached."""
    pictures = [photos.png(seed + i) for i in range(8)]
    frames = [("frame", p) for p in pictures]
    look = [{"type": "image_url", "image_url": {"url": data_url(p)}} for p in pictures]
    chat = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, *look[:5]]}]}
    return [("/v1/segment?sentence=a", pictures[0], PNG), ("/v1/refer?sentence=a", pictures[1], PNG),
            ("/v1/describe", pictures[2], PNG), ("/v1/vqa?question=a", pictures[3], PNG),
            ("/v1/act", *multipart(("game", "car_racing"), *frames[4:6])),
            ("/v1/chat/completions", json.dumps(chat).encode(), JSON)]


def test_a_request_that_comes_too_late_is_told_503():
    """Each has sent half its body when the server begins to shut down, and then the rest."""
    with Server() as s:
        at = s.ask("POST", "/v1/act/sessions?game=car_racing").headers["Location"]
        calls = every_call(300) + [(at, BODY, PNG)]
        held = []
        for path, body, headers in calls:
            c = s.connect()
            head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
            c.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode())
            c.sendall(body[:len(body) // 2])
            held.append(c)
        wait_for(lambda: s.metric("lammd_connections") > len(calls))
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "draining" in s.log())
        for c, (path, body, _) in zip(held, calls):
            c.sendall(body[len(body) // 2:])
            answer = http.client.HTTPResponse(c)
            answer.begin()
            reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
            contract.check("POST", path, reply)
            assert (reply.status, reply.code) == (503, "draining"), path
            c.close()
        assert s.end() == 0


def test_who_waits_at_the_door_is_let_in():
    """More than the acceptor takes in one round have connected and asked when the end begins."""
    with Server("--connections", "600", model=TINY) as s:
        s.process.send_signal(signal.SIGSTOP)
        waiting = [s.connect() for _ in range(300)]
        for c in waiting:
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        s.process.send_signal(signal.SIGTERM)
        s.process.send_signal(signal.SIGCONT)
        for c in waiting:
            with c:
                assert c.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert s.end() == 0


def test_who_sends_half_a_request_is_told_503():
    """At the deadline; the first half of its headers is there, or of its body."""
    head = f"POST /v1/describe HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with Server("--drain-timeout", "1", model=TINY) as s:
        held = [s.connect() for _ in range(2)]
        for c, part in zip(held, (head.encode()[:-2], head.encode() + BODY[:-1])):
            c.sendall(part)
        wait_for(lambda: s.metric("lammd_connections") == 3)
        s.process.send_signal(signal.SIGTERM)
        for c in held:
            with c:
                answer = http.client.HTTPResponse(c)
                answer.begin()
                reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
            contract.check("POST", "/v1/describe", reply)
            assert (reply.status, reply.code) == (503, "draining") and reply.headers["Retry-After"]
        assert s.end() == 0


def test_a_second_signal_is_in_a_hurry():
    with Server() as s:
        thread, out = in_thread(s.ask, "POST", WHOLE, BODY, PNG)
        wait_for(lambda: s.metric("lammd_jobs_running") == 1)
        s.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        assert s.end(signal.SIGINT) == 0
        thread.join()
        assert out[0].status in (200, 503)


def test_full_queue_says_503_and_when_to_come_back():
    with Server("--queue-tokens", "50000", model=MINI) as s:
        threads = [in_thread(s.ask, "POST", WHOLE, photos.png(i), PNG) for i in range(6)]
        for t, _ in threads:
            t.join()
        replies = [out[0] for _, out in threads]
        assert {r.status for r in replies} <= {200, 503}
        refused = [r for r in replies if r.status == 503]
        assert refused and len(refused) < 6
        assert all(r.code == "queue_full" and 1 <= int(r.headers["Retry-After"]) <= 600 for r in refused)
        assert s.ask("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG).status == 200


def test_too_much_work_ever():
    with Server("--kv-tokens", "300", "--cached-images", "-1") as s:
        assert s.ask("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG).status == 200


def test_too_many_connections_say_503():
    with Server("--connections", "4", model=TINY) as s:
        held = [s.connect() for _ in range(4)]
        for c in held:
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"alive" in c.recv(4096)
        got, closed = s.raw(b"")
        assert got.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in got and closed
        assert b"too_many_connections" in got
        for c in held:
            c.close()
        wait_for(lambda: s.raw(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")[0].startswith(b"HTTP/1.1 200"))


def test_request_deadline_is_504():
    """Of 4,096 places one by one.

    A stream is cut ten seconds after its deadline; a pass must not take as long.
    """
    with Server("--request-timeout", "1", "--threads", "1", "--lanes", "1", model=MINI) as s:
        reply = s.ask("POST", WHOLE, BODY, PNG)
        assert (reply.status, reply.code) == (504, "deadline")
        assert s.ask("POST", "/v1/pixels", *every_pixel()).code == "deadline"
        stream = s.ask("POST", WHOLE, BODY, {**PNG, "Accept": "text/event-stream"}).body
        name, problem = events(stream)[-1]
        assert (name, problem["error"]["code"]) == ("error", "deadline")


def test_deadlines_of_every_call():
    """All at once to one slow thread. An act may overtake them all."""
    with Server("--request-timeout", "1", "--threads", "1", "--device", "ref", model=MINI) as s:
        threads = [in_thread(s.ask, "POST", *call) for call in [(WHOLE, BODY, PNG)] + every_call(400)]
        for t, _ in threads:
            t.join()
        for (_, out), call in zip(threads, [("whole",)] + every_call(400)):
            assert (out[0].status, out[0].code) == (504, "deadline") or (call[0] == "/v1/act" and out[0].status == 200), call[0]


def test_a_taken_port_is_told():
    with Server(model=TINY) as s:
        second = run("serve", "--listen", f"127.0.0.1:{s.port}", "--model", TINY)
        assert second.returncode == 1 and b"Address already in use" in second.stderr


def test_two_listeners_and_an_inherited_socket():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    # It must become descriptor 3, and LISTEN_PID is the program's own id, which a shell knows.
    command = (f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "{PROGRAM}" serve '
               f'--model "{TINY}"')
    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               pass_fds=[listener.fileno()])
    try:
        port = listener.getsockname()[1]
        assert process.stdout.readline().strip() == f"listening on http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=SOON) as c:
            c.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert b"alive" in c.recv(4096)
    finally:
        process.terminate()
        assert process.wait(SOON) == 0
        process.stdout.close()
        listener.close()


def test_supervisor_is_told():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notify")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        notify.settimeout(SOON)
        with Server(model=TINY, env={**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}) as s:
            assert notify.recv(4096).startswith(b"READY=1")
            assert notify.recv(4096) == b"WATCHDOG=1"
            s.process.send_signal(signal.SIGTERM)
            told = notify.recv(4096)
            while told == b"WATCHDOG=1":
                told = notify.recv(4096)
            assert told == b"STOPPING=1"
        notify.close()


# ---- the command line ----

def test_command_line():
    assert run().returncode == 2
    assert b"serve" in run("help").stdout
    assert run("version").stdout.startswith(b"lammd ")
    assert run("brew").returncode == 2
    assert b"unknown option --nope" in run("serve", "--nope").stderr
    assert b"--listen ADDR:PORT" in run("serve", "--help").stdout


def test_reconstruct_without_a_server_gives_the_same_bytes():
    with tempfile.TemporaryDirectory() as folder, Server() as s:
        photo, seen = os.path.join(folder, "photo.png"), os.path.join(folder, "seen.png")
        with open(photo, "wb") as f:
            f.write(BODY)
        done = run("reconstruct", photo, "-o", seen, "--width", "8", "--height=8", "--estimate", "median", cwd=ROOT)
        assert done.returncode == 0, done.stderr
        with open(seen, "rb") as f:
            assert f.read() == s.ask("POST", "/v1/reconstruct?width=8&height=8&estimate=median", BODY, PNG).body
        assert os.listdir(folder) == ["photo.png", "seen.png"] or len(os.listdir(folder)) == 2
        to_pipe = run("reconstruct", "-", "-o", "-", "--width", "8", "--height", "8", "--estimate", "median",
                      cwd=ROOT, input=BODY)
        with open(seen, "rb") as f:
            assert to_pipe.stdout == f.read()
        bad = run("reconstruct", photo, "-o", seen, "--width", "65", cwd=ROOT)
        assert bad.returncode == 1 and b"width must be an integer from 1 to 64" in bad.stderr
        assert run("reconstruct", "/nope.png", "-o", seen, cwd=ROOT).returncode == 1
        unwritable = run("reconstruct", photo, "-o", folder + "/no/such/seen.png", cwd=ROOT)
        assert unwritable.returncode == 1 and b"No such file" in unwritable.stderr


def test_ask_without_a_server_gives_the_same():
    with tempfile.TemporaryDirectory() as folder, Server() as s:
        photo, mask = os.path.join(folder, "photo.png"), os.path.join(folder, "mask.png")
        with open(photo, "wb") as f:
            f.write(BODY)
        box = run("ask", "refer", photo, "sentence=the red ball", cwd=ROOT)
        assert box.returncode == 0, box.stderr
        same = s.ask("POST", "/v1/refer?sentence=the+red+ball", BODY, PNG).json()
        assert json.loads(box.stdout)["percent"] == same["percent"]
        cut = run("ask", "segment", photo, "sentence=the red ball", "box=0,0,6,6", "-o", mask, cwd=ROOT)
        assert cut.returncode == 0, cut.stderr
        with open(mask, "rb") as f:
            assert f.read() == s.ask("POST", "/v1/segment?sentence=the+red+ball&box=0,0,6,6", BODY, PNG).body
        act = run("ask", "act", photo, photo, "game=car_racing", cwd=ROOT)
        assert len(json.loads(act.stdout)["values"]) == 3, act.stderr
        assert b"question is empty" in run("ask", "vqa", photo, "question=", cwd=ROOT).stderr
        assert run("ask", "paint", photo, cwd=ROOT).returncode == 2
        assert b"No such file" in run("ask", "refer", "/nope.png", "sentence=x", cwd=ROOT).stderr


def test_the_same_png_under_all_circumstances():
    """One lane or 4,096, one thread or two, cold or warm, alone or beside another picture."""
    with Server() as s:
        cold = s.ask("POST", "/v1/reconstruct", BODY, PNG).body
        warm = s.ask("POST", "/v1/reconstruct", BODY, PNG).body
        beside = in_thread(s.ask, "POST", WHOLE, photos.png(5), PNG)
        crowded = s.ask("POST", "/v1/reconstruct", BODY, PNG).body
        beside[0].join()
        assert beside[1][0].status == 200
    assert cold == warm == crowded and picture_size(cold) == (64, 64)
    ways = (("--lanes=64", "--threads=2"), ("--lanes=4096", "--threads=1"), ("--rows=72", "--cached-images=-1"),
            ("--lanes=4096", "--threads=2"), ("--lanes=1", "--threads=1"))
    for options in ways[:count(2, len(ways))]:
        done = run("reconstruct", "-", "-o", "-", *options, cwd=ROOT, input=BODY)
        assert done.stdout == cold, (options, done.stderr)


def test_two_devices_share_the_work():
    """Pictures asked at once go to both, each is seen once, and the bytes are one device's."""
    few = "/v1/reconstruct?width=24&height=24"
    with Server() as s:
        want = [s.ask("POST", few, photos.png(i), PNG).body for i in range(4)]
    with Server("--device", "cpu,cpu") as s:
        threads = [in_thread(s.ask, "POST", few, photos.png(i), PNG, 4 * SOON) for i in range(4)]
        for thread, _ in threads:
            thread.join()
        assert [out[0].body for _, out in threads] == want
        rows = [s.metric('lammd_device_token_rows_total{device="%d"}' % d) for d in range(2)]
        assert min(rows) > 0 and sum(rows) == s.metric("lammd_token_rows_total")
        for i in range(4):
            assert s.ask("POST", few, photos.png(i), PNG).body == want[i]
        assert s.metric("lammd_pictures_seen_total") == 4 and s.metric("lammd_step_allocations_total") == 0
    bad = run("serve", "--listen", "127.0.0.1:0", "--device", "cpu,nothing")
    assert bad.returncode == 1 and b'no backend "nothing"' in bad.stderr


def test_a_lost_device_ends_the_process():
    """Who waits is answered, /readyz says 503, the log says why, the exit status is not 0."""
    with Server("--device", "cuda", model=TINY, env={**os.environ, "LAMMD_PLUGIN": built("plugin_dying.so")}) as s:
        assert s.ask("GET", "/readyz").status == 200
        lost = s.ask("POST", "/v1/pixels", json.dumps({"image": base64.b64encode(BODY).decode(), "points": [[0, 0]]}), JSON)
        assert (lost.status, lost.code) == (503, "device_lost"), lost.body
        try:
            assert s.ask("GET", "/readyz").status == 503
        except ConnectionError:
            pass  # it has stopped listening already
        assert s.process.wait(SOON) == 1
        s.reader.join(SOON)
        assert "event=device_lost" in s.log() and "fell off the bus" in s.log(), s.log()


def test_eval_prints_the_bars():
    with tempfile.TemporaryDirectory() as folder:
        for i in range(2):
            with open(os.path.join(folder, f"{i}.png"), "wb") as f:
                f.write(photos.png(i))
        with open(os.path.join(folder, "bad.png"), "w") as f:
            f.write("no picture")
        done = run("eval", "pvp", folder, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        for word in (b"2 pictures", b"1 pictures left out", b"mode", b"median", b"8 x 8 thumbnail", b"mean colour", b"6.65"):
            assert word in done.stdout, done.stdout
        assert b"bad.png" in done.stderr
        assert run("eval", "pvp", folder + "/nope", cwd=ROOT).returncode == 1


# ---- a model folder that is not right ----

def spoil(folder, change):
    """A copy of the tiny model, its safetensors given to `change` as (header, data)."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("taps*", "answers*"))
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(size)), f.read()
    header, data = change(header, data)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def told(change, *words):
    with tempfile.TemporaryDirectory() as top:
        folder = os.path.join(top, "model")
        spoil(folder, change)
        done = run("serve", "--listen", "127.0.0.1:0", "--model", folder)
        assert done.returncode == 1, done
        for word in words:
            assert word.encode() in done.stderr, done.stderr


def tensor(header):
    return next(name for name in header if "q_proj" in name)


def rename(h, d):
    name = tensor(h)
    return {("x." + n if n == name else n): v for n, v in h.items()}, d


def reshape(h, d):
    name = tensor(h)
    h[name]["shape"] = [h[name]["shape"][0] // 2, h[name]["shape"][1] * 2]
    return h, d


def overlap(h, d):
    a, b = [n for n in h if n != "__metadata__" and h[n]["dtype"] == h[tensor(h)]["dtype"]
            and h[n]["shape"] == h[tensor(h)]["shape"]][:2]
    h[b]["data_offsets"] = h[a]["data_offsets"]
    return h, d


def test_spoilt_weights_are_told():
    told(lambda h, d: ({n: v for n, v in h.items() if n != tensor(h)}, d), "model.safetensors")
    told(lambda h, d: (h, d[:-100]), "model.safetensors")
    told(lambda h, d: (h, d + bytes(64)), "model.safetensors")
    told(overlap, "model.safetensors")
    told(rename, "q_proj")
    told(reshape, "q_proj", "shape")
    told(lambda h, d: (b"{", d), "model.safetensors")
    told(lambda h, d: (b"{" + b"[" * 5000, d), "model.safetensors")


def test_missing_and_unfit_files_are_told():
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        with tempfile.TemporaryDirectory() as top:
            folder = os.path.join(top, "model")
            shutil.copytree(TINY, folder)
            os.remove(os.path.join(folder, name))
            done = run("serve", "--listen", "127.0.0.1:0", "--model", folder)
            assert done.returncode == 1 and name.encode() in done.stderr, done.stderr
            with open(os.path.join(folder, name), "wb"):
                pass
            assert run("serve", "--listen", "127.0.0.1:0", "--model", folder).returncode == 1
    for model, stranger in ((TINY, MINI), (MINI, TINY)):  # a larger tokenizer, a smaller one
        with tempfile.TemporaryDirectory() as top:
            folder = os.path.join(top, "model")
            shutil.copytree(model, folder, ignore=shutil.ignore_patterns("SHA256SUMS"))
            shutil.copy(os.path.join(stranger, "tokenizer.model"), folder)
            done = run("serve", "--listen", "127.0.0.1:0", "--model", folder)
            assert done.returncode == 1 and b"is it another model's?" in done.stderr, done.stderr
    with tempfile.TemporaryDirectory() as top:
        folder = os.path.join(top, "model")
        shutil.copytree(TINY, folder)
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        config["text_config"]["bos_token_id"] = 2
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config, f)
        done = run("serve", "--listen", "127.0.0.1:0", "--model", folder)
        assert done.returncode == 1 and b"begins with id 1" in done.stderr, done.stderr
