"""test_tls.py - TLS, and what stands before libmicrohttpd: versions, reload, early answers."""
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import photos
import state
import test_files
from lamm import MINI, PNG, PROGRAM, TINY, Server, Skip
from suite import SOON, Thread, count, wait_for

HOST = "Host: localhost\r\n"
WHOLE = "/v1/reconstruct?estimate=mean"


def certificate(folder, name, issuer=None):
    """Make NAME.pem and NAME.key, signed by itself or by another; both paths."""
    if not shutil.which("openssl"):
        raise Skip("the program openssl is not installed")
    cert, key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", key, "-out", cert, "-days", "30", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    if issuer:
        words += ["-CA", issuer[0], "-CAkey", issuer[1]]
    subprocess.run(words, check=True, capture_output=True)
    return cert, key


class Secure(Server):
    """A server with a plain port and one with TLS."""

    def __init__(self, *options, model=TINY):
        self.folder = tempfile.mkdtemp()
        self.cert, self.key = certificate(self.folder, "first")
        super().__init__("--listen-tls", "127.0.0.1:0", "--tls-cert", self.cert, "--tls-key", self.key, *options, model=model)
        line = self.process.stdout.readline()
        self.tls_port = int(re.match(r"listening on https://127\.0\.0\.1:(\d+)$", line)[1])

    def end(self, *how, **more):
        shutil.rmtree(self.folder, ignore_errors=True)
        return super().end(*how, **more)

    def tls(self, change=None, trust=None):
        context = ssl.create_default_context(cafile=trust or self.cert)
        if change:
            change(context)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), SOON), server_hostname="localhost")


def start():
    return Secure()


def get(c, path="/livez"):
    c.sendall(f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode())
    return c.recv(65536)


def everything(c):
    got = b""
    while True:
        piece = c.recv(65536)
        if not piece:
            return got
        got += piece


def post(path, length, *headers, host=HOST):
    return (f"POST {path} HTTP/1.1\r\n{host}Content-Type: image/png\r\nContent-Length: {length}\r\n"
            + "".join(h + "\r\n" for h in headers) + "\r\n").encode()


def test_answers_are_the_same_with_tls(s):
    body = photos.png()
    plain = s.ask("POST", WHOLE, body, PNG).body
    with s.tls() as c:
        for _ in range(2):  # and the connection stays open
            c.sendall(post(WHOLE, len(body)) + body)
            got = b""
            while plain not in got:
                piece = c.recv(65536)
                assert piece, got[:200]
                got += piece
        assert c.selected_alpn_protocol() is None
        assert b"alive" in get(c)


def test_only_what_is_sound_is_spoken(s):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        def fix(context):
            context.minimum_version = context.maximum_version = version
        with s.tls(fix) as c:
            assert b"alive" in get(c)
            assert c.version() == version.name.replace("_", ".")
    for words in (["-tls1"], ["-tls1_1"], ["-tls1_2", "-cipher", "AES128-SHA:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.tls_port}", *words],
                              input=b"", capture_output=True, timeout=SOON)
        assert done.returncode, words


def test_alpn_is_http_1(s):
    with s.tls(lambda context: context.set_alpn_protocols(["h2", "http/1.1"])) as c:
        assert c.selected_alpn_protocol() == "http/1.1"
    try:
        s.tls(lambda context: context.set_alpn_protocols(["h2"])).close()
        raise AssertionError("h2 was agreed on")
    except ssl.SSLError:
        pass


def test_each_port_speaks_its_own(s):
    with socket.create_connection(("127.0.0.1", s.tls_port), SOON) as c:
        c.sendall(f"GET /livez HTTP/1.1\r\n{HOST}\r\n".encode())
        try:
            assert b"HTTP" not in everything(c)
        except ConnectionError:
            pass
    port = s.tls_port
    try:
        s.tls_port = s.port
        s.tls().close()
        raise AssertionError("TLS on the plain port")
    except (ssl.SSLError, ConnectionError):
        pass
    finally:
        s.tls_port = port
    assert s.ask("GET", "/livez").status == 200


def test_the_certificate_changes_without_a_drop():
    with Secure() as s:
        old = s.cert
        keep = os.path.join(s.folder, "old.pem")
        shutil.copy(old, keep)
        with s.tls(trust=keep) as before:
            assert b"alive" in get(before)
            fresh = certificate(s.folder, "second")
            os.rename(fresh[1], s.key)
            os.rename(fresh[0], s.cert)
            s.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "event=reload" in s.log())
            with s.tls() as after:
                assert b"alive" in get(after)
                assert ("commonName", "second") in [x[0] for x in after.getpeercert()["subject"]]
            assert b"alive" in get(before)
            with open(s.cert, "w") as f:
                f.write("nothing\n")
            s.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "the certificate stays as it was: --tls-cert" in s.log())
            assert b"alive" in get(before)


def test_clients_show_their_certificate():
    folder = tempfile.mkdtemp()
    try:
        ca = certificate(folder, "authority")
        mine = certificate(folder, "mine", issuer=ca)
        stranger = certificate(folder, "stranger")
        with Secure("--tls-client-ca", ca[0]) as s:
            with s.tls(lambda context: context.load_cert_chain(*mine)) as c:
                assert b"alive" in get(c)
            for pair in (None, stranger):
                try:
                    with s.tls(lambda context: pair and context.load_cert_chain(*pair)) as c:
                        assert get(c) == b""
                except (ssl.SSLError, ConnectionError):
                    pass
    finally:
        shutil.rmtree(folder)


def test_bad_files_are_named():
    folder = tempfile.mkdtemp()
    try:
        cert, key = certificate(folder, "one")
        other = certificate(folder, "other")
        locked = os.path.join(folder, "locked.key")
        subprocess.run(["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked], check=True, capture_output=True)
        for words, text in ((["--tls-cert", cert], "--tls-key"), ([], "--tls-cert"),
                            (["--tls-cert", key, "--tls-key", key], "--tls-cert " + key),
                            (["--tls-cert", cert, "--tls-key", other[1]], "--tls-key " + other[1]),
                            (["--tls-cert", cert, "--tls-key", locked], "--tls-key " + locked),
                            (["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", "/none"], "--tls-client-ca /none")):
            done = subprocess.run([PROGRAM, "serve", "--model", TINY, "--listen-tls", "127.0.0.1:0", *words],
                                  capture_output=True, text=True, timeout=SOON)
            assert done.returncode == 1 and text in done.stderr, (words, done.stderr)
    finally:
        shutil.rmtree(folder)


def test_early_answers_are_read_while_a_body_is_sent(s):
    """As http.client does: all is sent first, then the answer is read."""
    for size in (20 << 10, 1 << 20, 20 << 20):
        for head, status in ((post("/v1/reconstruct", size, host="Host: evil.example\r\n"), b"403"),
                             (post("/v1/reconstruct", size, "Content-Encoding: gzip"), b"415"),
                             (post("/v1/reconstruct", size, "Origin: http://evil.example"), b"403")):
            for _ in range(count(1, 20)):
                for c in (s.connect(), s.tls()):
                    with c:
                        c.sendall(head)
                        c.sendall(bytes(size))
                        assert everything(c).startswith(b"HTTP/1.1 " + status)


def goodbye(sock):
    """With close_notify. Who is answered meanwhile has data in the way, which isn't read."""
    with contextlib.suppress(ssl.SSLError):
        sock.unwrap()


def test_files_come_and_go_with_tls():
    """Training data is the largest body there is, both ways; what is cut short leaves nothing."""
    data = random.Random(1).randbytes(count(5, 200) << 20)
    with tempfile.TemporaryDirectory() as made, state.Folder() as folder:
        cert, key = certificate(made, "first")
        with folder.serve("--listen-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key) as s:
            port = int(s.process.stdout.readline().rsplit(":", 1)[1])
            c = http.client.HTTPSConnection("localhost", port, timeout=SOON, context=ssl.create_default_context(cafile=cert))
            body, headers = test_files.form(data)
            headers["Authorization"] = f"Bearer {folder.key}"

            def ask(*words):
                c.request(*words)
                answer = c.getresponse()
                return answer.status, answer.read()
            status, file = ask("POST", "/v1/files", body, headers)
            path = f"/v1/files/{json.loads(file)['id']}"
            assert status == 200 and ask("GET", path + "/content", None, headers) == (200, data)
            assert json.loads(ask("DELETE", path, None, headers)[1])["deleted"]
            for end in (goodbye, lambda sock: None):
                c.putrequest("POST", "/v1/files")
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    c.putheader(name, value)
                c.endheaders(body[:-1 << 20])
                wait_for(lambda: test_files.spooled(folder))
                end(c.sock)
                c.close()
                wait_for(lambda: not test_files.spooled(folder))
            wait_for(lambda: s.metric("lammd_connections") <= 1)


def test_who_leaves_stops_the_work_with_tls():
    with Secure(model=MINI) as s:
        body = photos.png()
        for _ in range(count(2, 20)):
            c = s.tls()
            c.sendall(post(WHOLE, len(body)) + body)
            wait_for(lambda: s.metric("lammd_jobs_running") == 1)
            c.close()
            wait_for(lambda: s.metric("lammd_jobs_running") == 0)
        wait_for(lambda: s.metric("lammd_connections") <= 1)


def test_a_drain_lets_tls_finish():
    with Secure(model=MINI) as s:
        body = photos.png()
        alone = s.ask("POST", WHOLE, body, PNG).body
        with s.tls() as idle, s.tls() as c:
            assert b"alive" in get(idle)
            c.sendall(post(WHOLE, len(body)) + body)
            wait_for(lambda: s.metric("lammd_jobs_running") == 1)
            out = []
            t = Thread(target=lambda: out.append(everything(c)))
            t.start()
            assert s.end() == 0
            t.join()
            assert out[0].endswith(alone)
            assert everything(idle) == b""


def test_silent_handshakes_are_cut_and_hold_nobody_up():
    with Secure("--header-timeout", "2") as s:
        silent = [socket.create_connection(("127.0.0.1", s.tls_port), SOON) for _ in range(100)]
        started = time.monotonic()
        with s.tls() as c:
            assert b"alive" in get(c)
        assert s.metric("lammd_connections") <= 2  # they are not libmicrohttpd's yet
        for c in silent:
            try:
                assert c.recv(10) == b""
            except ConnectionError:
                pass
            c.close()
        assert time.monotonic() - started > 1.5
