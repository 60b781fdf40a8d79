#!/usr/bin/env python3
"""run.py - the page in headless Chromium, against the real program and a stand-in.

    tests/browser/run.py [--long] [--url http://...] [substring]

Runs every test_* of test_*.py. A test asks for what it needs by the name of its parameter: `page`,
a fresh tab of the browser; `base`, the address of the real program, which is ./lammd (or $LAMMD)
with the default model unless --url names a running one; `fake`, the stand-in of fake.py, whose
answers are known; `trains`, the real program with a state folder and keys (trains.py). Whatever a
test does, the page may ask nothing outside and write no error to the console. Screenshots lie in
build/artifacts/ afterwards: look at them. Ends with `N passed, N failed`.
"""
import glob
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from cdp import Browser, Page  # noqa: E402
from fake import Fake  # noqa: E402
from see import ARTIFACTS, ROOT  # noqa: E402
from trains import Trains  # noqa: E402
from suite import SOON  # noqa: E402 (and --long is taken)


class Real:
    """./lammd, started when the first test wants it."""

    def __init__(self, url):
        self.url, self.process = url, None

    def base(self):
        if not self.url:
            self.process, self.url = start_server()
        return self.url.rstrip("/")

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait(SOON)


def start_server():
    program = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
    model = os.path.join(ROOT, "models/lamm-mini")
    if not os.path.exists(os.path.join(model, "model.safetensors")):
        model = os.path.join(ROOT, "tests/golden/tiny")
    with open(ARTIFACTS + "/browser-server.log", "w") as log:
        server = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--model", model,
                                   "--request-timeout=3600", "--idle-timeout=3600"],
                                  stdout=subprocess.PIPE, stderr=log, text=True)
    for line in server.stdout:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return server, found.group(1)
    raise RuntimeError(f"{program} ended with {server.wait()} before it listened")


def tests(wanted):
    for path in sorted(glob.glob(HERE + "/test_*.py")):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, test in list(vars(module).items()):
            if name.startswith("test_") and wanted in f"{module.__name__}.{name}":
                yield f"{module.__name__}.{name}", test


def run(real, trains, browser, wanted):
    passed = failed = 0
    for name, test in tests(wanted):
        page = Page(browser)
        with Fake() as fake:
            try:
                have = {"page": lambda: page, "base": real.base, "fake": lambda: fake,
                        "trains": trains.start}
                test(**{need: have[need]() for need in inspect.signature(test).parameters})
                known = tuple(u for u in (real.url, trains.url, fake.url, "data:", "blob:") if u)
                outside = [u for u in page.requests if not u.startswith(known)]
                assert not outside, f"asked outside: {outside}"
                assert not page.errors, f"console: {page.errors}"
                passed += 1
            except Exception:
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc()}")
                try:
                    page.screenshot(f"{ARTIFACTS}/failed-{name}.png")
                except Exception as e:
                    print(f"(no screenshot: {e})")
            page.call("Page.close")
    print(f"{passed} passed, {failed} failed")
    return failed


def main():
    args = sys.argv[1:]
    url = args.pop(args.index("--url") + 1) if "--url" in args else None
    wanted = ([a for a in args if not a.startswith("--")] + [""])[0]
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        print("skip: no chromium here; apt-get install chromium\n0 passed, 0 failed, 1 skipped")
        return 0
    os.makedirs(ARTIFACTS, exist_ok=True)
    real, trains = Real(url), Trains()
    browser = Browser(program)
    try:
        return 1 if run(real, trains, browser, wanted) else 0
    finally:
        browser.close()
        real.close()
        trains.close()


if __name__ == "__main__":
    sys.exit(main())
