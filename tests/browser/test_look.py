"""test_look.py - the tab that paints, against the real program."""
import base64
import io
import os
import tempfile
import urllib.parse
import urllib.request

from PIL import Image

from see import ARTIFACTS, PHONE, PHOTO, WIDE, fits, forgive, fresh, shot

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


def paint(page, photo=PHOTO):
    page.drop("#seen .frame", photo)
    page.wait(f"{STATE} === 'painting'")
    page.wait(f"{STATE} !== 'painting'")


def test_empty_page(page, base):
    fresh(page, base)
    assert page.eval("document.getElementById('again').disabled")
    page.screenshot(ARTIFACTS + "/page-empty.png")


def test_dropped_photo_is_painted_coarse_to_fine(page, base):
    fresh(page, base)
    page.eval(WATCH)
    page.drop("#seen .frame", PHOTO)
    page.wait("document.getElementById('progress').value > 0.25")
    page.eval("new Promise((done) => requestAnimationFrame(done))")
    page.screenshot(ARTIFACTS + "/page-painting.png")
    page.wait(f"{STATE} !== 'painting'")
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


def test_tiles(page, base):
    """Larger than the grid, and the whole stands early. The stream's pixels are test_crops.py's."""
    fresh(page, base)
    page.eval("document.getElementById('tiles').focus()")
    page.key("ArrowDown")
    assert page.eval("tiles.value") == "2" and page.eval("width.disabled && height.disabled")
    page.eval(WATCH)
    page.drop("#seen .frame", PHOTO)
    page.wait("document.getElementById('progress').value > 0.25")
    page.screenshot(ARTIFACTS + "/page-tiles-painting.png")
    page.wait(f"{STATE} !== 'painting'")
    assert page.eval(STATE) == "done", page.eval("document.getElementById('error').textContent")
    grid = int(page.eval("document.getElementById('width').max"))
    seen, truth = canvas_pixels(page, "seen"), canvas_pixels(page, "original")[2]
    assert seen[:2] == [2 * grid, 2 * grid]
    off = sum(abs(a - b) for a, b in zip(seen[2], truth)) / len(truth)
    assert abs(float(page.eval("mae.textContent")) - off) <= 0.051, off
    counts = page.eval("window.seenCounts")
    assert any(c[1] == 4 * grid * grid and c[0] < 0.5 for c in counts), counts
    assert "tiles=2" in page.eval("document.getElementById('curl').textContent")
    shot(page, "tiles")
    shot(page, "tiles-phone", **PHONE)
    fits(page)
    page.look(**WIDE)


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
    page.wait(f"{STATE} === 'done'")
    assert len(set(canvas_pixels(page, "original")[2])) > 64
    shot(page, "dark", dark=True)


def test_phone_photo_stands_upright(page, base):
    """Browser and API turn it alike; what has too many pixels in passes becomes a smaller PNG."""
    cases = ((8, 4, False, [4, 8, "image/jpeg"]), (2400, 1800, False, [1800, 2400, "image/jpeg"]),
             (2400, 1800, True, [1200, 1600, "image/png"]))
    fresh(page, base)
    for width, height, progressive, wanted in cases:
        photo = turned(width, height, progressive)
        got = page.eval(f"""(async () => {{
            const {{makePicture}} = await import('/ui/shared.js');
            const bytes = Uint8Array.from(atob('{photo}'), (c) => c.charCodeAt(0));
            const p = await makePicture(new Blob([bytes], {{type: 'image/jpeg'}}), 'phone');
            return [p.bitmap.width, p.bitmap.height, p.blob.type];
        }})()""")
        assert got == wanted, got


def turned(width, height, progressive):
    """A JPEG that is stored lying down, in base64."""
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(out, "JPEG", exif=exif, progressive=progressive)
    return base64.b64encode(out.getvalue()).decode()


def test_paste(page, base):
    fresh(page, base)
    page.eval("""(async () => {
        const {drawSample} = await import('/ui/paint.js');
        const data = new DataTransfer();
        data.items.add(new File([await drawSample()], 'x.png', {type: 'image/png'}));
        window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
    })()""")
    page.wait(f"{STATE} === 'done'")


def test_cancel(page, base):
    fresh(page, base)
    page.eval("document.getElementById('sample').click()")
    page.wait(f"{STATE} === 'painting' && (document.getElementById('cancel').click(), true)")
    page.wait(f"{STATE} !== 'painting'")
    assert page.eval("document.getElementById('status').textContent") == "cancelled"
    assert page.eval("document.getElementById('error').hidden")
    page.eval("document.getElementById('again').click()")  # and the page goes on working
    page.wait(f"{STATE} === 'done'")


def test_bad_file_is_told_clearly(page, base):
    fresh(page, base)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notes.png")
        with open(path, "w") as f:
            f.write("this is no picture\n")
        page.drop("#seen .frame", path)
        page.wait("!document.getElementById('error').hidden")
    told = page.eval("document.getElementById('error').textContent")
    assert "PNG" in told and "JPEG" in told, told
    page.screenshot(ARTIFACTS + "/page-error.png")
    forgive(page, 415)
    paint(page)
    assert page.eval("document.getElementById('error').hidden")


def test_phone(page, base):
    fresh(page, base)
    page.look(**PHONE)
    paint(page)
    fits(page)
    shot(page, "phone", **PHONE)
    shot(page, "phone-dark", **PHONE, dark=True)
