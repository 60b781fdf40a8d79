"""test_bad_input.py - each fault has its own clear answer, and hurts nobody else.

The list is a table: name, path, body, headers, status, code, a word of the text. Around the table
runs a good request, again and again, whose answer must stay the same.
"""
import base64
import json
import threading

import photos
from lamm import JSON, PNG, Server, multipart

JPEG = {"Content-Type": "image/jpeg"}
GOOD = photos.png()
ASK = "/v1/reconstruct"


def start():
    return Server()


def form(*parts, **how):
    return multipart(*parts, **how)


def js(**fields):
    return json.dumps(fields), JSON


B64 = base64.b64encode(GOOD).decode()
PART = ("image", GOOD, "image/png")


def pictures():
    yield "0 bytes", ASK, b"", PNG, 422, "bad_picture", "empty"
    yield "truncated png", ASK, GOOD[:-40], PNG, 422, "bad_picture", "cut"
    yield "a signature alone", ASK, GOOD[:8], PNG, 422, "bad_picture", ""
    yield "truncated jpeg", ASK, photos.jpeg()[:-300], JPEG, 422, "bad_picture", ""
    yield "1x65535", ASK, photos.png_of(1, 65535), PNG, 413, "picture_too_large", "32768"
    yield "20000x20000", ASK, photos.png_of(20000, 20000, 1, 0), PNG, 413, "picture_too_large", "40000000"
    yield "20000x20000 claimed", ASK, claimed(20000, 20000), PNG, 413, "picture_too_large", ""
    yield "2^31 claimed", ASK, claimed(2**31 - 1, 2**31 - 1), PNG, 413, "picture_too_large", ""
    yield "0x0 claimed", ASK, claimed(0, 0), PNG, 422, "bad_picture", ""
    yield "progressive bomb", ASK, photos.progressive_bomb(), JPEG, 413, "picture_too_large", "scans"
    yield "a text called png", ASK, b"this is a text\n", PNG, 415, "unsupported_picture", "PNG"
    yield "a gif", ASK, b"GIF89a" + bytes(40), PNG, 415, "unsupported_picture", "PNG"
    yield "text in a form", ASK, *form(("image", b"hello", "image/png")), 415, "unsupported_picture", ""


def claimed(width, height):
    import struct
    body = GOOD[:16] + struct.pack(">II", width, height) + GOOD[24:29]
    import zlib
    return body + struct.pack(">I", zlib.crc32(body[12:29])) + GOOD[33:]


def shapes():
    yield "no image", ASK, None, {}, 400, "missing_picture", "exactly one"
    yield "no image in a form", ASK, *form(("width", "8")), 400, "missing_picture", ""
    yield "no image in json", ASK, *js(width=8), 400, "missing_picture", ""
    yield "two images", ASK, *form(PART, PART), 400, "too_many_pictures", ""
    yield "unknown part", ASK, *form(PART, ("colour", "1")), 400, "unknown_parameter", "colour"
    yield "unknown field", ASK, *js(image=B64, colour=1), 400, "unknown_parameter", "colour"
    yield "unknown query", ASK + "?colour=1", GOOD, PNG, 400, "unknown_parameter", "colour"
    yield "wrong type", ASK, GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "text/plain"
    yield "no type", ASK, GOOD, {}, 415, "unsupported_media_type", "none"
    yield "an url", ASK, *js(image="http://127.0.0.1/a.png"), 400, "unsupported_url", "never"
    yield "bad base64", ASK, *js(image="data:image/png;base64,@@@@"), 400, "invalid_parameter", "base64"
    yield "image is a number", ASK, *js(image=7), 400, "invalid_parameter", "image"
    yield "a form cut short", ASK, *form(PART, end=False), 400, "bad_multipart", ""
    yield "a form without boundary", ASK, form(PART)[0], {"Content-Type": "multipart/form-data"}, 400, "bad_multipart", "boundary"
    yield "a form of another boundary", ASK, form(PART)[0], {"Content-Type": "multipart/form-data; boundary=other"}, 400, "bad_multipart", ""
    yield "40 parts", ASK, *form(*[("width", "1")] * 40), 413, "body_too_large", ""
    yield "compressed", ASK, GOOD, {**PNG, "Content-Encoding": "gzip"}, 415, "unsupported_media_type", "Content-Encoding"
    for text in (b"{", b"", b"[1]", b'{"image":1}x', b'{"width":1,"width":2}', b'{"a":NaN}', b"\xff\xfe",
                 b"[" * 4000, b'{"image":"\\ud800"}'):
        yield f"json {text[:12]}", ASK, text, JSON, 400, "invalid_json", ""
    yield "not acceptable", ASK, GOOD, {**PNG, "Accept": "image/webp"}, 406, "not_acceptable", ""


def parameters():
    for text in ("0", "-1", "1e999", '"64"', "65", "1.5", "", "0x10", "99999999999999999999", "null"):
        yield f"width={text}", ASK + f"?width={text.replace(chr(34), '%22')}", GOOD, PNG, 400, "invalid_parameter", "from 1 to 64"
    for value in (0, -1, "64", 65, 1.5, None, True, [8], 10**30):
        code = "invalid_parameter" if value != 10**30 else None
        yield f"json width {value}", ASK, *js(image=B64, width=value), 400, code, ""
    yield "json width 1e999", ASK, b'{"image":"x","width":1e999}', JSON, 400, "invalid_json", ""
    for region in ("0,0,65,1", "64,0,1,1", "-1,0,4,4", "0,0,0,4", "1,2,3", "a,b,c,d", "0,0,4,4,4"):
        yield f"region {region}", ASK + f"?region={region}", GOOD, PNG, 400, "invalid_parameter", "region"
    yield "estimate", ASK + "?estimate=best", GOOD, PNG, 400, "invalid_parameter", "mode, median or mean"
    yield "compare", ASK + "?compare=1", GOOD, PNG, 400, "invalid_parameter", "true or false"
    yield "twice", ASK + "?width=8&width=8", GOOD, PNG, 400, "invalid_parameter", "twice"
    yield "twice, mixed", ASK + "?width=8", *form(PART, ("width", "8")), 400, "invalid_parameter", "twice"
    for points in ("[]", "[[0]]", "[[0,64]]", "[[-1,0]]", "[[0,0,0]]", "{}", '[["0",0]]', "[[0.5,0]]"):
        yield f"points {points}", "/v1/pixels?points=" + points.replace('"', "%22"), GOOD, PNG, 400, "invalid_parameter", "points"
    yield "no points", "/v1/pixels", GOOD, PNG, 400, "missing_parameter", "points"
    yield "too many points", "/v1/pixels", *js(image=B64, points=[[0, 0]] * 4097), 400, "invalid_parameter", "4096"
    yield "a bad id", ASK, *js(image={"id": "xyz"}), 400, "invalid_parameter", "64 hex"
    yield "an id that is not there", ASK, *js(image={"id": "0" * 64}), 404, "image_not_found", ""


def other_calls():
    points = "/v1/pixels?points=[[0,0]]"
    for path, method in ((points, "POST"), ("/v1/images", "PUT")):
        yield path, path, GOOD[:-40], PNG, 422, "bad_picture", "", method
        yield path, path, claimed(20000, 20000), PNG, 413, "picture_too_large", "", method
        yield path, path, GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "", method
        yield path, path, b"text", PNG, 415, "unsupported_picture", "", method
        yield path, path.split("?")[0], *js(image={"id": "0" * 64}, **({"points": [[0, 0]]} if method == "POST" else {})), \
            404, "image_not_found", "", method
    yield "width", "/v1/images?width=8", GOOD, PNG, 400, "unknown_parameter", "width", "PUT"
    yield "not acceptable", points, GOOD, {**PNG, "Accept": "image/png"}, 406, "not_acceptable", "", "POST"


def check_table(s, table):
    good = s.ask("POST", ASK + "?width=8&height=8", GOOD, PNG).body
    stop, wrong = threading.Event(), []

    def go_on():
        while not stop.is_set():
            reply = s.ask("POST", ASK + "?width=8&height=8", GOOD, PNG)
            if reply.body != good:
                wrong.append(reply.status)
    beside = threading.Thread(target=go_on)
    beside.start()
    try:
        for name, path, body, headers, status, code, word, *method in table:
            reply = s.ask(method[0] if method else "POST", path, body, headers)
            got = (reply.status, reply.code)
            assert got == (status, code or reply.code), f"{name}: {got} {reply.body[:300]}"
            assert word in reply.json()["detail"], f"{name}: {reply.json()['detail']}"
    finally:
        stop.set()
        beside.join()
    assert not wrong, f"the good request was disturbed: {wrong}"


def test_pictures(s):
    check_table(s, pictures())


def test_shapes(s):
    check_table(s, shapes())


def test_parameters(s):
    check_table(s, parameters())


def test_other_calls(s):
    check_table(s, other_calls())


def test_100_mb_of_json_is_refused_and_not_kept(s):
    before = rss(s)
    with s.connect(30) as c:
        size = 100 << 20
        c.sendall(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {size}\r\n\r\n".encode())
        piece = b'{"a":' + b" " * ((1 << 20) - 5)
        for _ in range(size // len(piece)):
            c.sendall(piece)
        head = c.recv(65536)
    assert b" 413 " in head.splitlines()[0] and b"body_too_large" in head, head
    assert rss(s) < before + 40e6


def rss(s):
    with open(f"/proc/{s.process.pid}/status") as f:
        return next(int(line.split()[1]) * 1000 for line in f if line.startswith("VmRSS"))


def test_expect_is_answered_before_the_upload(s):
    with s.connect(10) as c:
        c.sendall(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                  "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert b" 413 " in c.recv(65536).splitlines()[0]


def test_chunked_body_over_the_limit(s):
    got, closed = s.raw(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n".encode()
                        + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 20 + b"0\r\n\r\n", 20)
    assert b" 413 " in got.splitlines()[0] and closed, got[:200]


def test_a_call_without_a_body_gets_one(s):
    reply = s.ask("GET", "/livez", b"x" * 100)
    assert (reply.status, reply.code) == (413, "body_too_large")
