"""client.py - a player that asks lammd: frames in, actions out, over one connection.

A session (the default) sends every frame once and lets the server keep the ones before it; one shot
sends all frames of an answer each time. The steps of a session are numbered: one whose answer was
lost is sent again, and counts once. `latencies` holds the seconds from the first byte sent to
the answer read, without the PNG's making. With a deadline an answer that would come later is
rules.DEFAULT, and counted in `late`. A server that asks for a key gets `key`, or what the variable
LAMMD_KEY has. Needs Pillow and the standard library.
"""
import base64
import collections
import http.client
import io
import json
import os
import time
import urllib.parse

from PIL import Image

import rules

PAUSES = (0.1, 0.5, 2)  # seconds before a step is sent again


class Refused(Exception):
    """An answer other than the one asked for; its text says the status and the server's reason."""


def png(frame):
    """A frame (h, w, 3) uint8 as PNG; level 1: the wire is short."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG", compress_level=1)
    return out.getvalue()


class Player:
    """Plays one game: begin() before each round, act(frame) in it, close() at the end."""

    def __init__(self, server, game, one_shot=False, deadline_ms=None, timeout=60, key=None):
        where = urllib.parse.urlsplit(server if "//" in server else "//" + server, "http")
        if where.scheme != "http" or not where.hostname:
            raise ValueError(f"{server}: not an http:// address")
        self.wire = http.client.HTTPConnection(where.hostname, where.port or 80, timeout=timeout)
        key = key or os.environ.get("LAMMD_KEY")
        self.who = {"Authorization": f"Bearer {key}"} if key else {}
        self.path = where.path.rstrip("/") + "/v1/act"
        self.game, self.one_shot, self.haste = game, one_shot, {}
        if deadline_ms is not None:
            self.haste = {"deadline_ms": deadline_ms, "default": rules.DEFAULT[game]}
        self.session, self.step = None, 0
        self.last = collections.deque(maxlen=rules.FRAMES[game])
        self.latencies, self.late = [], 0

    def ask(self, method, path, body=b"", kind="application/json", want=200):
        self.wire.request(method, path, body, {**self.who, "Content-Type": kind} if body else self.who)
        reply = self.wire.getresponse()
        text = reply.read()
        if reply.status != want:
            raise Refused(f"{method} {path}: {reply.status}: {text[:300].decode(errors='replace')}")
        return json.loads(text) if text else None

    def begin(self):
        """A new round: nothing of the one before is remembered."""
        self.last.clear()
        if self.one_shot:
            return
        self.end()
        wish = json.dumps({"game": self.game}).encode()
        self.session = self.ask("POST", self.path + "/sessions", wish, want=201)["id"]
        self.step = 0

    def end(self):
        if self.session is not None:
            gone, self.session = self.session, None
            self.ask("DELETE", f"{self.path}/sessions/{gone}", want=204)

    def act(self, frame):
        """The game's own action for the newest frame."""
        picture = png(frame)
        if self.one_shot:
            request = self.all_frames(picture)
        else:
            request = (f"{self.path}/sessions/{self.session}?{self.query()}", picture, "image/png")
        start = time.perf_counter()
        answer = self.ask_again(*request)
        self.step += 1
        self.latencies.append(time.perf_counter() - start)
        self.late += bool(answer.get("late"))
        return rules.move(self.game, answer)

    def ask_again(self, *request):
        """As often as the answer is lost, or the server is still at work on the one that was."""
        for pause in PAUSES:
            try:
                return self.ask("POST", *request)
            except (OSError, http.client.HTTPException, Refused) as e:
                if isinstance(e, Refused) and "session_busy" not in str(e):
                    raise
                self.wire.close()
                time.sleep(pause)
        return self.ask("POST", *request)

    def query(self):
        """The haste and the number of a step whose body is a picture."""
        words = {name: json.dumps(value) for name, value in self.haste.items()}
        return urllib.parse.urlencode({**words, "sequence": self.step})

    def all_frames(self, picture):
        """The request of one shot; before enough was seen the oldest frame stands in."""
        self.last.append("data:image/png;base64," + base64.b64encode(picture).decode())
        missing = self.last.maxlen - len(self.last)
        frames = [self.last[0]] * missing + list(self.last)
        wish = {"game": self.game, "frames": frames, **self.haste}
        return self.path, json.dumps(wish).encode(), "application/json"

    def close(self):
        self.end()
        self.wire.close()
