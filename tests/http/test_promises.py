"""test_promises.py - what docs/promises.md promises of a whole server, and no other test holds.

Many clients at once, many requests one after another, what goes out, what can be counted, and what
happens when the process is killed. Times are printed, not asserted: the machine may be busy.
"""
import collections
import http.client
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import photos
from lamm import JSON, MINI, PATIENT, PNG, PROGRAM, ROOT, Server, Skip
from mix import LIGHT, Mix, Probe, at_once, is_quiet, is_sanitized, leave, metrics
from suite import SOON, Thread, count, wait_for

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def stay(server):
    """A connection that was used once and stays open."""
    c = server.connect()
    c.sendall(LIVEZ)
    assert b"alive" in c.recv(4096)
    return c


def test_load():
    """1,000 connections stay open and 256 requests are in flight: every answer is the one that the
    same request gets alone, none fails, and /livez answers meanwhile."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Server("--connections", "1200", "--kv-tokens", "40000") as s:
        mix = Mix(s)
        idle = [stay(s) for _ in range(count(100, 743))]
        probe = Probe(s.port)
        start = time.monotonic()
        refused = mix.crowd(count(32, 256), count(200, 4000))
        spent = time.monotonic() - start
        said = probe.end()
        print(f"note: load: {sum(mix.counts.values())} answers in {spent:.1f} s, {refused} refused; {said}")
        assert refused == 0
        for c in idle:
            c.sendall(LIVEZ)
            assert b"alive" in c.recv(4096)
            c.close()
        wait_for(lambda: is_quiet(s))


# ---- many requests ----

def files_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 2**20


def test_soak():
    """After many requests of every kind, leavers among them, as many files are open as before, and
    memory has grown by less than 1 MiB for 10,000 requests (and 1 MiB that is nobody's)."""
    half, rng = count(500, 100_000), random.Random(13)
    with Server() as s:
        mix = Mix(s)

        def ask_many():
            light, heavy = (lambda: mix.crowd(6, half * 9 // 10, first=LIGHT)), (lambda: mix.crowd(6, half // 10))
            at_once([light, heavy, *[lambda: leave(mix, rng)] * min(100, half // 20)])
            wait_for(lambda: is_quiet(s))

        ask_many()
        files, before = files_of(s), resident_mib(s)
        ask_many()
        wait_for(lambda: files_of(s) <= files)
        grown = resident_mib(s) - before
        print(f"note: soak: {half} requests, {before:.1f} MiB; as many again, {grown:+.2f} MiB; {files} files")
        assert is_sanitized() or grown < 1 + half / 10_000, f"{grown:.1f} MiB"


# ---- threads ----

def some_pixels(server, seed, out):
    try:
        out.append(server.ask("POST", "/v1/reconstruct?width=24&height=24", photos.png(seed), PNG).status)
    except (OSError, http.client.HTTPException):
        out.append(None)  # it came when the door was closed


def test_races():
    """The thread sanitizer finds nothing in load, leavers and a drain, with several of everything.

    Server.end() raises if a sanitizer has reported.
    """
    if not is_sanitized("thread"):
        raise Skip("not a build with the thread sanitizer: make SAN=thread test T=races")
    for turn in range(count(1, 5)):
        rng = random.Random(turn)
        with Server("--workers", "3", "--threads", "2", "--device", ("cpu", "cpu,cpu")[turn % 2], "--verbose") as s:
            mix = Mix(s, pictures=2)
            work = [lambda: mix.crowd(count(8, 32), count(60, 600)), lambda: [s.metric("lammd_lanes") for _ in range(20)]]
            at_once(work + [lambda: leave(mix, rng)] * count(20, 200))
            out = []
            late = [Thread(target=some_pixels, args=(s, seed, out)) for seed in range(4)]
            for t in late:
                t.start()
            wait_for(lambda: s.metric("lammd_jobs_running") > 0)
            assert s.end() == 0
            for t in late:
                t.join()
            assert set(out) <= {200, 503, None} and 200 in out, out


# ---- nothing goes out ----

def test_nobody_is_called():
    """No address is connected to, and nothing is sent to one, not even for a picture's URL."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as other:
        trace = os.path.join(folder, "trace")
        # -D: the process that is started is the server, and strace a child of it.
        under = ["strace", "-D", "-f", "-o", trace, "-e", "trace=socket,connect,sendto,sendmsg,sendmmsg"]
        if subprocess.run([*under, "true"], capture_output=True).returncode:
            raise Skip("strace may not trace here")
        with Server(env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}, under=under) as s:
            Mix(s, pictures=1)
            for url in (f"http://127.0.0.1:{other.getsockname()[1]}/a.png", "https://localhost/a.png", "file:///etc/passwd"):
                for body in ('{"image":"%s","points":[[0,0]]}', '{"image":{"url":"%s"},"points":[[0,0]]}'):
                    assert s.ask("POST", "/v1/pixels", body % url, JSON).status == 400
            assert s.ask("GET", "/metrics").status == 200
        other.setblocking(False)
        try:
            raise AssertionError(f"somebody came: {other.accept()}")
        except BlockingIOError:
            pass
        with open(trace) as f:
            calls = f.read()
        assert len(re.findall(r"socket\(AF_INET6?, SOCK_STREAM", calls)) == 1, "not only the one that listens"
        assert not re.search(r"SOCK_DGRAM.*AF_INET|AF_INET.*SOCK_DGRAM", calls), calls
        gone = [c for c in calls.splitlines() if "sin_addr" in c or "sin6_addr" in c or ("connect(" in c and "AF_UNIX" not in c)]
        assert not gone, gone


# ---- what can be counted ----

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(\{{{NAME}="[^"\\\n]*"(?:,{NAME}="[^"\\\n]*")*\}})? ([-+0-9.e]+|[+-]Inf|NaN)')


def check_text(text):
    """Prometheus text 0.0.4: each family once, its HELP and TYPE first, counters end in _total."""
    kind, seen, helped = {}, set(), set()
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            assert words[2] not in helped and words[3], line
            helped.add(words[2])
        elif line.startswith("# TYPE "):
            assert words[2] in helped and words[2] not in kind, line
            kind[words[2]] = words[3]
            assert (words[3] == "counter") == words[2].endswith("_total"), line
        else:
            name, labels = re.fullmatch(SAMPLE, line).groups()[:2]
            family = name if name in kind else re.sub("_(bucket|sum|count)$", "", name)
            assert family in kind and (name, labels) not in seen, line
            seen.add((name, labels))
    assert text.endswith("\n") and len(kind) > 30


def histograms(samples):
    """Buckets of each histogram, in order, must rise to its count."""
    buckets = collections.defaultdict(list)
    for name, value in samples.items():
        if "_bucket{" in name:
            buckets[re.sub(r',?le="[^"]*"', "", name)].append(value)
    assert buckets
    for name, values in buckets.items():
        whole = name.replace("_bucket", "_count").replace("{}", "")
        assert values == sorted(values) and values[-1] == samples[whole], name


def counters(samples):
    return {n: v for n, v in samples.items() if re.search(r"(_total|_bucket|_sum|_count)(\{|$)", n)}


def test_metrics():
    """/metrics parses, nothing that counts ever falls, and the requests are those of the client."""
    with Server() as s:
        mix = Mix(s)
        check_text(s.ask("GET", "/metrics").body.decode())
        first, rows, done = metrics(s), [], threading.Event()

        def watch():
            while not done.wait(0.2):
                rows.append(counters(metrics(s)))

        watcher = Thread(target=watch)
        watcher.start()
        try:
            mix.crowd(8, count(120, 5000))
        finally:
            done.set()
            watcher.join()
        rows.append(metrics(s))
        for before, after in zip(rows, rows[1:]):
            fallen = [n for n, v in before.items() if after.get(n, -1) < v]
            assert not fallen, fallen
        histograms(rows[-1])
        for (path, status), times in mix.counts.items():
            name = [n for n in rows[-1] if n.startswith("lammd_http_requests_total{") and f'"{status}"' in n
                    and ('route="%s"' % (path if path != "/no/such/path" else "")) in n]
            grown = sum(rows[-1][n] - first.get(n, 0) for n in name)
            assert grown == times, (path, status, grown, times)


def test_promtool_agrees():
    """Prometheus' own checker has nothing to say about /metrics."""
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed (it comes with prometheus)")
    with Server() as s:
        s.ask("POST", "/v1/reconstruct?width=2&height=2", photos.png(), PNG)
        done = subprocess.run(["promtool", "check", "metrics"], input=s.ask("GET", "/metrics").body, capture_output=True, timeout=SOON)
        assert done.returncode == 0 and not done.stdout + done.stderr, done


# ---- how it was linked ----

def readelf(path):
    if not shutil.which("readelf"):
        raise Skip("readelf is not installed (it comes with binutils)")
    words = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", "--dyn-syms", path]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def check_binding(elf, path):
    assert re.search(r"\(FLAGS\) .*BIND_NOW|\(FLAGS_1\).* NOW|\(BIND_NOW\)", elf), f"{path}: functions are bound late"
    assert "GNU_RELRO" in elf, f"{path}: tables of functions stay writable"
    assert "(TEXTREL)" not in elf and not re.search(r"GNU_STACK.* RWE|LOAD.* RWE", elf), f"{path}: writable code"


def test_the_program_is_hardened():
    """Position-independent, all bound at start and read-only then, stack protector, FORTIFY."""
    if is_sanitized():
        raise Skip("sanitizers take the place of hardening")
    elf = readelf(PROGRAM)
    check_binding(elf, PROGRAM)
    assert re.search(r"Type: +DYN", elf) and re.search(r"\(FLAGS_1\).*PIE", elf)
    assert "__stack_chk_fail" in elf
    assert len(set(re.findall(r" __(\w+)_chk@", elf))) >= 3


def test_plugins_are_bound_at_start():
    """The same of lammd-cuda.so and lammd-mpi.so, where they are built."""
    paths = [os.path.join(os.path.dirname(PROGRAM), f"lammd-{n}.so") for n in ("cuda", "mpi")]
    built = [p for p in paths if os.path.exists(p)]
    if not built:
        raise Skip("no plugin is built")
    for p in built:
        check_binding(readelf(p), p)


# ---- a restart, a crash ----

def start_over(listener):
    """A server on a socket that outlives it, as systemd does it."""
    # It must become descriptor 3, and LISTEN_PID is the program's own id, which a shell knows.
    words = " ".join(f'"{w}"' for w in (PROGRAM, "serve", "--model", MINI, *PATIENT))
    command = f"exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec {words}"
    return subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[listener.fileno()])


def ask_ready(port):
    """The status of GET /readyz on a new connection; 503 says when to come back."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
    c.request("GET", "/readyz")
    answer = c.getresponse()
    answer.read()
    c.close()
    assert answer.status == 200 or (answer.status == 503 and answer.headers["Retry-After"]), answer.status
    return answer.status


def test_a_crash_refuses_nobody():
    """Killed with SIGKILL and started again on the same socket: who came meanwhile is answered."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port, spent, process = listener.getsockname()[1], [], start_over(listener)
    try:
        for _ in range(count(2, 20)):
            wait_for(lambda: ask_ready(port) == 200)
            process.send_signal(signal.SIGKILL)
            process.wait(SOON)
            statuses = []
            waiting = [Thread(target=lambda: statuses.append(ask_ready(port))) for _ in range(16)]
            for t in waiting:
                t.start()
            start = time.monotonic()
            process = start_over(listener)
            wait_for(lambda: ask_ready(port) == 200)
            spent.append(time.monotonic() - start)
            for t in waiting:
                t.join()
            assert len(statuses) == 16, "not everyone was answered"
        print(f"note: start to the first 200: {min(spent):.2f} to {max(spent):.2f} s")
    finally:
        process.terminate()
        assert process.wait(SOON) == 0
        listener.close()


def test_restarts_lose_nobody():
    """Told to end and started again on the same socket, while clients come without a pause: nobody
    is refused, reset or cut, and every answer is whole. 503 says when to come back."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    process, over, answers, wrong = start_over(listener), threading.Event(), [], []

    def wait_for_some():
        so_far = len(answers)
        wait_for(lambda: sum(status == 200 for _, status, _ in answers[so_far:]) > 16 or wrong)

    def client(seed):
        body = photos.png(seed, 24, 18)
        while not over.is_set() and not wrong:
            c = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=SOON)
            try:
                c.request("POST", "/v1/reconstruct?width=6&height=6", body, {**PNG, "Connection": "close"})
                answer = c.getresponse()
                answers.append((seed, answer.status, answer.read()))
                if answer.status != 200 and not (answer.status == 503 and answer.headers["Retry-After"]):
                    wrong.append(answers[-1])
            except (OSError, http.client.HTTPException) as e:
                wrong.append(repr(e))
            c.close()
            time.sleep(0.01)

    clients = [Thread(target=client, args=(seed,)) for seed in range(8)]
    for t in clients:
        t.start()
    try:
        for _ in range(count(2, 20)):
            wait_for_some()
            process.terminate()
            assert process.wait(SOON) == 0
            process = start_over(listener)
        wait_for_some()
    finally:
        over.set()
        for t in clients:
            t.join()
        process.terminate()
        assert process.wait(SOON) == 0
        listener.close()
    assert not wrong, wrong[:3]
    assert len({(seed, body) for seed, status, body in answers if status == 200}) == 8
    print(f"note: restarts: {collections.Counter(status for _, status, _ in answers)}")


# ---- the page ----

def test_the_page_names_tests_that_exist():
    """docs/promises.md: `file.function` is a function of that file."""
    with open(os.path.join(ROOT, "docs/promises.md")) as f:
        named = re.findall(r"`(tests/[\w/]+)\.(test_\w+)`", f.read())
    assert len(named) > 40
    for path, function in named:
        with open(os.path.join(ROOT, path + ".py")) as f:
            assert f"def {function}(" in f.read(), (path, function)
