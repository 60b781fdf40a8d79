"""test_cutout.py - the tab that cuts out: what is sent, and that each place shown is the answer's.
"""
import re

import fake as stand_in
from see import forgive, fresh, give, shot, shots, text, told

DONE = "document.body.dataset.cut === 'done'"
# Is a place of the grid darkened on the canvas? Its middle is compared with the picture.
SEEN = """(async () => {
    const canvas = document.getElementById('cut-canvas'), g = 64;
    const blob = await (await fetch('%s')).blob();
    const plain = document.createElement('canvas');
    const {drawPicture} = await import('/ui/shared.js');
    const a = drawPicture(plain, await createImageBitmap(blob), 1200);
    const b = canvas.getContext('2d'), out = [];
    for (let y = 0; y < g; y++) for (let x = 0; x < g; x++) {
        const at = [Math.floor((x + .5) * canvas.width / g), Math.floor((y + .5) * canvas.height / g), 1, 1];
        const p = a.getImageData(...at).data, q = b.getImageData(...at).data;
        out.push(p[0] === q[0] && p[1] === q[1] && p[2] === q[2] ? 1 : 0);
    }
    return out;
})()"""


# The same of a point of the picture, in its pixels.
POINTS = """(() => {
    const canvas = document.getElementById('cut-canvas'), plain = document.createElement('canvas');
    return Promise.all([import('/ui/shared.js'), createImageBitmap(window.photoBlob)]).then(([{drawPicture}, bitmap]) => {
        const a = drawPicture(plain, bitmap, 1200), b = canvas.getContext('2d');
        return POINTS.map(([x, y]) => {
            const at = [Math.floor(x * canvas.width / bitmap.width), Math.floor(y * canvas.height / bitmap.height), 1, 1];
            const p = a.getImageData(...at).data, q = b.getImageData(...at).data;
            return p[0] === q[0] && p[1] === q[1] && p[2] === q[2] ? 1 : 0;
        });
    });
})()"""


def photo_url():
    import base64
    from see import PHOTO
    with open(PHOTO, "rb") as f:
        return "data:image/jpeg;base64," + base64.b64encode(f.read()).decode()


def cut(page, sentence):
    page.eval(f"""(() => {{
        delete document.body.dataset.cut;
        document.getElementById('cut-phrase').value = {sentence!r};
        document.getElementById('cut-form').requestSubmit();
    }})()""")


def fields(fake):
    """Of the last request, without the picture."""
    body = [b for p, b in fake.seen if p == "/v1/segment"][-1]
    found = re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n', body)
    return {name.decode(): value.decode() for name, value in found}


def expected(threshold):
    grid = range(stand_in.GRID)
    least = max(threshold / 100, 1 / 255)
    return [int(stand_in.probability(x, y) / 255 >= least) for y in grid for x in grid]


def slide(page, value):
    page.eval(f"""(() => {{
        const s = document.getElementById('cut-threshold');
        s.value = {value};
        s.dispatchEvent(new Event('input', {{bubbles: true}}));
    }})()""")


def pictured(page):
    """Which places are bright; the image for comparison comes by blob, which the policy allows."""
    page.eval("""(() => {
        const bytes = atob('%s'), a = new Uint8Array(bytes.length);
        for (let i = 0; i < bytes.length; i++) a[i] = bytes.charCodeAt(i);
        window.photoBlob = new Blob([a], {type: 'image/jpeg'});
    })()""" % photo_url().split(",")[1])
    return page.eval(SEEN.replace("await (await fetch('%s')).blob()", "window.photoBlob"))


def test_empty(page, fake):
    fresh(page, fake.url, "cut")
    assert page.eval("document.getElementById('cut-go').disabled")
    shots(page, "cut-empty")


def test_request(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "the left hill")
    page.wait(DONE)
    assert fields(fake) == {"sentence": "the left hill", "soft": "true", "png": "true",
                            "size": "grid"}, fields(fake)


def test_mask_on_the_picture_is_the_answer(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "the hill")
    page.wait(DONE)
    asked = len(fake.seen)
    for threshold in (50, 80, 0):
        slide(page, threshold)
        seen, right = pictured(page), expected(threshold)
        # A place whose middle lies under the outline or the box's line can look changed.
        wrong = [i for i, (a, b) in enumerate(zip(seen, right)) if a != b]
        assert len(wrong) <= 4, f"{len(wrong)} places at {threshold} %: {wrong[:9]}"
        assert text(page, "cut-level") == f"{threshold} %"
        share = 100 * sum(right) / len(right)
        shown = float(text(page, "cut-covers").removesuffix(" %"))
        assert abs(shown - share) <= 0.5, (shown, share)
    assert len(fake.seen) == asked, "the slider asks nothing"
    slide(page, 50)
    assert text(page, "cut-box-sure") == "42 %"
    shots(page, "cut")


def test_piece_is_transparent_outside(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "the hill")
    page.wait(DONE)
    corner, middle = page.eval("""(() => {
        const c = document.getElementById('cut-piece'), x = c.getContext('2d');
        return [[0, 0], [c.width >> 1, c.height >> 1]].map(([a, b]) => x.getImageData(a, b, 1, 1).data[3]);
    })()""")
    assert (corner, middle) == (0, 255)


def test_look_again(page, fake):
    """The mask of a part lies in its place, and all else is dark."""
    fresh(page, fake.url, "cut")
    give(page)
    page.eval("document.getElementById('cut-refine').focus()")
    page.key(" ", text=" ")
    assert "-F refine=true" in text(page, "curl")
    cut(page, "the hill")
    page.wait(DONE)
    assert fields(fake)["refine"] == "true"
    pictured(page)  # for the picture to compare with
    c, grid, least = stand_in.CROP, stand_in.GRID, 0.5
    points, wanted = [], []
    for y in range(2, grid, 5):
        for x in range(2, grid, 5):
            points.append([c["x1"] + (x + 0.5) * (c["x2"] - c["x1"]) / grid, c["y1"] + (y + 0.5) * (c["y2"] - c["y1"]) / grid])
            wanted.append(int(stand_in.probability(x, y) / 255 >= least))
    outside = [[10, 10], [c["x2"] + 40, c["y2"]], [c["x1"], c["y2"] + 30]]
    seen = page.eval(POINTS.replace("POINTS", str(points + outside)))
    wrong = [i for i, (a, b) in enumerate(zip(seen, wanted + [0, 0, 0])) if a != b]
    assert len(wrong) <= 9, (len(wrong), len(points))  # under the outline, which is two places wide
    assert "of the picture" in text(page, "cut-again")
    piece = page.eval("[document.getElementById('cut-piece').width, document.getElementById('cut-piece').height]")
    assert piece[0] <= c["x2"] - c["x1"] and piece[1] <= c["y2"] - c["y1"], piece
    shots(page, "cut-again")


def test_nothing_is_that_sure(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "a faint thing")
    page.wait(DONE)
    assert "no place reaches 50 %" in text(page, "cut-status"), text(page, "cut-status")
    assert not page.eval("document.getElementById('cut-nothing').hidden")
    assert page.eval("document.getElementById('cut-save').disabled")
    shot(page, "cut-nothing")
    slide(page, 5)
    assert page.eval("document.getElementById('cut-nothing').hidden")


def drag(page, a, b):
    """From one part of the picture to another."""
    x, y, w, h = page.eval("(() => { const r = document.getElementById('cut-canvas').getBoundingClientRect();"
                           " return [r.x, r.y, r.width, r.height] })()")
    for kind, (u, v) in (("mousePressed", a), ("mouseMoved", b), ("mouseReleased", b)):
        page.call("Input.dispatchMouseEvent", type=kind, x=x + u * w, y=y + v * h, button="left",
                  buttons=1, clickCount=1)


def test_own_box(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    page.eval("document.querySelector('[name=cut-box][value=own]').click()")
    assert page.eval("document.getElementById('cut-go').disabled"), "a box is needed first"
    drag(page, (0.75, 0.8), (0.25, 0.2))  # from below right, as some do
    assert not page.eval("document.getElementById('cut-go').disabled")
    shot(page, "cut-own-box")
    cut(page, "the hill")
    page.wait(DONE)
    box = [int(v) for v in fields(fake)["box"].split(",")]
    from PIL import Image
    from see import PHOTO
    with Image.open(PHOTO) as photo:
        width, height = photo.size
    right = [0.25 * width, 0.2 * height, 0.75 * width, 0.8 * height]
    assert all(abs(a - b) <= 0.01 * width for a, b in zip(box, right)), (box, right)
    assert "-F box=" + ",".join(map(str, box)) in text(page, "curl")
    page.eval("document.querySelector('[name=cut-box][value=whole]').click()")
    cut(page, "the hill")
    page.wait(DONE)
    assert fields(fake)["whole"] == "true" and "box" not in fields(fake)


def test_own_box_with_keys(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    page.eval("document.querySelector('[name=cut-box][value=own]').click()")
    page.eval("document.getElementById('cut-canvas').focus()")
    page.key("ArrowRight")
    page.key("ArrowDown", modifiers=8)  # Shift: the lower edge
    cut(page, "the hill")
    page.wait(DONE)
    from PIL import Image
    from see import PHOTO
    with Image.open(PHOTO) as photo:
        width, height = photo.size
    right = [round(0.27 * width), round(0.25 * height), round(0.77 * width), round(0.77 * height)]
    assert fields(fake)["box"] == ",".join(map(str, right)), (fields(fake)["box"], right)


def test_errors_are_told(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "something impossible")
    message = told(page)
    assert "More work than ever fits" in message and "ask for less" in message, message
    shot(page, "cut-error")
    forgive(page, 422)
    cut(page, "come later")
    page.wait("document.getElementById('error').textContent.includes('3 s')")
    forgive(page, 503)
    cut(page, "the hill")
    page.wait(DONE)
    assert page.eval("document.getElementById('error').hidden")


def test_cancel(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    cut(page, "something slow")
    page.wait("document.body.dataset.cut === 'busy'")
    page.eval("document.getElementById('cut-cancel').click()")
    page.wait("document.body.dataset.cut === 'idle'")
    assert text(page, "cut-status") == "cancelled"
    assert page.eval("document.getElementById('error').hidden")


def test_real(page, base):
    """The real program answers in the form that the page reads, whatever the model finds."""
    fresh(page, base, "cut")
    give(page)
    cut(page, "the mountain")
    page.wait("document.body.dataset.cut === 'done' || !document.getElementById('error').hidden")
    assert page.eval(DONE), page.eval("document.getElementById('error').textContent")
    assert text(page, "cut-time").endswith(" s")
    shot(page, "cut-real")
    page.eval("document.querySelector('[name=cut-box][value=own]').click()")
    page.eval("document.getElementById('cut-refine').click()")
    drag(page, (0.3, 0.3), (0.5, 0.6))
    cut(page, "the mountain")
    page.wait("document.body.dataset.cut === 'done' || !document.getElementById('error').hidden")
    assert page.eval(DONE), page.eval("document.getElementById('error').textContent")
    assert "of the picture" in text(page, "cut-again")
    shot(page, "cut-again-real")
