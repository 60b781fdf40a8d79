"""mix.py - honest clients: requests of every kind, asked alone and then in a crowd.

    mix = Mix(server)                 asks each of them once, alone, and keeps the answers
    mix.crowd(32, 500)                500 more, by 32 clients at once: each must be the same

An answer is the same when all of it is that says something about the picture: PNGs to the byte,
JSON and events without ids, times and what was cached.
"""
import collections
import http.client
import json
import os
import random
import socket
import subprocess
import sys

import photos
from lamm import JSON, PNG, PROGRAM, Reply, contract, data_url, events, multipart
from suite import SOON, Thread

HERE = os.path.dirname(os.path.abspath(__file__))
LIGHT = 5
OF_THE_MOMENT = {"id", "created", "timing", "usage", "latency_ms"}
GAUGES = ("lammd_jobs_running", "lammd_jobs_waiting", "lammd_lanes", 'lammd_kv_slots{state="used"}', "lammd_body_bytes")


def is_sanitized(kind=""):
    """Is the program a build with a sanitizer (address, undefined, thread)?"""
    with open(PROGRAM, "rb") as f:
        symbols = f.read()
    marks = {"address": b"__asan_init", "thread": b"__tsan_init", "undefined": b"__ubsan_handle"}
    return any(mark in symbols for name, mark in marks.items() if kind in name)


def requests(pictures=3, first=0):
    """(method, path, body, headers) of every kind, about so many pictures."""
    png = [photos.png(first + i) for i in range(pictures)]
    say = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": data_url(png[0])}}]
    chat = {"messages": [{"role": "user", "content": say}], "max_tokens": 8}
    # The first LIGHT of them cost the model nothing.
    out = [("GET", "/livez", None, {}), ("GET", "/v1/models", None, {}), ("GET", "/no/such/path", None, {}),
           ("POST", "/v1/vqa", png[0], PNG),  # without a question
           ("POST", "/v1/refer?sentence=a", b"no picture", PNG),
           ("POST", "/v1/chat/completions", json.dumps(chat).encode(), JSON),
           ("POST", "/v1/act", *multipart(("game", "car_racing"), ("frame", png[0]), ("frame", png[-1])))]
    for p in png:
        points = {"image": data_url(p), "points": [[0, 0], [31, 40], [63, 63]]}
        out += [("POST", "/v1/reconstruct?width=8&height=8", p, PNG),
                ("POST", "/v1/reconstruct?width=4&height=4&estimate=mean", p, {**PNG, "Accept": "application/json"}),
                ("POST", "/v1/reconstruct?width=8&height=4", p, {**PNG, "Accept": "text/event-stream"}),
                ("POST", "/v1/pixels", json.dumps(points).encode(), JSON),
                ("POST", "/v1/segment?box=0,0,4,4", *multipart(("image", p, "image/png"), ("sentence", "a red thing"))),
                ("POST", "/v1/refer?sentence=the+green+one", p, PNG), ("POST", "/v1/describe?max_tokens=6", p, PNG),
                ("POST", "/v1/vqa?question=is+it+red&choices=%5B%22yes%22,%22no%22%5D", p, PNG)]
    return out


def raw(method, path, body, headers, *more):
    """The bytes of a request; `more` are header lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items()), *more]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def lasting(value):
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in OF_THE_MOMENT}
    return value


def essence(reply):
    """What of an answer is the same each time."""
    seen = [reply.status, reply.type, {k: v for k, v in reply.headers.items() if k.startswith("X-Lammd")}]
    if reply.type == "application/problem+json":
        return seen + [reply.code]
    if reply.type == "application/json":
        value = reply.json()
        return seen + [lasting(value) if isinstance(value, dict) else value]
    if reply.type == "text/event-stream":
        told = events(reply.body)
        values = [v for name, data in told if name == "pixels" for v in data["values"]]
        return seen + [sorted(zip(*[iter(values)] * 5)), [(n, lasting(d)) for n, d in told if n != "pixels"]]
    return seen + [reply.body]


class Mix:
    def __init__(self, server, pictures=3):
        self.server, self.asked = server, requests(pictures)
        self.alone = [essence(server.ask(*r)) for r in self.asked]
        self.counts = collections.Counter()  # (path, status) of what the crowd was answered

    def crowd(self, clients, total, first=None):
        """Ask `total` requests, of the `first` few or of all; how many were refused with 503.

        A wrong answer or none is an error.
        """
        turns, wrong, refused = iter(range(total)), [], []

        def client(number):
            rng = random.Random(number)
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=SOON)
            try:
                while not wrong and next(turns, None) is not None:
                    self._once(connection, rng.randrange(first or len(self.asked)), wrong, refused)
            except Exception as e:
                wrong.append(repr(e))
            connection.close()

        at_once([lambda n=n: client(n) for n in range(clients)])
        assert not wrong, wrong[:3]
        return len(refused)

    def _once(self, connection, which, wrong, refused):
        method, path, body, headers = self.asked[which]
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
        self.counts[path.split("?")[0], reply.status] += 1
        if reply.status == 503:
            contract.check(method, path, reply)
            refused.append(path)
        elif essence(reply) != self.alone[which]:
            wrong.append((path, self.alone[which], essence(reply)))


def at_once(functions):
    threads = [Thread(target=f) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def leave(mix, rng):
    """Ask for something, whole or in part, and go away without reading."""
    data = raw(*rng.choice(mix.asked[3:]))
    with mix.server.connect() as c:
        c.sendall(data[:rng.choice((len(data), rng.randrange(len(data))))])
        if rng.random() < 0.5:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif rng.random() < 0.5:
            c.shutdown(socket.SHUT_WR)


def is_quiet(server):
    """No work, no bodies, and no connection but the one that asks."""
    return all(server.metric(g) == 0 for g in GAUGES) and server.metric("lammd_connections") <= 1


def metrics(server):
    """{name with labels: value} of the samples of GET /metrics."""
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines if not li.startswith("#"))}


class Probe:
    """GET /livez every 10 ms, by a process of its own: threads here would wait for each other."""

    def __init__(self, port):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "probe.py"), str(port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self):
        """`/livez p50 .. ms`, as it prints; raises if one answer was not 200."""
        said = self.process.communicate(timeout=SOON)[0].strip()
        assert self.process.returncode == 0, said
        return said
