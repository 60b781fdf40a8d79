#!/usr/bin/env python3
"""run.py - the page in headless Chromium, against the real program.

    tests/browser/run.py [--url http://...] [substring]

Starts ./lammd (or $LAMMD) with the default model unless --url names a running one. Screenshots lie
in build/artifacts/ afterwards: look at them. Ends with `N passed, N failed`.
"""
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cdp import Browser, Page  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PHOTO = os.path.join(ROOT, "tests/browser/photo.jpg")
ARTIFACTS = os.path.join(ROOT, "build/artifacts")

STATE = "document.body.dataset.state"
# Notes, at every change of the status line, how many pixels of the picture are painted.
WATCH = """(() => {
    window.seenCounts = [];
    const canvas = document.querySelector('#seen canvas');
    new MutationObserver(() => {
        const {width, height} = canvas;
        const px = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        let painted = 0;
        for (let i = 3; i < px.length; i += 4) painted += px[i] === 255;
        const progress = document.getElementById('progress').value;
        window.seenCounts.push([progress, painted, document.getElementById('status').textContent]);
    }).observe(document.getElementById('status'), {childList: true});
})()"""


def canvas_pixels(page, which):
    """(width, height, [r, g, b, ...]) of one of the four canvases."""
    return page.eval(f"""(() => {{
        const c = document.querySelector('#{which} canvas');
        const px = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        return [c.width, c.height, [...px].filter((_, i) => i % 4 < 3)];
    }})()""")


def api_pixels(base, photo, **query):
    from PIL import Image
    url = base + "/v1/reconstruct?" + urllib.parse.urlencode(query)
    request = urllib.request.Request(url, data=open(photo, "rb").read(),
                                     headers={"Content-Type": "image/jpeg", "Accept": "image/png"})
    with urllib.request.urlopen(request) as reply:
        picture = Image.open(io.BytesIO(reply.read()))
    return [picture.width, picture.height, list(picture.convert("RGB").tobytes())]


def fresh(page, base):
    page.look(1280, 900)
    page.goto(base + "/")
    page.wait("document.getElementById('model').textContent !== ''")


def paint(page, photo=PHOTO):
    page.drop("#seen .frame", photo)
    page.wait(f"{STATE} === 'painting'", 10)
    page.wait(f"{STATE} !== 'painting'", 120)


def test_empty_page(page, base):
    fresh(page, base)
    assert page.eval("document.getElementById('again').disabled")
    page.screenshot(ARTIFACTS + "/page-empty.png")


def test_dropped_photo_is_painted_coarse_to_fine(page, base):
    fresh(page, base)
    page.eval(WATCH)
    page.drop("#seen .frame", PHOTO)
    page.wait("document.getElementById('progress').value > 0.25", 60)
    page.eval("new Promise((done) => requestAnimationFrame(done))")
    page.screenshot(ARTIFACTS + "/page-painting.png")
    page.wait(f"{STATE} !== 'painting'", 120)
    assert page.eval(STATE) == "done"
    counts = page.eval("window.seenCounts")
    width, height, _ = canvas_pixels(page, "seen")
    early = [c for c in counts if 0 < c[0] < 1 and c[1] > 0]
    assert early, f"pixels must show before the end: {counts}"
    # Coarse to fine: the whole canvas is covered when few of the answers are in.
    assert any(c[1] == width * height for c in early), f"no whole early picture: {early}"
    assert counts[-1][1] == width * height
    page.screenshot(ARTIFACTS + "/page-light.png")


def test_finished_canvas_equals_the_png(page, base):
    fresh(page, base)
    paint(page)
    assert canvas_pixels(page, "seen") == api_pixels(base, PHOTO)


def test_width_height_and_estimate(page, base):
    fresh(page, base)
    grid = int(page.eval("document.getElementById('width').max"))
    w, h = max(1, grid // 2), max(1, grid // 4)
    page.eval(f"""(() => {{
        width.value = {w}; height.value = {h};
        document.querySelector('[value=median]').click();
    }})()""")
    paint(page)
    assert canvas_pixels(page, "seen") == api_pixels(base, PHOTO, width=w, height=h, estimate="median")
    assert canvas_pixels(page, "original")[:2] == [w, h]
    assert f"width={w}&height={h}&estimate=median" in page.eval("document.getElementById('curl').textContent")


def test_figures(page, base):
    fresh(page, base)
    paint(page)
    width, height, seen = canvas_pixels(page, "seen")
    truth = canvas_pixels(page, "original")[2]
    mae = sum(abs(a - b) for a, b in zip(seen, truth)) / len(seen)
    assert abs(float(page.eval("mae.textContent")) - mae) <= 0.051, mae
    assert float(page.eval("time.textContent")) > 0
    assert int(page.eval("speed.textContent").replace(",", "")) > 0
    # The error map is dark where nothing is wrong, and every pixel of it is painted.
    assert len(canvas_pixels(page, "error-map")[2]) == 3 * width * height


def test_keyboard_reads_out_a_pixel(page, base):
    fresh(page, base)
    paint(page)
    page.eval("document.querySelector('#seen .frame').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.key(key)
    where = page.eval("document.querySelector('#readout .where').textContent")
    assert where == "Column 2, row 1", where
    width, _, seen = canvas_pixels(page, "seen")
    at = 3 * (width + 2)
    assert page.eval("said.textContent") == " ".join(map(str, seen[at:at + 3]))
    assert page.eval("bits.textContent").endswith("of 24 bits")
    page.screenshot(ARTIFACTS + "/page-readout.png")


def test_mouse_reads_out_a_pixel(page, base):
    fresh(page, base)
    paint(page)
    x, y, side = page.eval("(() => { const b = document.querySelector('#error-map canvas')"
                           ".getBoundingClientRect(); return [b.x, b.y, b.width] })()")
    width = canvas_pixels(page, "seen")[0]
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + 3.5 * side / width,
              y=y + 5.5 * side / width)
    assert page.eval("document.querySelector('#readout .where').textContent") == "Column 3, row 5"


def test_sample_button(page, base):
    fresh(page, base)
    page.eval("document.getElementById('sample').click()")
    page.wait(f"{STATE} === 'done'", 120)
    assert len(set(canvas_pixels(page, "original")[2])) > 64
    page.look(1280, 900, dark=True)
    page.eval("new Promise((done) => setTimeout(done, 300))")  # colours fade over
    page.screenshot(ARTIFACTS + "/page-dark.png")


def test_paste(page, base):
    fresh(page, base)
    page.eval("""(async () => {
        const {drawSample} = await import('/ui/paint.js');
        const data = new DataTransfer();
        data.items.add(new File([await drawSample()], 'x.png', {type: 'image/png'}));
        window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
    })()""")
    page.wait(f"{STATE} === 'done'", 120)


def test_cancel(page, base):
    fresh(page, base)
    page.eval("document.getElementById('sample').click()")
    page.wait(f"{STATE} === 'painting' && (document.getElementById('cancel').click(), true)", 10)
    page.wait(f"{STATE} !== 'painting'", 10)
    assert page.eval("document.getElementById('status').textContent") == "cancelled"
    assert page.eval("document.getElementById('error').hidden")
    page.eval("document.getElementById('again').click()")  # and the page goes on working
    page.wait(f"{STATE} === 'done'", 120)


def test_bad_file_is_told_clearly(page, base):
    fresh(page, base)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notes.png")
        with open(path, "w") as f:
            f.write("this is no picture\n")
        page.drop("#seen .frame", path)
        page.wait("!document.getElementById('error').hidden", 10)
    told = page.eval("document.getElementById('error').textContent")
    assert "PNG" in told and "JPEG" in told, told
    page.screenshot(ARTIFACTS + "/page-error.png")
    # A reply of 415 is an error to the console too; it is the one that this test asked for.
    page.errors[:] = [e for e in page.errors if "415" not in e]
    paint(page)
    assert page.eval("document.getElementById('error').hidden")


def test_phone(page, base):
    fresh(page, base)
    page.look(390, 844, phone=True, scale=2)
    paint(page)
    assert page.eval("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    small = page.eval("[...document.querySelectorAll('button')].filter((b) => "
                      "b.offsetParent && b.getBoundingClientRect().height < 32).map((b) => b.id)")
    assert not small, f"too small for a thumb: {small}"
    page.screenshot(ARTIFACTS + "/page-phone.png")
    page.look(390, 844, dark=True, phone=True, scale=2)
    page.eval("new Promise((done) => setTimeout(done, 300))")
    page.screenshot(ARTIFACTS + "/page-phone-dark.png")


def start_server():
    program = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
    model = os.path.join(ROOT, "models/lamm-mini")
    if not os.path.exists(os.path.join(model, "model.safetensors")):
        model = os.path.join(ROOT, "tests/golden/tiny")
    with open(ARTIFACTS + "/browser-server.log", "w") as log:
        server = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--model", model],
                                  stdout=subprocess.PIPE, stderr=log, text=True)
    for line in server.stdout:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return server, found.group(1)
    raise RuntimeError(f"{program} ended with {server.wait()} before it listened")


def run(base, browser, wanted):
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_") or wanted not in name:
            continue
        page = Page(browser)
        try:
            test(page, base)
            outside = [u for u in page.requests if not u.startswith((base, "data:", "blob:"))]
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
    base = args.pop(args.index("--url") + 1) if "--url" in args else None
    wanted = ([a for a in args if not a.startswith("--")] + [""])[0]
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        print("skip: no chromium here; apt-get install chromium\n0 passed, 0 failed, 1 skipped")
        return 0
    os.makedirs(ARTIFACTS, exist_ok=True)
    server = None
    if not base:
        server, base = start_server()
    browser = Browser(program)
    try:
        return 1 if run(base.rstrip("/"), browser, wanted) else 0
    finally:
        browser.close()
        if server:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    sys.exit(main())
