"""test_large.py - photos that are larger than the server takes: the page makes them smaller, says
so, and what comes back lies where it belongs.
"""
import io
import os
import re
import struct
import zlib

from PIL import Image

from see import ARTIFACTS, PHONE, fits, fresh, shot, text

STATE = "document.body.dataset.state"
COLOURS = [(220, 30, 30), (30, 190, 30), (31, 30, 220), (240, 240, 240)]
TURNED = Image.Exif()
TURNED[0x0112] = 6  # people see it turned to the right


def quad(width, height):
    """Red top left, green top right, blue and white below."""
    picture = Image.new("RGB", (width, height), COLOURS[0])
    half = width // 2, height // 2
    for (x, y), colour in zip(((1, 0), (0, 1), (1, 1)), COLOURS[1:]):
        picture.paste(colour, (x * half[0], y * half[1], width if x else half[0], height if y else half[1]))
    return picture


def lying(width, height):
    """A JPEG of the quad at this size that is stored lying on its side, as phones do it."""
    out = io.BytesIO()
    quad(width, height).transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=TURNED, quality=90)
    return out.getvalue()


def late(width, height):
    """A PNG that says behind its pixels how it is turned."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    out = io.BytesIO()
    quad(width, height).save(out, "PNG")
    png, end = out.getvalue(), out.getvalue().index(b"IEND") - 4
    return png[:end] + chunk(b"eXIf", TURNED.tobytes()[6:]) + png[end:]


def drop(page, data, name, where):
    path = os.path.join(ARTIFACTS, name)  # the page reads it again when it is sent
    with open(path, "wb") as f:
        f.write(data)
    page.drop(where, path)
    page.wait("'picture' in document.body.dataset")


def sent(fake):
    """The picture of the last request, as its bytes are."""
    body = [b for p, b in fake.seen if p == "/v1/segment"][-1]
    at = body.index(b"\r\n\r\n", body.index(b'name="image"')) + 4
    return Image.open(io.BytesIO(body[at:]))


def corners(page, canvas):
    """The colours in the middle of its quarters."""
    return page.eval(f"""(() => {{
        const c = document.querySelector('{canvas}'), g = c.getContext('2d');
        return [[1, 1], [3, 1], [1, 3], [3, 3]].map(([x, y]) =>
            [...g.getImageData(x * c.width / 4, y * c.height / 4, 1, 1).data].slice(0, 3));
    }})()""")


def is_quad(got):
    return max(abs(a - b) for p, q in zip(got, COLOURS) for a, b in zip(p, q)) <= 6


def test_a_large_photo_is_painted(page, base):
    """24 megapixels; the server itself takes 16."""
    fresh(page, base)
    drop(page, lying(4000, 6000), "large.jpg", "#seen .frame")
    page.wait(f"{STATE} === 'done' || !document.getElementById('error').hidden")
    assert page.eval(STATE) == "done", text(page, "error")
    assert text(page, "note") == "This photo has 24 megapixels; the page made it 1067 × 1600 before sending it."
    assert is_quad(corners(page, "#original canvas"))
    shot(page, "large")
    shot(page, "large-phone", **PHONE)
    fits(page)
    page.eval("document.getElementById('sample').click()")
    page.wait("document.getElementById('note').textContent === ''")


def test_its_places_are_those_of_what_was_sent(page, fake):
    """The server's own limits count; box, mask and what is shown are of one picture."""
    fake.limits["pixels"] = 250000
    fresh(page, fake.url, "cut")
    drop(page, lying(600, 900), "large.jpg", "#cut-panel .well")
    assert is_quad(corners(page, "#cut-canvas"))
    note = re.fullmatch(r"This photo has 600 × 900 pixels; the page made it (\d+) × (\d+) before sending it.", text(page, "note"))
    width, height = int(note[1]), int(note[2])
    assert 240000 <= width * height <= 250000 and abs(width / height - 2 / 3) < 0.005
    page.eval("document.querySelector('[name=cut-box][value=own]').click()")
    page.eval("document.getElementById('cut-canvas').focus()")
    page.key("ArrowRight")
    page.eval("document.getElementById('cut-phrase').value = 'the boat'; document.getElementById('cut-go').click()")
    page.wait("document.body.dataset.cut === 'done'")
    picture = sent(fake)
    assert (picture.format, picture.size) == ("PNG", (width, height))
    assert is_quad([picture.getpixel((x * width // 4, y * height // 4))[:3] for y in (1, 3) for x in (1, 3)])
    body = fake.seen[-1][1]
    box = [int(v) for v in re.search(rb'name="box"\r\n\r\n(.*?)\r\n', body)[1].split(b",")]
    assert box == [round(p * side) for p, side in zip((.27, .25, .77, .75), (width, height) * 2)]
    # What was cut out is as large as its part of the picture.
    piece = page.eval("[document.getElementById('cut-piece').width, document.getElementById('cut-piece').height]")
    assert piece[0] <= width / 2 + width / 64 and piece[1] <= height
    shot(page, "large-cut")


def test_what_is_not_too_large_is_left_alone(page, fake):
    fake.limits["pixels"] = 600 * 900
    fresh(page, fake.url, "cut")
    data = lying(600, 900)
    drop(page, data, "photo.jpg", "#cut-panel .well")
    page.eval("document.getElementById('cut-phrase').value = 'the boat'; document.getElementById('cut-go').click()")
    page.wait("document.body.dataset.cut === 'done'")
    assert data in fake.seen[-1][1] and text(page, "note") == ""


def test_few_bytes_are_kept_to(page, fake):
    """Noise takes as many bytes as it has pixels."""
    fake.limits["picture_bytes"] = 100000
    fresh(page, fake.url, "cut")
    out = io.BytesIO()
    Image.effect_noise((500, 500), 90).convert("RGB").save(out, "PNG")
    drop(page, out.getvalue(), "noise.png", "#cut-panel .well")
    page.eval("document.getElementById('cut-phrase').value = 'the boat'; document.getElementById('cut-go').click()")
    page.wait("document.body.dataset.cut === 'done'")
    assert len(fake.seen[-1][1]) < 102000 and sent(fake).size[0] > 64 and "500 × 500" in text(page, "note")


def test_a_turn_that_browsers_do_not_see(page, fake):
    """The API would turn it; what is sent is what is shown."""
    fresh(page, fake.url, "cut")
    drop(page, late(96, 64), "late.png", "#cut-panel .well")
    page.eval("document.getElementById('cut-phrase').value = 'the boat'; document.getElementById('cut-go').click()")
    page.wait("document.body.dataset.cut === 'done'")
    assert sent(fake).size == (96, 64) and b"eXIf" not in fake.seen[-1][1]
    assert text(page, "note") == ""
