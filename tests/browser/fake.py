"""fake.py - a stand-in for lammd whose answers are known: the page's files and canned replies.

The page's tabs are tested against it where a test has to know the answer to the bit (which places
are in the mask, which words come, which action) or needs a fault on demand. What it says about form
is said again by the real program's own tests. Listens on a free port of 127.0.0.1, with a thread
for each request.

    a sentence or question with the word   is answered
    impossible                             422, problem+json
    later                                  503 with Retry-After
    broken                                 (chat) two words, then an error inside the stream
    cut                                    (chat) two words, then the connection ends
    slow                                   (chat) a word every 0.5 s; (segment) when it is closed
    silent                                 (chat) no words
    foggy                                  (chat) words that are a guess
    faint                                  (segment) a tenth of the usual probabilities
"""
import base64
import http.server
import io
import json
import os
import re
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEBUI = os.path.join(ROOT, "webui")
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
       "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
GRID = 64
PERCENT = [25, 12.5, 75, 100]  # the box that every sentence gets
CROP = {"x1": 30, "y1": 20, "x2": 94, "y2": 84}  # of the picture, with `refine`
ANSWER = "There is a red boat on the water, in front of two hills."
ACTION = {"steering": -0.1, "gas": 0.3, "brake": 0.0}


def probability(x, y, share=1):
    """Of the place (x, y), in 0..255: 255 in the box's middle, falling to its corners."""
    x1, y1, x2, y2 = (round(v * GRID / 100) for v in PERCENT)
    if not (x1 <= x < x2 and y1 <= y < y2):
        return 0
    dx, dy = (2 * x + 1 - x1 - x2) / (x2 - x1), (2 * y + 1 - y1 - y2) / (y2 - y1)
    return max(0, min(255, round(255 * share * (1.25 - (dx * dx + dy * dy) ** 0.5))))


def mask_png(share):
    from PIL import Image
    grey = Image.new("L", (GRID, GRID))
    grey.putdata([probability(x, y, share) for y in range(GRID) for x in range(GRID)])
    out = io.BytesIO()
    grey.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def parse_request(self):
        """As a proxy does that shows us below a path: what is asked of its root isn't for us."""
        if not super().parse_request():
            return False
        if not self.path.startswith(self.server.below + "/"):
            self.server.stray.append(self.path)
        self.path = self.path.removeprefix(self.server.below)
        return True

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", content_type="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if content_type.startswith("text/html"):
            self.send_header("Content-Security-Policy", CSP)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status, code, title, detail, **headers):
        self.reply(status, {"type": "urn:lammd:problem:" + code, "title": title, "status": status,
                            "detail": detail, "instance": "r-1",
                            "error": {"message": detail, "type": "server_error", "code": code}},
                   "application/problem+json", **headers)

    def refused(self, text):
        if "impossible" in text:
            self.problem(422, "too_much_work", "More work than ever fits", "ask for less")
            return True
        if "later" in text:
            self.problem(503, "queue_full", "The queue is full", "come back later", Retry_After="3")
            return True
        return False

    def lacks_key(self):
        """With fake.key, as a server with keys: 401 to whoever doesn't send it."""
        if not self.server.key or self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return False
        self.body()
        self.problem(401, "unauthorized", "A key is needed", "this call needs a key",
                     WWW_Authenticate='Bearer realm="lammd"')
        return True

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        if self.path == "/v1/models":
            if self.lacks_key():
                return None
            return self.reply(200, {"object": "list", "data": [
                {"id": "fake", "parameters": 1234567, "backend": "none", "grid": GRID,
                 "limits": self.server.limits}]})
        if self.path.startswith(("/v1/files", "/v1/fine_tuning")):
            return self.problem(503, "no_state", "This server keeps nothing", "start it with --state DIR")
        name = "index.html" if self.path == "/" else self.path.removeprefix("/ui/")
        path = os.path.join(WEBUI, os.path.basename(name))
        if name != os.path.basename(name) or not os.path.exists(path):
            return self.problem(404, "not_found", "No such thing", "there is nothing here")
        with open(path, "rb") as f:
            self.reply(200, f.read(), TYPES[os.path.splitext(path)[1]])

    def do_POST(self):
        try:
            if not self.lacks_key():
                self.answer(self.body())
        except BrokenPipeError:
            pass  # the page has left, as some tests want

    def answer(self, body):
        self.server.seen.append((self.path, body))
        if self.path == "/v1/segment":
            self.segment(body)
        elif self.path == "/v1/chat/completions":
            self.chat(json.loads(body))
        elif self.path == "/v1/act/sessions":
            name = f"s{len(self.server.seen)}"
            self.server.sessions.add(name)
            self.reply(201, {"id": name, "game": "car_racing", "frames": 2, "ttl_s": 60})
        elif self.path.removeprefix("/v1/act/sessions/") in self.server.sessions:
            self.act()
        elif self.path.startswith("/v1/act/sessions/"):
            self.problem(404, "session_not_found", "No such session", "it has expired")
        else:
            self.problem(503, "queue_full", "The queue is full", "come back later", Retry_After="1")

    def do_DELETE(self):
        self.server.sessions.discard(self.path.removeprefix("/v1/act/sessions/"))
        self.send_response(204)
        self.end_headers()

    def segment(self, body):
        sentence = re.search(rb'name="sentence"\r\n\r\n(.*?)\r\n', body).group(1).decode()
        if self.refused(sentence):
            return
        if "slow" in sentence:
            self.server.is_closing.wait()
        self.reply(200, {
            "id": "r-1", "model": "fake", "width": GRID, "height": GRID, "threshold": 0.5, "masks": [{
                "sentence": sentence, "box": {"x1": 0, "y1": 0, "x2": 1, "y2": 1},
                "percent": PERCENT, "box_probability": 0.42,
                "crop": CROP if b'name="refine"' in body else None,
                "mask": {"size": [GRID, GRID], "counts": ""}, "png": mask_png(0.1 if "faint" in sentence else 1)}]})

    def act(self):
        time.sleep(self.server.act_s)
        self.reply(200, {"id": "r-1", "model": "fake", "game": "car_racing", "action": ACTION,
                         "values": [9, 13, 10], "late": False, "latency_ms": 1000 * self.server.act_s})

    def chat(self, request):
        content = request["messages"][-1]["content"]
        question = content if isinstance(content, str) else content[-1]["text"]
        if self.refused(question):
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        words = ANSWER.split(" ")
        self.chunk({"role": "assistant", "content": ""})
        for i, word in enumerate([] if "silent" in question else words):
            if i == 2 and "broken" in question:
                return self.event({"title": "The device is gone", "status": 500,
                                   "detail": "try again", "error": {"message": "try again"}})
            if i == 2 and "cut" in question:
                return
            self.chunk({"content": (" " if i else "") + word}, logprob=-0.8 if "foggy" in question else -0.01)
            time.sleep(0.5 if "slow" in question else 0.01)
        self.chunk({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, delta, reason=None, logprob=None):
        logprobs = None if logprob is None else {"content": [{"token": "", "logprob": logprob}]}
        self.event({"object": "chat.completion.chunk",
                    "choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]})

    def event(self, data):
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()


class Fake(http.server.ThreadingHTTPServer):
    """`with Fake() as fake:` serves at fake.url; fake.seen has (path, body) of what was posted.

    With fake.below the page is there, as behind a proxy; fake.stray has what was asked elsewhere.
    """
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen, self.sessions, self.act_s, self.key = [], set(), 0.005, None
        self.below, self.stray = "", []
        self.limits = {"picture_bytes": 12 << 20, "pixels": 16000000, "pixels_costly": 4000000}
        self.is_closing = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *args):
        self.is_closing.set()
        self.shutdown()
        super().__exit__(*args)


if __name__ == "__main__":
    fake = Fake()
    print("listening on", fake.url, flush=True)
    threading.Event().wait()
