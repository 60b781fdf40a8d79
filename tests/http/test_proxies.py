"""test_proxies.py - the recipes of docs/deploy.md, as they are printed there, before a server.

Ports and files are put in their places. A proxy that is not installed is skipped aloud.
"""
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import photos
from lamm import MINI, PNG, ROOT, Reply, Server, Skip, multipart
from suite import SOON, count, wait_for
from test_tls import certificate

WHOLE = "/v1/reconstruct?estimate=mean"
NAME = "see.example"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def recipe(language, which):
    with open(os.path.join(ROOT, "docs/deploy.md"), encoding="utf-8") as f:
        return re.findall(rf"```{language}\n(.*?)```", f.read(), re.S)[which]


class Proxy:
    """One of the three, before the server at `port`."""

    def __init__(self, language, port, which=0, own_port=None):
        if not shutil.which(self.program(language)):
            raise Skip(f"{self.program(language)} is not installed")
        self.folder = tempfile.mkdtemp()
        self.port = own_port or free_port()
        self.cert, key = certificate(self.folder, NAME)
        both = os.path.join(self.folder, "both")
        with open(both, "w") as f:
            f.write(open(self.cert).read() + open(key).read())
        text = recipe(language, which)
        self.below = "/lammd" if which else ""
        for old, new in (("/etc/ssl/see.example.both", both), ("/etc/ssl/see.example.pem", self.cert),
                         ("/etc/ssl/see.example.key", key), ("127.0.0.1:8080", f"127.0.0.1:{port}"),
                         ("listen 443", f"listen 127.0.0.1:{self.port}"), ("bind :443", f"bind 127.0.0.1:{self.port}"),
                         ("see.example {", f"https://{NAME}:{self.port} {{\n    bind 127.0.0.1")):
            text = text.replace(old, new)
        self.file = os.path.join(self.folder, "config")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        with open(self.file, "w") as f:
            f.write(self.around(language).replace("RECIPE", text))
        self.process = subprocess.Popen(self.words(language), stdout=self.log, stderr=self.log,
                                        env={**os.environ, "HOME": self.folder, "XDG_DATA_HOME": self.folder})
        wait_for(self.is_up)

    @staticmethod
    def program(language):
        return "/usr/sbin/" + language if language != "caddy" else "caddy"

    def around(self, language):
        places = "".join(f"{k}_temp_path {self.folder}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        return {"nginx": f"daemon off; {user} pid {self.folder}/pid; worker_processes 1; error_log stderr;\n"
                         f"events {{}} http {{ access_log off; {places}\nRECIPE}}\n",
                "haproxy": "RECIPE", "caddy": "{\n    admin off\n    auto_https off\n}\nRECIPE"}[language]

    def words(self, language):
        return {"nginx": ["/usr/sbin/nginx", "-e", "stderr", "-p", self.folder, "-c", self.file],
                "haproxy": ["/usr/sbin/haproxy", "-db", "-f", self.file],
                "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", self.file]}[language]

    def is_up(self):
        assert self.process.poll() is None, open(self.log.name).read()
        try:
            return self.ask("GET", "/readyz").status == 200
        except OSError:
            return False

    def connect(self):
        context = ssl.create_default_context(cafile=self.cert)
        context.check_hostname = False
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), SOON), server_hostname=NAME)

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection(NAME, self.port, timeout=SOON)
        c.sock = self.connect()
        try:
            c.request(method, self.below + path, body=body, headers=headers or {})
            answer = c.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            c.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SOON)
        finally:
            self.process.kill()
            self.log.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def start():
    return Server("--allow-host", NAME, "--trusted-proxy", "127.0.0.1", model=MINI)


def check_page(proxy):
    origin = {"Origin": f"https://{NAME}:{proxy.port}"}
    page = proxy.ask("GET", "/", headers=origin)
    assert page.status == 200 and b"<html" in page.body
    for path in re.findall(rb'(?:src|href)="([^"#:]+)"', page.body):
        assert not path.startswith(b"/"), path  # so it works below a path of its own
        assert proxy.ask("GET", "/" + path.decode()).status == 200, path


def check_questions(s, proxy):
    body = photos.png()
    alone = s.ask("POST", WHOLE, body, PNG).body
    origin = {"Origin": f"https://{NAME}:{proxy.port}"}
    reply = proxy.ask("POST", WHOLE, body, {**PNG, **origin})
    assert reply.status == 200 and reply.body == alone
    form, kind = multipart(("image", body, "image/png"))
    assert proxy.ask("POST", WHOLE, form, {**kind, **origin}).body == alone
    for bad in ("https://evil.example", f"https://{NAME}:1", "null"):
        assert proxy.ask("POST", WHOLE, body, {**PNG, "Origin": bad}).status == 403


def check_stream(proxy):
    """The first event is here long before the last one."""
    body = photos.png()
    c = http.client.HTTPConnection(NAME, proxy.port, timeout=SOON)
    c.sock = proxy.connect()
    started = time.monotonic()
    c.request("POST", "/v1/reconstruct", body, {**PNG, "Accept": "text/event-stream"})
    answer = c.getresponse()
    assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/event-stream")
    first = answer.readline()
    first_s = time.monotonic() - started
    rest = answer.read()
    all_s = time.monotonic() - started
    c.close()
    assert first.startswith(b"event:") or first.startswith(b":"), first
    assert b"event: done" in rest, rest[-300:]
    assert all_s - first_s > 0.1 * all_s, (first_s, all_s)


def check_early_answers(proxy, sizes):
    for size in sizes:
        want = {403} if size < 16 << 20 else {403, 413}
        for _ in range(count(1, 20)):
            for headers in ({**PNG, "Origin": "https://evil.example"}, {**PNG, "Content-Encoding": "gzip"}):
                try:
                    status = proxy.ask("POST", WHOLE, bytes(size), headers).status
                except (BrokenPipeError, ConnectionResetError):
                    status = "cut"
                ok = want | ({415} if "Content-Encoding" in headers else set())
                assert status in ok, (size, headers, status)


def test_nginx_below_a_path():
    port = free_port()
    with Server("--allow-origin", f"https://{NAME}:{port}", model=MINI) as s, Proxy("nginx", s.port, 1, port) as proxy:
        check_page(proxy)
        check_questions(s, proxy)


def check(s, language, sizes=(20 << 10, 1 << 20, 20 << 20)):
    with Proxy(language, s.port) as proxy:
        check_page(proxy)
        check_questions(s, proxy)
        check_stream(proxy)
        check_early_answers(proxy, sizes)


def test_nginx(s):
    check(s, "nginx")


def test_haproxy(s):
    check(s, "haproxy")


def test_caddy(s):
    check(s, "caddy", (20 << 10, 200 << 10))  # it cuts whoever has more than 256 KiB still to send
