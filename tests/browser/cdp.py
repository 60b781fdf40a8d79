"""cdp.py - drive headless Chromium with nothing but Python's own library.

Chromium speaks its DevTools protocol over a pair of pipes (file descriptors 3 and 4) as JSON
messages ended by NUL: no WebSocket, no driver, no port. A Page is one tab; it remembers every
request, console error and uncaught exception, so that a test can demand there was none.
"""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from suite import SOON


class Browser:
    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="lammd-browser-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (theirs_in, theirs_out)]

        def take_pipes():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
             "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--hide-scrollbars", "--force-color-profile=srgb", "--user-data-dir=" + self.profile,
             "about:blank"],
            preexec_fn=take_pipes, pass_fds=(3, 4), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        self.read_fd, self.write_fd = ours_in, ours_out
        self.pending = b""
        self.next_id = 0
        self.listeners = []

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(30)
        except Exception:
            self.process.kill()
            self.process.wait()
        os.close(self.read_fd)
        os.close(self.write_fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, session=None, **params):
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write_fd, data):]
        while True:
            reply = self.receive(SOON)
            if reply is None:
                raise TimeoutError(method)
            if reply.get("id") == self.next_id:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return reply["result"]

    def receive(self, seconds):
        """One message, events being told to the listeners; None when none came in time."""
        deadline = time.monotonic() + seconds
        while b"\0" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.read_fd], [], [], left)[0]:
                return None
            data = os.read(self.read_fd, 1 << 20)
            if not data:
                raise RuntimeError("the browser is gone")
            self.pending += data
        one, self.pending = self.pending.split(b"\0", 1)
        message = json.loads(one)
        if "method" in message:
            for listen in self.listeners:
                listen(message)
        return message


class Page:
    def __init__(self, browser):
        self.browser = browser
        self.requests, self.errors = [], []
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        browser.listeners.append(self.on_event)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def on_event(self, message):
        if message.get("sessionId") != self.session:
            return
        method, p = message["method"], message["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            d = p["exceptionDetails"]
            self.errors.append(d.get("exception", {}).get("description", d["text"]))
        elif method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning"):
            self.errors.append(str(p["args"]))
        elif method == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.errors.append(p["entry"]["text"])

    def goto(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def eval(self, js):
        reply = self.call("Runtime.evaluate", expression=js, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(reply["exceptionDetails"]["exception"]["description"])
        return reply["result"].get("value")

    def wait(self, js, seconds=SOON):
        deadline = time.monotonic() + seconds
        while not self.eval(js):
            if time.monotonic() > deadline:
                raise TimeoutError(js)
            self.browser.receive(0.05)

    def look(self, width, height, dark=False, phone=False, scale=1):
        """What the page is seen on."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(shot["data"]))

    def drop(self, selector, path):
        """Drag a file from outside onto an element and let go."""
        x, y = self.eval(f"(() => {{ const b = document.querySelector('{selector}')"
                         ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] })()")
        data = {"items": [], "files": [os.path.abspath(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def key(self, key, **more):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                                             "ArrowDown": 40, "Tab": 9, "Enter": 13,
                                             "Home": 36, "End": 35, " ": 32}[key], **more)
