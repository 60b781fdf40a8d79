"""test_sturdy.py - nobody can take the service away: hostile requests beside honest ones.

Each test is a way in which one client, without a key and without skill, once stopped the server for
all others.
"""
import http.client
import os
import signal
import subprocess
import tempfile
import threading
import time

import photos
from lamm import JSON, MINI, PNG, PROGRAM, TINY, Server, built, data_url
from suite import SOON, count, wait_for

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = photos.png()


def quantile(times, q):
    return sorted(times)[min(len(times) - 1, int(len(times) * q))]


class Probe:
    """Asks /livez again and again over one connection, and keeps how long each answer took."""

    def __init__(self, server, pause=0.01):
        self.server, self.pause = server, pause
        self.times, self.failures = [], 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with self.server.connect() as c:
            while not self.is_over.wait(self.pause):
                start = time.monotonic()
                c.sendall(LIVEZ)
                if b" 200 OK" not in c.recv(4096):
                    self.failures += 1
                self.times.append(time.monotonic() - start)

    def end(self):
        self.is_over.set()
        self.thread.join()
        return self.times


def hostile_act():
    """13 KB that are two frames of 40 million pixels."""
    frame = data_url(photos.png_of(6324, 6324, depth=1, colour=0))
    return ('{"game":"car_racing","frames":["%s","%s"]}' % (frame, frame)).encode()


def test_health_while_acts_are_hostile():
    """Nothing that is decoded stands before /livez: 32 bombs at once."""
    act = hostile_act()
    with Server() as s:
        held = []
        probe = Probe(s)
        for _ in range(count(16, 96)):
            c = s.connect()
            c.sendall(b"POST /v1/act HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(act) + act)
            held.append(c)
        time.sleep(count(3, 30))
        for _ in range(20):
            assert s.ask("GET", "/metrics").status == 200
            assert s.ask("GET", "/readyz").status == 200
        times = probe.end()
        print(f"     /livez under hostile acts: p50 {quantile(times, .5) * 1e3:.1f}, "
              f"p99 {quantile(times, .99) * 1e3:.1f}, max {max(times) * 1e3:.1f} ms, {len(times)} answers")
        assert probe.failures == 0 and len(times) > 50
        # The promise is 20 and 100 ms; a machine that others use, too, has its own pauses.
        assert quantile(times, 0.5) < 0.02 and max(times) < 2, (quantile(times, 0.5), max(times))
        for c in held:
            c.close()
        s.end(signal.SIGKILL)


def test_slow_uploads_lock_nobody_out():
    """16 bodies that are announced with 16 MiB, and come slowly, take what has come of them."""
    with Server(model=MINI) as s:
        slow = []
        for i in range(16):
            c = s.connect()
            length = b"Transfer-Encoding: chunked" if i % 2 else b"Content-Length: 16777216"
            c.sendall(b"POST /v1/describe HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n" + length + b"\r\n\r\n")
            c.sendall(b"500\r\n" + b"x" * 1280 + b"\r\n" if i % 2 else b"x" * 1300)
            slow.append(c)
        wait_for(lambda: s.metric("lammd_body_bytes") >= 16 * 1280)
        assert s.metric("lammd_body_bytes") <= 16 * 65536
        for i in range(count(5, 50)):
            assert s.ask("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG).status == 200
        for c in slow:
            c.close()
        wait_for(lambda: s.metric("lammd_body_bytes") == 0)


def test_a_stuck_reader_of_the_log_stops_nothing():
    """64 KiB of log lines fill a pipe; after that lines are lost, and nothing else."""
    process = subprocess.Popen([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", TINY],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
        for i in range(2000):
            connection.request("GET", "/nowhere")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 404
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        lost = next(line for line in text.splitlines() if line.startswith("lammd_log_lines_lost_total "))
        assert int(lost.split()[1]) > 0
        connection.close()
        process.terminate()
        assert process.wait(SOON) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_refusal_can_be_read_while_sending():
    """20 MB at 2 MB a second: longer than five seconds, and the 413 is there at the end."""
    with Server("--body-timeout=60", model=TINY) as s:
        for path, status, headers in (("/v1/describe", 413, PNG), ("/nowhere", 404, PNG),
                                      ("/v1/describe", 415, {**PNG, "Content-Encoding": "gzip"}),
                                      ("/v1/describe", 403, {**PNG, "Host": "elsewhere"}))[:count(1, 4)]:
            body = bytes(20_000_000)

            def pieces():
                start = time.monotonic()
                for at in range(0, len(body), 200_000):
                    time.sleep(max(0, start + at / count(3_000_000, 2_000_000) - time.monotonic()))
                    yield body[at:at + 200_000]

            connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON)
            connection.request("POST", path, body=pieces(), headers={**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            assert answer.status == status and answer.read(), answer.status
            connection.close()
        for _ in range(count(5, 20)):
            assert s.ask("POST", "/v1/describe", bytes(20_000_000), PNG).status == 413


def test_who_announces_too_much_and_waits_is_told():
    with Server("--body-timeout=2", model=TINY) as s:
        got, closed = s.raw(b"POST /v1/describe HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                            b"Content-Length: 30000000\r\n\r\nabc")
        assert closed and got.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in got, got


def test_the_log_names_the_peer():
    with Server(model=TINY) as s:
        assert s.ask("GET", "/nowhere").status == 404
        wait_for(lambda: "event=request" in s.log())
        assert " peer=127.0.0.1 " in s.log()


def short_of_memory(s, seconds):
    """Requests of every kind meanwhile; whatever is answered says whose fault it is."""
    act = "/v1/act/sessions?game=car_racing"
    calls = [("GET", "/livez", None, {}), ("GET", "/metrics", None, {}), ("GET", "/nowhere", None, {}),
             ("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG), ("POST", act, None, {}),
             ("POST", "/v1/pixels", '{"image":"%s","points":[[0,0]]}' % data_url(BODY), JSON)]
    seen = {}
    end = time.monotonic() + seconds

    def one(at):
        while time.monotonic() < end:
            method, path, body, headers = calls[at % len(calls)]
            at += 1
            connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON)
            try:
                connection.request(method, path, body=body, headers=headers)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                status = 0  # there was no memory even for the connection
            connection.close()
            seen.setdefault(path, set()).add(status)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return seen


def test_a_shortage_of_memory_passes():
    """While allocations fail the client is not blamed; afterwards everything is as before."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"\0")
        f.flush()
        env = {**os.environ, "LD_PRELOAD": built("shortage.so"), "SHORTAGE": f.name}
        with Server("--connections", "40", "--sessions", "10000", model=MINI, env=env) as s:
            assert s.ask("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG).status == 200
            for percent in (1, 30):
                os.pwrite(f.fileno(), bytes([percent]), 0)
                seen = short_of_memory(s, count(3, 12))
                os.pwrite(f.fileno(), b"\0", 0)
                assert all(status in (0, 200, 201, 404, 500, 503) for v in seen.values() for status in v), seen
            wait_for(lambda: s.metric("lammd_connections") == 1, 30)
            for _ in range(50):
                assert s.ask("GET", "/livez").status == 200
            session = s.ask("POST", "/v1/act/sessions?game=car_racing")
            assert session.status == 201, session.body
            assert s.ask("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG).status == 200
            assert s.metric("lammd_body_bytes") == 0 and s.metric("lammd_jobs_running") == 0


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def worst_mix():
    """Bodies that cost the most: bombs of two kinds, JSON of many values, a long string, noise."""
    bomb = photos.png_of(6324, 6324, depth=1, colour=0)
    tokens = b"[" + b"{}," * 160_000 + b"{}]"
    return [("/v1/act", hostile_act(), JSON), ("/v1/reconstruct?width=1&height=1", bomb, PNG),
            ("/v1/pixels", tokens, JSON), ("/v1/pixels", b'{"image":"' + b"A" * 15_000_000 + b'"}', JSON),
            ("/v1/chat/completions", b'{"messages":' + tokens + b"}", JSON),
            ("/v1/describe", os.urandom(11_000_000), PNG), ("/v1/describe", photos.jpeg(), {"Content-Type": "image/jpeg"}),
            ("/v1/segment?sentence=a", BODY, PNG), ("/v1/nowhere", bytes(1_000_000), PNG)]


def test_memory_has_a_ceiling():
    """Promise 12: weights, KV, bodies (96 MiB) and 160 MiB more, whatever comes."""
    seconds = count(5, 60)
    mix = worst_mix()
    # Pictures of 40 million pixels take a client minutes, so they are for the long run.
    with Server(*count(["--megapixels", "4"], [])) as s:
        assert s.ask("POST", "/v1/reconstruct?width=8&height=8", BODY, PNG).status == 200
        calm = resident_mib(s.process.pid)
        idle = [s.connect() for _ in range(count(200, 900))]
        end = time.monotonic() + seconds
        statuses = {}

        def client(i):
            while time.monotonic() < end:
                path, body, headers = mix[i % len(mix)]
                i += 1
                try:
                    status = s.ask("POST", path, body, headers).status
                except (OSError, http.client.HTTPException):
                    status = 0
                statuses[status] = statuses.get(status, 0) + 1

        threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(count(20, 60))]
        for t in threads:
            t.start()
        peak = calm
        while time.monotonic() < end:
            peak = max(peak, resident_mib(s.process.pid))
            time.sleep(0.02)
        for t in threads:
            t.join()
        for c in idle:
            c.close()
        wait_for(lambda: s.metric("lammd_jobs_running") == 0 and s.metric("lammd_body_bytes") == 0)
        print(f"     memory: {calm:.0f} MiB calm, {peak:.0f} at most, {resident_mib(s.process.pid):.0f} after; {statuses}")
        assert peak <= calm + 96 + 160, (calm, peak)
