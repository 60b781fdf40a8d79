"""test_sturdy.py - nobody can take the service away: hostile requests beside honest ones.

Each test is a way in which one client, without a key and without skill, once stopped the server for
all others.
"""
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import photos
from lamm import JSON, MINI, PNG, PROGRAM, TINY, Server, Skip, built, data_url, events
from suite import SOON, Thread, count, wait_for

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
        self.thread = Thread(target=self.run)
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


NGINX = """daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 64m; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    server {{ listen 127.0.0.1:{port}; proxy_http_version 1.1; proxy_request_buffering {buffering};
             location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_set_header Host $http_host; }} }}
}}
"""


def test_refusals_through_a_proxy():
    """413, 415 and 403 of a body of 20 MB reach a client behind nginx, each time."""
    if not shutil.which("nginx"):
        raise Skip("nginx is not installed")
    for buffering in ("on", "off"):
        with tempfile.TemporaryDirectory() as folder, Server(model=TINY) as s:
            os.chmod(folder, 0o777)
            port = free_port()
            with open(os.path.join(folder, "conf"), "w") as f:
                f.write(NGINX.format(dir=folder, port=port, upstream=s.port, buffering=buffering))
            proxy = subprocess.Popen(["nginx", "-e", os.path.join(folder, "error.log"), "-c", os.path.join(folder, "conf")])
            try:
                behind = Server.__new__(Server)  # its `ask`, through the proxy
                behind.port = port
                wait_for(lambda: can_connect(port))
                for _ in range(count(3, 20)):
                    for status, headers in ((413, PNG), (415, {**PNG, "Content-Encoding": "gzip"}),
                                            (403, {**PNG, "Host": "elsewhere"})):
                        assert behind.ask("POST", "/v1/describe", bytes(20_000_000), headers).status == status
            finally:
                proxy.terminate()
                proxy.wait(SOON)


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

    threads = [Thread(target=one, args=(i,)) for i in range(12)]
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
        with Server("--connections", "40", "--sessions", "10000", "--key-sessions", "10000", model=MINI, env=env) as s:
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


def ask_pixels(port, body):
    """The status and Retry-After of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
    try:
        connection.request("POST", "/v1/pixels", body=body, headers=JSON)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Retry-After")
    finally:
        connection.close()


def capacity(port, bodies, seconds):
    """Requests a second that 16 clients get done, each asking again as soon as it is answered."""
    done = []
    start = time.monotonic()
    end = start + seconds

    def client(i):
        while time.monotonic() < end:
            if ask_pixels(port, bodies[i % len(bodies)])[0] == 200:
                done.append(time.monotonic())
            i += 1

    threads = [Thread(target=client, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return len(done) / (time.monotonic() - start)


def test_overload_is_refused_at_once():
    """Promise 3: at four times what it can do, what comes too late is refused at once."""
    bodies = [json.dumps({"image": data_url(photos.png(i)), "points": [[x % 64, (7 * x + i) % 64] for x in range(128)]})
              for i in range(8)]
    seconds = count(6, 40)
    for options in (["--request-timeout=15"], [])[:count(1, 2)]:
        with Server("--queue-seconds=10", *options) as s:
            assert ask_pixels(s.port, bodies[0])[0] == 200  # an idle queue refuses nothing
            peak = capacity(s.port, bodies, count(4, 10))
            out, threads = [], []
            start = time.monotonic()

            def one(due, body):
                status, after = ask_pixels(s.port, body)
                out.append((status, after, due, time.monotonic()))

            rate = max(4 * peak, count(30, 0))  # a busy machine may have shown less than it can
            for k in range(int(rate * seconds)):
                due = start + k / rate
                time.sleep(max(0, due - time.monotonic()))
                threads.append(Thread(target=one, args=(due, bodies[k % 8])))
                threads[-1].start()
            for t in threads:
                t.join()
            good = sum(status == 200 and at <= start + seconds for status, _, _, at in out) / seconds
            refused = [(at - due, after) for status, after, due, at in out if status == 503]
            print(f"     overload {options}: {peak:.1f}/s at most, {good:.1f}/s done of {rate:.1f}/s, "
                  f"{len(refused)} refused, p99 after {quantile([d for d, _ in refused] or [0], .99):.2f} s")
            statuses = [status for status, *_ in out]
            assert set(statuses) <= {200, 503}, {n: statuses.count(n) for n in set(statuses)}
            assert all(after and int(after) >= 1 for _, after in refused)
            # The first seconds fill the queue; and the machine is never quite the same.
            assert good > count(0.3, 0.7) * peak, (good, peak)


def test_the_queue_of_one_keeps_no_other_out():
    """One address asks for large pictures until it is refused; another one gets its answer."""
    large, small = "/v1/reconstruct", "/v1/reconstruct?width=2&height=2"
    with Server("--queue-seconds=1", "--trusted-proxy=127.0.0.0/8", "--drain-timeout=0") as s:
        def ask(path, i, peer):
            return s.ask("POST", path, photos.png(i), PNG | {"X-Forwarded-For": peer}).status
        assert ask(large, 0, "192.0.2.7") == 200  # its pace is known now
        statuses, is_enough = [], threading.Event()

        def keep_full(i):
            while not is_enough.wait(0.2):
                try:
                    statuses.append(ask(large, i, "192.0.2.7"))
                except (OSError, http.client.HTTPException):
                    assert is_enough.is_set()  # it came when the door was closed
        threads = [Thread(target=keep_full, args=(i,)) for i in range(1, 13)]
        for t in threads:
            t.start()
        try:
            wait_for(lambda: 503 in statuses)
            # between two pictures there may be room
            wait_for(lambda: ask(small, 40, "192.0.2.7") == 503)
            assert [ask(small, 41 + i, f"192.0.2.{8 + i}") for i in range(4)] == [200] * 4
        finally:
            is_enough.set()
        assert s.end() == 0  # it cuts those that run
        for t in threads:
            t.join()
        assert set(statuses) <= {200, 503}


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

        threads = [Thread(target=client, args=(i,), daemon=True) for i in range(count(20, 60))]
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


class Stopped:
    """A thread of a process, stopped by ptrace(2) as long as this lasts."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, pid, name):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long] * 4
        tasks = f"/proc/{pid}/task"
        found = [t for t in os.listdir(tasks) if open(f"{tasks}/{t}/comm").read().strip() == name]
        assert len(found) == 1, (name, found)
        self.thread = int(found[0])

    def __enter__(self):
        if self.libc.ptrace(self.SEIZE, self.thread, 0, 0):
            raise Skip("ptrace is not allowed here")
        assert self.libc.ptrace(self.INTERRUPT, self.thread, 0, 0) == 0
        os.waitpid(self.thread, self.WALL)

    def __exit__(self, *_):
        self.libc.ptrace(self.DETACH, self.thread, 0, 0)


def supervised(test):
    """Run test(server, count of signs of life so far)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notify")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        notify.settimeout(0.01)
        beats = [0]

        def heard():
            try:
                while True:
                    beats[0] += notify.recv(4096) == b"WATCHDOG=1"
            except TimeoutError:
                return beats[0]

        env = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}
        with Server(model=MINI, env=env) as s:
            wait_for(lambda: heard() > 2)
            test(s, heard)
        notify.close()


def falls_silent(s, heard):
    """No more signs of life within a few seconds."""
    wait_for(lambda: "event=stuck" in s.log())
    before = heard()
    time.sleep(1)
    assert heard() == before


def test_a_hung_engine_is_seen():
    def test(s, heard):
        with Stopped(s.process.pid, "lammd-step"):
            time.sleep(3)  # nothing to do: that is no hang
            assert "event=stuck" not in s.log() and s.ask("GET", "/readyz").status == 200
            job = Thread(target=s.ask, args=("POST", "/v1/reconstruct?width=2&height=2", BODY, PNG))
            job.start()
            falls_silent(s, heard)
            assert s.ask("GET", "/livez").status == 200
            reply = s.ask("GET", "/readyz")
            assert (reply.status, reply.code) == (503, "stuck")
        job.join()
        wait_for(lambda: s.ask("GET", "/readyz").status == 200)
        before = heard()
        wait_for(lambda: heard() > before)

    supervised(test)


def test_a_hung_loop_is_seen():
    def test(s, heard):
        assert s.metric("lammd_connections") == 1 and s.metric("lammd_connections_total") == 2
        with Stopped(s.process.pid, "MHD-single"):
            falls_silent(s, heard)
        wait_for(lambda: "event=unstuck" in s.log())
        assert s.ask("GET", "/readyz").status == 200

    supervised(test)


def free_port():
    with socket.socket() as c:
        c.bind(("127.0.0.1", 0))
        return c.getsockname()[1]


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SOON).close()
        return True
    except OSError:
        return False


def test_it_answers_while_it_loads():
    port = free_port()
    env = {**os.environ, "LAMMD_PLUGIN": built("plugin_dying.so"), "DYING_SLOW": "3000"}
    process = subprocess.Popen([PROGRAM, "serve", "--listen", f"127.0.0.1:{port}", "--device", "cuda", "--model", TINY],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True)
    s = Server.__new__(Server)  # its `ask`, without a process of its own
    s.port = port

    try:
        wait_for(lambda: can_connect(port))
        assert s.ask("GET", "/livez").status == 200
        assert s.ask("GET", "/").status == 200
        assert s.metric("lammd_ready") == 0
        for method, path, body, headers in (("GET", "/readyz", None, {}), ("GET", "/v1/models", None, {}),
                                            ("GET", "/v1/models/lammd", None, {}), ("POST", "/v1/describe", BODY, PNG)):
            reply = s.ask(method, path, body, headers)
            assert (reply.status, reply.code) == (503, "loading"), path
            assert int(reply.headers["Retry-After"]) >= 1
        assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}\n"
        assert s.ask("GET", "/readyz").status == 200 and s.metric("lammd_ready") == 1
    finally:
        process.terminate()
        assert process.wait(SOON) == 0
        process.stdout.close()


def heard_out(connection):
    """Status and body of what was asked on it."""
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_every_stream_hears_of_the_end():
    """However busy it is at that moment: an error event, and no cut."""
    for _ in range(count(1, 10)):
        with Server("--drain-timeout", "0", "--connections", "2000") as s:
            out, threads, accept = [], [], {**PNG, "Accept": "text/event-stream"}
            for i in range(count(24, 48)):  # each has sent all of its request by then
                c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON)
                c.request("POST", "/v1/reconstruct?estimate=mean", photos.png(i), accept)
                threads.append(Thread(target=lambda c=c: out.append(heard_out(c))))
                threads[-1].start()
            wait_for(lambda: s.metric("lammd_jobs_running") >= 10)
            assert s.end() == 0
            for t in threads:
                t.join()
            for status, body in out:
                assert status == 503 or events(body)[-1][0] in ("error", "done"), body[-300:]


def test_too_few_files_are_said():
    script = 'ulimit -n "$1"; shift; exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", "10", PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", TINY],
                          capture_output=True, timeout=SOON)
    assert done.returncode == 1 and b"ulimit -n" in done.stderr, done.stderr
