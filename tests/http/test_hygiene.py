"""test_hygiene.py - HTTP by hand: what smuggles, stalls or lies is refused and disconnected."""
import socket
import subprocess
import time

import photos
from lamm import PNG, PROGRAM, Server
from suite import SOON, count, wait_for

HOST = "Host: localhost\r\n"
BODY = photos.png()


def start():
    return Server("--header-timeout", "2", "--body-timeout", "8", "--idle-timeout", "4")


def head(line="GET /livez HTTP/1.1", *headers, host=HOST):
    return (line + "\r\n" + host + "".join(h + "\r\n" for h in headers) + "\r\n").encode()


def refused(s, data, status, code=None):
    """One answer, then the door is closed; nothing that follows is taken for a request."""
    got, closed = s.raw(data + head("GET /smuggled HTTP/1.1"))
    lines = got.decode("latin1").split("\r\n")
    assert closed, f"left open: {data[:80]} {got[:200]}"
    assert got.startswith(b"HTTP/1.1 %d" % status), f"{data[:80]}: {lines[0]}"
    assert b"/smuggled" not in got and b"not_found" not in got
    if code:
        assert code.encode() in got, got


def test_framing(s):
    post = "POST /v1/reconstruct HTTP/1.1"
    refused(s, head(post, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "header_gate")
    refused(s, head(post, "Content-Length: 3", "Content-Length: 30") + b"abc", 400, "header_gate")
    refused(s, head(post, "Content-Length : 3") + b"abc", 400, "header_gate")
    refused(s, head(post, "Content-Length: 3, 3") + b"abc", 400)
    refused(s, head(post, "Content-Length: +3") + b"abc", 400)
    refused(s, head(post, "Content-Length: -1"), 400)
    refused(s, head(post, "Content-Length: 99999999999999999999"), 413)
    refused(s, head(post, "Transfer-Encoding: xchunked"), 400, "header_gate")
    refused(s, head(post, "Transfer-Encoding: gzip, chunked"), 400, "header_gate")
    refused(s, head(post, "Transfer-Encoding: identity", "Content-Length: 3") + b"abc", 400, "header_gate")
    refused(s, head("POST /livez HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "header_gate")


def test_what_two_readers_read_in_two_ways(s):
    """libmicrohttpd 0.9.75 takes all of these; the relay does not let them in."""
    post = "POST /v1/pixels HTTP/1.1"
    refused(s, head(post, "Content-Length:", " 60"), 400, "header_gate")
    refused(s, head(post, "X: one", " two"), 400, "header_gate")
    refused(s, head(post, "Content-Length: 0\0 75"), 400, "header_gate")
    refused(s, head(post, "Transfer-Encoding: chunked\0x") + b"0\r\n\r\n", 400, "header_gate")
    refused(s, head(post, ": a"), 400, "header_gate")
    refused(s, b"GET /livez HTTP/1.1\nHost: localhost\n\n", 400, "header_gate")
    refused(s, b"GET /livez HTTP/1.1\r\nHost: localhost\nX: a\r\n\r\n", 400, "header_gate")
    refused(s, b"GET /livez x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "header_gate")
    chunked = head(post, "Content-Type: application/json", "Transfer-Encoding: chunked")
    for bad in (b"2;\nxx{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}xx0\r\n\r\n", b"ffffffffffffffff\r\n"):
        refused(s, chunked + bad, 400)
    got, closed = s.raw(chunked + b"2;a=b\r\n{}\r\n0\r\nA: b\r\n\r\n" + head(), 2)
    assert b"missing_picture" in got and b"alive" in got and not closed


def test_names_and_lines(s):
    refused(s, head("GET /livez HTTP/1.1", "X A: 1"), 400, "header_gate")
    refused(s, head("GET /livez HTTP/1.1", "X-\x01: 1"), 400, "header_gate")
    refused(s, head("GET /livez HTTP/1.1", "X: a\x01b"), 400, "header_gate")
    refused(s, head("GET http://evil/livez HTTP/1.1"), 400, "header_gate")
    refused(s, head("GET //livez HTTP/1.1"), 400, "header_gate")
    refused(s, head("GET /./livez HTTP/1.1"), 400, "header_gate")
    refused(s, head("GET /v1/../livez HTTP/1.1"), 400, "header_gate")
    refused(s, head("GET /" + "a" * 5000 + " HTTP/1.1"), 414, "uri_too_long")
    refused(s, head("GET /livez HTTP/1.1", *["X: 1"] * 70), 431, "headers_too_large")
    refused(s, head("GET /livez HTTP/1.1", "X: " + "a" * 70000), 431)
    refused(s, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)


def test_what_the_library_would_answer_otherwise(s):
    """A blank in the target was cut without a word; a folded length made the body a request."""
    got, closed = s.raw(b"GET /livez x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 ") and b"header_gate" in got and closed
    for name in (b"Content-Length", b"transfer-encoding"):
        got, closed = s.raw(b"POST /v1/describe HTTP/1.1\r\nHost: localhost\r\n" + name + b":\r\n 44\r\n\r\n"
                            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1 and closed, got


def test_encoded_paths_are_no_files(s):
    for path in ("/%00", "/livez%00", "/ui/%2e%2e%2fsecret", "/ui/..%2f..%2fetc%2fpasswd", "/%zz"):
        reply = s.ask("GET", path)
        assert reply.status in (400, 404), f"{path}: {reply.status}"
    assert s.ask("GET", "/ui/a/b.js").status == 404


def test_strangers(s):
    for host in ("evil.example", "localhost.evil.example", "evil.example:80"):
        refused(s, head(host=f"Host: {host}\r\n"), 403, "forbidden")
    refused(s, head(host=""), 400)
    refused(s, head(host=HOST + HOST), 400)
    for origin in ("http://evil.example", "null", f"http://localhost:{s.port}"):
        refused(s, head("GET /livez HTTP/1.1", f"Origin: {origin}"), 403, "forbidden")
    own = f"127.0.0.1:{s.port}"
    assert s.ask("GET", "/livez", headers={"Host": own, "Origin": f"http://{own}"}).status == 200


def test_probes_need_no_host(s):
    """HAProxy's `option httpchk GET /readyz` speaks HTTP/1.0 and names no host."""
    for line in ("GET /readyz HTTP/1.0", "GET /livez HTTP/1.0", "HEAD /readyz HTTP/1.0"):
        got, closed = s.raw(head(line, host=""))
        assert got.startswith(b"HTTP/1.1 200 ") and closed, got
    refused(s, head("GET /metrics HTTP/1.0", host=""), 400, "header_gate")
    refused(s, head("GET /readyz HTTP/1.0", "Origin: http://evil.example", host=""), 403, "forbidden")


def test_pages_behind_a_proxy():
    with Server("--allow-host", "see.example", "--allow-origin", "https://other.example") as s:
        for host, origin, status in (("see.example", "https://see.example", 200), ("see.example:443", "https://see.example", 200),
                                     (f"127.0.0.1:{s.port}", "https://other.example", 200), ("see.example", "https://other.example:443", 200),
                                     (f"127.0.0.1:{s.port}", "https://see.example", 403), ("see.example", "https://see.example:8443", 403),
                                     ("else.example", "https://other.example", 403), ("see.example", "http://other.example", 403)):
            got = s.raw(head("POST /v1/act/sessions?game=car_racing HTTP/1.1", f"Origin: {origin}", "Content-Length: 0",
                             "Connection: close", host=f"Host: {host}\r\n"))[0]
            assert got.startswith(b"HTTP/1.1 %d" % (201 if status == 200 else status)), (host, origin, got)
    with Server("--allow-host", "*") as s:
        for host in ("any.example", "see.example:8080"):
            assert s.raw(head("GET /livez HTTP/1.0", host=f"Host: {host}\r\n"))[0].startswith(b"HTTP/1.1 200 ")
            refused(s, head("GET /livez HTTP/1.1", "Origin: http://evil.example", host=f"Host: {host}\r\n"), 403, "forbidden")


def test_rules_that_never_match_are_told():
    for option, value, word in (("--allow-host", "see.example:443", "without scheme, port or pattern"), ("--allow-host", "*.example", "or * for every name"),
                                ("--allow-origin", "see.example", "such as https://see.example"), ("--allow-origin", "https://a/b", "such as")):
        done = subprocess.run([PROGRAM, "serve", "--listen", "127.0.0.1:0", option, value], capture_output=True, text=True, timeout=SOON)
        assert done.returncode == 1 and word in done.stderr and value in done.stderr, (value, done)


def test_methods(s):
    for method, path, allow in (("GET", "/v1/reconstruct", "POST"), ("POST", "/livez", "GET, HEAD"),
                                ("BREW", "/", "GET, HEAD"), ("OPTIONS", "/v1/pixels", "POST")):
        reply = s.ask(method, path)
        assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "method_not_allowed", allow)
    assert s.ask("POST", "/nope", b"x" * 1000, PNG).code == "not_found"


def closes(c):
    c.settimeout(SOON)
    try:
        while c.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_slow_headers_are_cut(s):
    started = time.monotonic()
    with s.connect() as c:
        c.sendall(b"GET /livez HTTP/1.1\r\n")
        c.settimeout(0.3)
        while time.monotonic() - started < SOON:
            try:
                c.sendall(b"X: 1\r\n")
                if c.recv(10) == b"":
                    break
            except socket.timeout:
                continue
            except ConnectionError:
                break
    assert 1.5 < time.monotonic() - started < SOON  # each line is in time for the idle timeout


def test_silent_and_idle_connections_are_cut(s):
    silent, idle = s.connect(), s.connect()
    idle.sendall(head())
    assert b"alive" in idle.recv(4096)
    started = time.monotonic()
    assert closes(silent)
    assert closes(idle) and time.monotonic() - started > 3
    silent.close()
    idle.close()


def test_slow_bodies_are_cut(s):
    started = time.monotonic()
    with s.connect() as c:
        c.sendall(head("POST /v1/reconstruct HTTP/1.1", "Content-Type: image/png", "Content-Length: 100000"))
        c.settimeout(0.5)
        while time.monotonic() - started < SOON:
            try:
                c.sendall(b"\x89")
                if c.recv(10) == b"":
                    break
            except socket.timeout:
                continue
            except ConnectionError:
                break
    assert 5 < time.monotonic() - started < SOON  # 1 KiB/s after 5 s


def leaves(s, accept, how):
    """Asks for 4,096 pixels and leaves. Was the work stopped? Where this client is slow it may have
    been done by then."""
    before, cancelled = s.metric("lammd_pixels_total"), s.metric("lammd_clients_left_total")
    with s.connect() as c:
        c.sendall(head("POST /v1/reconstruct?estimate=mean HTTP/1.1", f"Accept: {accept}",
                       "Content-Type: image/png", f"Content-Length: {len(BODY)}") + BODY)
        wait_for(lambda: s.metric("lammd_jobs_running") == 1 or s.metric("lammd_pixels_total") - before == 4096)
        if how == "reset":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if how == "half":
            c.shutdown(socket.SHUT_WR)
        else:
            c.close()
        wait_for(lambda: s.metric("lammd_jobs_running") == 0)
        assert s.metric('lammd_kv_slots{state="used"}') == 0
        is_stopped = s.metric("lammd_pixels_total") - before < 4096
        assert not is_stopped or s.metric("lammd_clients_left_total") == cancelled + 1, f"{accept} {how}"
        return is_stopped


def test_who_leaves_stops_the_work(s):
    for accept in ("image/png", "text/event-stream") * count(1, 167):
        for how in ("close", "reset", "half"):
            assert any(leaves(s, accept, how) for _ in range(20)), f"{accept} {how}: worked to the end"


def test_the_gate_counts(s):
    before = s.metric("lammd_header_gate_refusals_total")
    s.raw(head("GET // HTTP/1.1"))
    assert s.metric("lammd_header_gate_refusals_total") == before + 1
