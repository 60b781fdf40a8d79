"""test_pictures.py - pictures as cameras, phones and programs write them, over HTTP.

The quad has four colours in its corners. Whatever is done to its file that leaves the pixels where
they are, the model is asked about the same picture.
"""
import base64
import io
import json
import os
import re
import struct

from PIL import Image

import photos
from lamm import JSON, PROGRAM, TINY, Server, data_url, multipart

COLOURS = ((220, 30, 30), (30, 190, 30), (31, 30, 220), (240, 240, 240))
ASK = "/v1/reconstruct?width=2&height=2&compare=true"
SANITIZED = re.search("/(address|undefined|thread)/", PROGRAM)  # takes what it takes
WHOLE = {"Accept": "application/json"}


def start():
    return Server(model=TINY)


def quad():
    picture = Image.new("RGB", (96, 64))
    for i, colour in enumerate(COLOURS):
        picture.paste(colour, (48 * (i % 2), 32 * (i // 2), 48 * (i % 2) + 48, 32 * (i // 2) + 32))
    return picture


def jpeg(picture=None, **options):
    return photos.encode(picture or quad(), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def corners(reply):
    """The truth that the answers are measured against."""
    assert reply.status == 200, reply.body
    url = reply.json()["compare"]["original"]
    return list(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB").getdata())


def check(s, what, body, query="", headers=None):
    got = corners(s.ask("POST", ASK + query, body, headers or WHOLE))
    worst = max(abs(a - b) for p, q in zip(got, COLOURS) for a, b in zip(p, q))
    assert worst <= 2, f"{what}: {got}"


def put(data, at, more):
    return data[:at] + more + data[at:]


def odd_jpegs():
    plain = jpeg()
    sos = plain.rindex(b"\xff\xda")
    yield "SOS with numbers of its own", plain[:sos + 11] + b"\0\x3f\x10" + plain[sos + 14:]
    yield "JFIF 2", plain[:11] + b"\2" + plain[12:]
    yield "stray bytes before DQT", put(plain, plain.index(b"\xff\xdb"), b"\0\1\2")
    yield "stray bytes before EOI", put(plain, len(plain) - 2, bytes(5))
    yield "zeros in place of the end", plain[:-2] + bytes(100)
    yield "more behind the end", plain + plain
    yield "progressive", jpeg(progressive=True)
    yield "progressive, zeros in place of the end", jpeg(progressive=True)[:-2] + bytes(100)
    yield "CMYK", jpeg(cmyk())
    yield "CMYK without Adobe's marker", without_adobe(jpeg(cmyk()))
    for sampling in (0, 1, 2):
        yield f"sampling {sampling}", jpeg(subsampling=sampling)


def cmyk():
    """The inks that Pillow turns back into the quad's colours."""
    return Image.merge("CMYK", [c.point(lambda v: 255 - v) for c in quad().split()] + [Image.new("L", (96, 64), 0)])


def without_adobe(data):
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]:]


def test_odd_jpegs_are_taken(s):
    for what, data in odd_jpegs():
        check(s, what, data)


def test_jpegs_without_data_are_refused(s):
    plain, passes = jpeg(), jpeg(progressive=True)
    for data in (plain[:-2], plain[:-40], plain[:-40] + b"\xff\xd9", passes[:-2], passes[:len(passes) // 2],
                 passes[:len(passes) // 2] + b"\xff\xd9"):
        reply = s.ask("POST", ASK, data, WHOLE)
        assert (reply.status, reply.code) == (422, "bad_picture"), reply.body


def test_webp_is_taken(s):
    check(s, "lossless", photos.encode(quad(), "WEBP", lossless=True))
    lossy = photos.encode(quad(), "WEBP", quality=100)
    assert max(abs(a - b) for p, q in zip(corners(s.ask("POST", ASK, lossy, WHOLE)), COLOURS)
               for a, b in zip(p, q)) <= 4
    reply = s.ask("POST", ASK, lossy[:-20], WHOLE)
    assert (reply.status, reply.code) == (422, "bad_picture")
    several = photos.encode(quad(), "WEBP", save_all=True, append_images=[quad().rotate(180)])
    reply = s.ask("POST", ASK, several, WHOLE)
    assert reply.status == 415 and "animated" in reply.json()["detail"]


def turned(orientation, kind):
    """Stored so that EXIF's orientation makes the quad of it."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes it
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photos.encode(quad().transpose(back[orientation]), kind, exif=exif, quality=95, lossless=True, subsampling=0)


def test_pictures_stand_as_people_see_them(s):
    for kind in ("JPEG", "PNG", "WEBP"):
        for orientation in range(2, 9):
            data = turned(orientation, kind)
            check(s, f"{kind} {orientation}", data)
            stored = corners(s.ask("POST", ASK + "&orient=stored", data, WHOLE))
            assert max(abs(a - b) for p, q in zip(stored, COLOURS) for a, b in zip(p, q)) > 20


def chunks(png):
    """Of a PNG, behind its signature."""
    at = 8
    while at < len(png):
        n = int.from_bytes(png[at:at + 4], "big") + 12
        yield png[at:at + n]
        at += n


def test_a_png_may_tell_its_turn_behind_its_pixels(s):
    for orientation in range(2, 9):
        rest = list(chunks(turned(orientation, "PNG")))
        exif = [c for c in rest if c[4:8] == b"eXIf"]
        rest = [c for c in rest if c[4:8] != b"eXIf"]
        assert len(exif) == 1 and rest[-1][4:8] == b"IEND"
        early = b"\x89PNG\r\n\x1a\n" + b"".join(rest[:1] + exif + rest[1:])
        late = b"\x89PNG\r\n\x1a\n" + b"".join(rest[:-1] + exif + rest[-1:])
        check(s, f"before {orientation}", early)
        check(s, f"behind {orientation}", late)
        size = [s.ask("PUT", "/v1/images", data).json() for data in (early, late)]
        assert size[0]["width"] == size[1]["width"] == 96


def test_sizes_and_masks_are_those_of_the_turned_picture(s):
    data = turned(6, "JPEG")
    for query, size in (("", (96, 64)), ("&orient=stored", (64, 96))):
        cut = s.ask("POST", f"/v1/segment?sentence=a&whole=true{query}", data, WHOLE).json()
        assert (cut["width"], cut["height"]) == size
        assert cut["masks"][0]["mask"]["size"] == [size[1], size[0]]
        seen = s.ask("POST", f"/v1/refer?sentence=a{query}", data, WHOLE).json()
        assert (seen["width"], seen["height"]) == size
        kept = s.ask("PUT", f"/v1/images?{query[1:]}", data).json()
        assert (kept["width"], kept["height"]) == size
    assert s.ask("POST", "/v1/reconstruct?orient=6", data).code == "invalid_parameter"


def test_the_declared_type_is_advice(s):
    data = photos.encode(quad(), "PNG")
    for kind in ("image/png", "image/jpg", "image/pjpeg", "image/x-png", "image/png; name=a", "application/octet-stream",
                 None):
        check(s, kind, data, headers={**WHOLE, **({"Content-Type": kind} if kind else {})})
    plain = base64.b64encode(data).decode()
    lines = base64.encodebytes(data).decode()
    texts = [head + body for head in ("", "data:image/jpg;base64,", "data:image/x-png;charset=utf-8;base64,",
                                      "data:;base64,", "data:application/octet-stream;base64,")
             for body in (plain, lines, lines.replace("\n", "\r\n"), plain + "\n", "  " + plain)]
    texts += [base64.urlsafe_b64encode(data).decode(), base64.urlsafe_b64encode(data).decode().rstrip("=")]
    for text in texts:
        check(s, text[:40], json.dumps({"image": text}), headers={**WHOLE, **JSON})
    body, headers = multipart(("image", data, "text/plain"))
    check(s, "a part", body, headers={**WHOLE, **headers})


def test_cheap_checks_come_first(s):
    """Eight large pictures that never fit into a prompt, and frames that are too large for one."""
    big = data_url(photos.png_of(4000, 4000, 1, 0))
    said = [{"type": "text", "text": "hi"}] + 8 * [{"type": "image_url", "image_url": {"url": big}}]
    decoded = s.metric("lammd_image_decode_seconds_count")
    reply = s.ask("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": said}]}), JSON)
    assert (reply.status, reply.code) == (422, "too_much_work"), reply.body
    frames = json.dumps({"game": "car_racing", "frames": [big, big]})
    reply = s.ask("POST", "/v1/act", frames, JSON)
    assert (reply.status, reply.code) == (413, "picture_too_large") and "2000000" in reply.json()["detail"]
    assert s.metric("lammd_image_decode_seconds_count") - decoded <= 1


CACHE = ("hits", "misses")


def looked_up(s):
    return [s.metric(f"lammd_image_cache_{what}_total") for what in CACHE]


def test_a_known_file_is_not_decoded_again():
    """However it comes; what comes back has the same bytes, also where nothing is kept. What is
    refused is refused each time."""
    ask, exif = "/v1/reconstruct?width=2&height=2", Image.Exif()
    exif[0x0112] = 6
    data, turned = jpeg(), jpeg(exif=exif)
    with Server(model=TINY) as s, Server("--decoded-mib", "0", model=TINY) as never:
        first = s.ask("POST", ask, data).body
        decoded, known = s.metric("lammd_image_decode_seconds_count"), looked_up(s)
        assert known == [0, 1]
        body, headers = multipart(("image", data, "image/jpeg"))
        replies = [s.ask("POST", ask, data), s.ask("POST", ask, body, headers),
                   s.ask("POST", ask, json.dumps({"image": data_url(data)}), JSON)]
        assert all(reply.body == first for reply in replies)
        assert s.metric("lammd_image_decode_seconds_count") == decoded and looked_up(s) == [3, 1]
        assert s.metric("lammd_image_cache_bytes") > 0
        for path in (ask, ask + "&orient=stored"):  # the same bytes, two pictures
            assert s.ask("POST", path, turned).body == never.ask("POST", path, turned).body
        assert looked_up(s) == [3, 3]
        kept = s.metric("lammd_image_cache_bytes")
        for broken in (data[:-30], data[:-30], data[:200] + data[201:]) + 2 * (b"not a picture",):
            reply, as_ever = s.ask("POST", ask, broken), never.ask("POST", ask, broken)
            assert reply.status >= 400 and reply.json()["detail"] == as_ever.json()["detail"], reply.body
        assert s.metric("lammd_image_cache_bytes") == kept and looked_up(s)[0] == 3
        assert s.ask("POST", ask, data).body == first and looked_up(s)[0] == 4
        assert never.ask("POST", ask, data).body == never.ask("POST", ask, data).body == first
        assert looked_up(never) == [0, 0]


def costly():
    """The largest that are taken by default: plain ones of 16 Mpx, others of 4."""
    yield "flat PNG of 1 bit", photos.png_of(4000, 4000, 1, 0)
    yield "flat PNG", photos.png_of(4000, 4000)
    yield "interlaced PNG of 16 bits and alpha", interlaced(2000, 2000)
    big = Image.linear_gradient("L").resize((4000, 4000))
    big = Image.merge("RGB", (big, big.rotate(90), big.rotate(180)))
    small = big.crop((0, 0, 2000, 2000))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "JPEG", jpeg(big, quality=85)
    yield "JPEG, turned", jpeg(big, quality=85, exif=exif)
    yield "progressive JPEG", jpeg(small, progressive=True)
    yield "lossy WebP", photos.encode(big, "WEBP", method=0)
    yield "lossless WebP", photos.encode(small, "WEBP", lossless=True, method=0, quality=0)


def interlaced(width, height):
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = sum((8 * ((width - x + dx - 1) // dx) + 1) * ((height - y + dy - 1) // dy) for x, y, dx, dy in starts)
    return photos.png_of(width, height, 16, 6, 1, bytes(rows))


def cost(s, data):
    """(MiB that the process grew beside the file, seconds of processor time)"""
    def spent():
        with open(f"/proc/{s.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(what):
        with open(f"/proc/{s.process.pid}/status") as f:
            return int(re.search(what + r":\s+(\d+)", f.read())[1]) / 1024

    with open(f"/proc/{s.process.pid}/clear_refs", "w") as f:
        f.write("5")  # the peak begins anew
    before, start = memory("VmRSS"), spent()
    reply = s.ask("PUT", "/v1/images", data)
    assert reply.status in (200, 201), reply.body
    return memory("VmHWM") - before - len(data) / 2**20, spent() - start


def test_decoding_costs_little(s):
    """At most 64 MiB; the bound on time is several times what was measured (docs/benchmarks.md)."""
    for what, data in costly():
        grown, seconds = cost(s, data)
        print(f"     {what}: {grown:.1f} MiB, {seconds * 1000:.0f} ms")
        assert grown <= 64 and seconds <= 1.5 or SANITIZED, f"{what}: {grown:.1f} MiB, {seconds:.2f} s"


def test_what_is_refused_costs_nothing(s):
    for data in (photos.png_of(6324, 6324, 1, 0), photos.png_of(2100, 2000, 16, 6), photos.progressive_bomb(),
                 photos.png_of(4000, 4000)[:60]):
        start = s.metric("process_cpu_seconds_total")
        assert 400 <= s.ask("PUT", "/v1/images", data).status < 500
        assert s.metric("process_cpu_seconds_total") - start < 0.15 or SANITIZED


def test_cut_anywhere_is_refused(s):
    """122 lengths of a PNG and 79 of a JPEG."""
    for data, n in ((photos.png(), 122), (jpeg(), 79), (photos.encode(quad(), "WEBP"), 40)):
        for k in range(n):
            reply = s.ask("POST", ASK, data[:k * (len(data) - 1) // n], WHOLE)
            assert 400 <= reply.status < 500, f"{k}: {reply.status}"
