"""lamm.py - a server under test, and a client whose every answer is held against openapi.yaml.

    with Server() as s:
        reply = s.ask("POST", "/v1/reconstruct?width=8", body, {"Content-Type": "image/png"})

Servers listen on 127.0.0.1 on a free port and are ended by the id of the process that was started.
"""
import atexit
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess

from contract import Contract
from suite import SOON, Thread

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
TINY = os.path.join(ROOT, "tests/golden/tiny")
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
# A machine may be busy; a test of a timeout names its own behind these.
PATIENT = [f"--{name}-timeout=3600" for name in ("header", "body", "request", "idle", "drain")] + ["--queue-seconds=0"]
contract = Contract(os.path.join(ROOT, "openapi.yaml"))


class Skip(Exception):
    """Something outside is missing; the text says what."""


def built(name):
    """A file that `make test` builds beside the runners of the tests."""
    folders = [os.path.join(os.path.dirname(PROGRAM), f, "tests") for f in ("", "release", "build/release")]
    for path in (os.path.join(f, name) for f in [os.environ.get("TESTS", ""), *folders]):
        if os.path.exists(path):
            return path
    raise Skip(f"tests/{name} is not built: make test builds it")


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.type = headers.get("Content-Type", "").split(";")[0]

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The word of a problem, or None."""
        return self.json()["error"]["code"] if self.type == "application/problem+json" else None


class Server:
    def __init__(self, *options, model=MINI, env=None, under=()):
        """`under` is a program that starts it, and becomes it or leaves it its id. It has a session
        of its own: its runs learn only while nothing else there wants the processor, and another
        suite may."""
        self.process = subprocess.Popen(
            [*under, PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", model, *PATIENT, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
        atexit.register(self.process.kill)  # Ctrl-C doesn't reach it there
        line = self.process.stdout.readline()
        found = re.match(r"listening on http://127\.0\.0\.1:(\d+)$", line)
        if not found:
            raise RuntimeError(f"no port: {line!r} {self.process.stderr.read()}")
        self.port = int(found[1])
        self.lines = []
        self.reader = Thread(target=self._read_log, daemon=True)
        self.reader.start()

    def _read_log(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def log(self):
        return "".join(self.lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, how=signal.SIGTERM, wait_s=SOON):
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(SOON)
        self.process.stdout.close()
        self.process.stderr.close()
        if "Sanitizer" in self.log():
            raise AssertionError(self.log())
        return status

    def connect(self, timeout=SOON):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=SOON):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()
        contract.check(method, path, reply)
        return reply

    def raw(self, data, timeout=SOON):
        """Send bytes, read until the server closes or is silent for `timeout`; (bytes, closed)."""
        with self.connect(timeout) as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # it may close before all is sent
            got = b""
            while True:
                try:
                    piece = s.recv(65536)
                except socket.timeout:
                    return got, False
                except OSError:
                    return got, True
                if not piece:
                    return got, True
                got += piece

    def metric(self, name):
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        if "{" in name:
            return 0.0  # a labelled counter appears when it first counts
        raise KeyError(name)


def multipart(*parts, boundary="xyzzy", end=True):
    """Parts are (name, bytes or str[, type]); the body and its headers."""
    out = b""
    for name, data, *kind in parts:
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if kind:
            out += f'; filename="../../{name}"\r\nContent-Type: {kind[0]}'.encode()
        out += b"\r\n\r\n" + (data.encode() if isinstance(data, str) else data) + b"\r\n"
    if end:
        out += f"--{boundary}--\r\n".encode()
    return out, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def data_url(body, kind="png"):
    return f"data:image/{kind};base64," + base64.b64encode(body).decode()


def events(body):
    """[(name, data), ...] of an event stream; comments are left out."""
    out = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            out.append((lines["event"], json.loads(lines["data"])))
    return out
