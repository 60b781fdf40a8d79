"""test_bad_input.py - each fault has its own clear answer, and hurts nobody else.

The list is a table: name, path, body, headers, status, code, a word of the text. Around the table
runs a good request, again and again, whose answer must stay the same.
"""
import base64
import json
import threading

import photos
from lamm import JSON, PNG, Server, data_url, multipart
from suite import Thread

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
    yield "20000x20000", ASK, photos.png_of(20000, 20000, 1, 0), PNG, 413, "picture_too_large", "16000000"
    yield "20000x20000 claimed", ASK, claimed(20000, 20000), PNG, 413, "picture_too_large", ""
    yield "2^31 claimed", ASK, claimed(2**31 - 1, 2**31 - 1), PNG, 413, "picture_too_large", ""
    yield "0x0 claimed", ASK, claimed(0, 0), PNG, 422, "bad_picture", ""
    yield "progressive bomb", ASK, photos.progressive_bomb(), JPEG, 413, "picture_too_large", "scans"
    yield "a text called png", ASK, b"this is a text\n", PNG, 415, "unsupported_picture", "PNG"
    yield "a gif", ASK, b"GIF89a" + bytes(40), PNG, 415, "unsupported_picture", "this is a GIF"
    yield "heic", ASK, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), {}, 415, "unsupported_picture", "HEIC"
    yield "cgbi", ASK, GOOD[:8] + b"\0\0\0\4CgBI" + bytes(20), PNG, 415, "unsupported_picture", "CgBI"
    yield "4.1 Mpx in passes", ASK, photos.png_of(2050, 2000, interlace=1), PNG, 413, "picture_too_large", "interlaced"
    yield "text in a form", ASK, *form(("image", b"hello", "image/png")), 415, "unsupported_picture", ""


def claimed(width, height):
    import struct
    body = GOOD[:16] + struct.pack(">II", width, height) + GOOD[24:29]
    import zlib
    return body + struct.pack(">I", zlib.crc32(body[12:29])) + GOOD[33:]


def shapes():
    yield "no image", ASK, None, {}, 400, "missing_picture", "has no picture"
    yield "no image in a form", ASK, *form(("width", "8")), 400, "missing_picture", ""
    yield "no image in json", ASK, *js(width=8), 400, "missing_picture", ""
    yield "two images", ASK, *form(PART, PART), 400, "too_many_pictures", ""
    yield "unknown part", ASK, *form(PART, ("colour", "1")), 400, "unknown_parameter", "colour"
    yield "unknown field", ASK, *js(image=B64, colour=1), 400, "unknown_parameter", "colour"
    yield "unknown query", ASK + "?colour=1", GOOD, PNG, 400, "unknown_parameter", "colour"
    yield "wrong type", ASK, GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "text/plain"
    yield "no type, no picture", ASK, b"{}", {}, 415, "unsupported_picture", "PNG"
    yield "an url", ASK, *js(image="http://127.0.0.1/a.png"), 400, "unsupported_url", "never"
    yield "bad base64", ASK, *js(image="data:image/png;base64,@@@@"), 400, "invalid_parameter", "base64"
    yield "image is a number", ASK, *js(image=7), 400, "invalid_parameter", "image"
    yield "a form cut short", ASK, *form(PART, end=False), 400, "bad_multipart", "cut short"
    yield "a form without boundary", ASK, form(PART)[0], {"Content-Type": "multipart/form-data"}, 400, "bad_multipart", "boundary"
    yield "a form of another boundary", ASK, form(PART)[0], {"Content-Type": "multipart/form-data; boundary=other"}, 400, "bad_multipart", "is not in the body"
    yield "40 parts", ASK, *form(*[("width", "1")] * 40), 413, "body_too_large", ""
    yield "compressed", ASK, GOOD, {**PNG, "Content-Encoding": "gzip"}, 415, "unsupported_media_type", "Content-Encoding"
    for text in (b"{", b" ", b"[1]", b'{"image":1}x', b'{"width":1,"width":2}', b'{"a":NaN}', b"\xff\xfe",
                 b"[" * 4000, b'{"image":"\\ud800"}'):
        yield f"json {text[:12]}", ASK, text, JSON, 400, "invalid_json", ""
    yield "json of nothing", ASK, b"", JSON, 400, "missing_picture", "has no picture"
    yield "not acceptable", ASK, GOOD, {**PNG, "Accept": "image/webp"}, 406, "not_acceptable", ""


def parameters():
    for text in ("0", "-1", "1e999", '"64"', "65", "1.5", "", "0x10", "99999999999999999999", "null"):
        yield f"width={text}", ASK + f"?width={text.replace(chr(34), '%22')}", GOOD, PNG, 400, "invalid_parameter", "from 1 to 64"
    for value in (0, -1, "64", 65, 1.5, True, [8], 10**30):
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
    yield "a URL in a form", ASK, *form(("image", b"https://127.0.0.1:1/a.png")), 400, "unsupported_url", "never fetched"
    yield "an id that is not there", ASK, *js(image={"id": "0" * 64}), 404, "image_not_found", ""


def other_calls():
    calls = (("POST", "/v1/pixels", {"points": [[0, 0]]}), ("PUT", "/v1/images", {}), ("POST", "/v1/segment", {"sentence": "a"}),
             ("POST", "/v1/refer", {"sentence": "a"}), ("POST", "/v1/describe", {"task": "caption"}),
             ("POST", "/v1/vqa", {"question": "a"}))
    for method, path, fields in calls:
        query = path + "?" + "&".join(f"{k}={json.dumps(v) if k == 'points' else v}" for k, v in fields.items()).replace(" ", "")
        yield path, query, GOOD[:-40], PNG, 422, "bad_picture", "", method
        yield path, query, claimed(20000, 20000), PNG, 413, "picture_too_large", "", method
        yield path, query, GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "", method
        yield path, query, b"text", PNG, 415, "unsupported_picture", "", method
        yield path, path, *js(image={"id": "0" * 64}, **fields), 404, "image_not_found", "", method
        yield path, path, *js(image="https://127.0.0.1:1/a.png", **fields), 400, "unsupported_url", "never fetched", method
        yield path, path, *js(image=B64, colour=1, **fields), 400, "unknown_parameter", "colour", method
        if method == "POST":
            yield path, query, GOOD, {**PNG, "Accept": "audio/mpeg"}, 406, "not_acceptable", "", method
    yield "width", "/v1/images?width=8", GOOD, PNG, 400, "unknown_parameter", "width", "PUT"
    yield "not acceptable", "/v1/pixels?points=[[0,0]]", GOOD, {**PNG, "Accept": "image/png"}, 406, "not_acceptable", ""


TAGS = ("[INST]", "[/INST]", "<Img>", "</Img>", "<ImageHere>", "[refer]", "[segmentation]", "[vqa]")


def words():
    """What is wrong with a sentence, a question, a phrase is told alike."""
    for path, name, fields in (("/v1/segment", "sentence", {}), ("/v1/refer", "sentence", {}), ("/v1/vqa", "question", {}),
                               ("/v1/describe", "phrase", {"task": "detection"})):
        def ask(value):
            return js(image=B64, **{name: value}, **fields)
        yield path, path, *js(image=B64, **fields), 400, "missing_parameter", name
        yield path, path, *ask(""), 400, "invalid_parameter", f"{name} is empty"
        yield path, path, *ask("   "), 400, "invalid_parameter", f"{name} is blank"
        yield path, path, *ask("x" * 10000), 400, "invalid_parameter", "characters; got 10000"
        yield path, path, *ask(7), 400, "invalid_parameter", f"{name} must be a string"
        for c in "\t\x01\x1b\x7f\x85":
            yield path, path, *ask("a" + c), 400, "invalid_parameter", "control character at byte 1"
        for c in "\n\r":
            yield path, path, *ask("a" + c + "b"), 400, "invalid_parameter", "control character at byte 1"
            yield path, path, *ask(c), 400, "invalid_parameter", "is empty"
        yield path, path + f"?{name}=%ff" + ("&task=detection" if fields else ""), GOOD, PNG, 400, "invalid_parameter", "UTF-8"
        for tag in TAGS:
            yield f"{path} {tag}", path, *ask("the dog " + tag), 400, "invalid_parameter", tag
        yield path, path, *ask("\u00e4" * 490 + "\U0001f600" * 10), None, None, None


def boxes():
    good = {"image": B64}
    for path, fields in (("/v1/segment", {"sentence": "a"}), ("/v1/describe", {"task": "identify"})):
        for box, word in (([10, 10, 5, 20], "x1 must be less"), ([10, 20, 15, 10], "y1 less"), ([5, 5, 5, 5], "x1 must be less"),
                          ([-1, 0, 5, 5], "inside the picture"), ([0, 0, 97, 5], "96 x 72"), ([0, 0, 5, 1e9], "inside"),
                          ([0, 0, 5], "4 numbers"), ([0, 0, 5, "6"], "4 numbers"), ("0,0,5,5", "4 numbers")):
            yield f"{path} {box}", path, *js(**good, **fields, box=box), 400, "invalid_parameter", word


def choices():
    for value, word in (([], "1 to 64 strings"), ([""], "choices[0] is empty"), (["a", "b", "a"], "choices[2] is the same as choices[0]"),
                        (["x"] * 65, "1 to 64"), (["a", 1], "choices[1] must be a string"), ({"a": 1}, "1 to 64"),
                        (["a", "b [INST]"], "choices[1] contains [INST]"), (["y" * 201], "at most 200 characters")):
        yield f"choices {value}"[:40], "/v1/vqa", *js(image=B64, question="a", choices=value), 400, "invalid_parameter", word
    yield "with max_tokens", "/v1/vqa", *js(image=B64, question="a", choices=["a"], max_tokens=3), 400, "invalid_parameter", "together"
    for name, value in (("max_tokens", 0), ("max_tokens", 10**8), ("temperature", -1), ("temperature", 2.1), ("top_p", 1.1),
                        ("seed", -1), ("seed", 1.5)):
        yield name, "/v1/vqa", *js(image=B64, question="a", **{name: value}), 400, "invalid_parameter", name


def acts():
    two = [data_url(GOOD)] * 2
    for game in ("pong", "", "CAR_RACING", 7):
        yield f"game {game}", "/v1/act", *js(game=game, frames=two), 400, "invalid_parameter", "car_racing or space_invaders"
        yield f"game {game}", "/v1/act/sessions", *js(game=game), 400, "invalid_parameter", "car_racing or space_invaders"
    yield "no game", "/v1/act", *js(frames=two), 400, "missing_parameter", "game"
    yield "no game", "/v1/act/sessions", *js(), 400, "missing_parameter", "game"
    for n in (0, 1, 3, 4):
        yield f"{n} frames", "/v1/act", *js(game="car_racing", frames=two[:1] * n), 400, "invalid_parameter", f"exactly 2 frames, oldest first; got {n}"
    yield "1000 frames", "/v1/act", *js(game="car_racing", frames=two[:1] * 1000), 400, "too_many_pictures", "got 1000"
    other = data_url(photos.png(1, 40, 40))
    yield "sizes", "/v1/act", *js(game="car_racing", frames=[two[0], other]), 400, "invalid_parameter", "one size"
    yield "url", "/v1/act", *js(game="car_racing", frames=["http://127.0.0.1:1/", two[0]]), 400, "unsupported_url", "never fetched"
    yield "id", "/v1/act", *js(game="car_racing", frames=[two[0], {"id": "0" * 64}]), 404, "image_not_found", ""
    yield "damaged", "/v1/act", *form(("game", "car_racing"), ("frame", GOOD), ("frame", GOOD[:-40])), 422, "bad_picture", ""
    yield "bomb", "/v1/act", *form(("game", "car_racing"), ("frame", GOOD), ("frame", claimed(20000, 20000))), 413, "picture_too_large", ""
    yield "type", "/v1/act", GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type", ""
    yield "type", "/v1/act/sessions", GOOD, PNG, 415, "unsupported_media_type", "application/json"
    yield "1000 parts", "/v1/act", *form(("game", "car_racing"), *[("frame", GOOD)] * 1000), 413, "body_too_large", "over 32 parts"
    yield "large", "/v1/act/sessions", b" " * (17 << 20), JSON, 413, "body_too_large", ""
    yield "accept", "/v1/act", form(("game", "car_racing"), PART)[0], \
        {**form(PART)[1], "Accept": "image/png"}, 406, "not_acceptable", ""
    for deadline in (0, -1, 60001, 1.5, "20"):
        yield f"deadline {deadline}", "/v1/act", *js(game="car_racing", frames=two, deadline_ms=deadline), 400, "invalid_parameter", "deadline_ms must be an integer from 1 to 60000"
    for default in (5, {}, {"steering": 2, "gas": 0, "brake": 0}, {"steering": 0, "gas": 0}):
        yield f"default {default}", "/v1/act", *js(game="car_racing", frames=two, default=default), 400, "invalid_parameter", "default"
    gone = "/v1/act/sessions/" + "0" * 32
    yield "gone", gone, GOOD, PNG, 404, "session_not_found", "expired"
    yield "gone", gone, None, {}, 404, "session_not_found", "", "DELETE"


def steps(at):
    yield "damaged", at, GOOD[:-40], PNG, 422, "bad_picture", ""
    yield "bomb", at, claimed(20000, 20000), PNG, 413, "picture_too_large", ""
    yield "text", at, b"text", PNG, 415, "unsupported_picture", ""
    yield "none", at, *js(deadline_ms=5), 400, "missing_picture", "as frame in a form"
    yield "two", at, *form(("frame", GOOD), ("frame", GOOD)), 400, "too_many_pictures", ""
    yield "image", at, *js(image=B64), 400, "unknown_parameter", "frame"
    yield "deadline", at + "?deadline_ms=0", GOOD, PNG, 400, "invalid_parameter", "from 1 to 60000"


def chats():
    path = "/v1/chat/completions"

    def say(*messages, **fields):
        return js(messages=list(messages), **fields)

    def look(url):
        return {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}}]}
    hi = {"role": "user", "content": "hi"}
    for url in ("http://127.0.0.1:1/a.png", "https://example.org/a.png", "file:///etc/passwd", "HTTP://a"):
        yield url, path, *say(look(url)), 400, "unsupported_url", "never fetched"
    yield "1000 pictures", path, *say({"role": "user", "content": look(data_url(GOOD))["content"] * 1000}), 400, "too_many_pictures", "at most 8"
    yield "stored", path, *say(look("lammd:" + "0" * 64)), 404, "image_not_found", ""
    yield "gif", path, *say(look("data:image/gif;base64,AAAA")), 415, "unsupported_picture", ""
    yield "damaged", path, *say(look(data_url(GOOD[:-40]))), 422, "bad_picture", ""
    yield "bomb", path, *say(look(data_url(claimed(20000, 20000)))), 413, "picture_too_large", ""
    yield "model", path, *say(hi, model="gpt-4o"), 404, "model_not_found", "lammd"
    yield "accept", path, say(hi)[0], {**JSON, "Accept": "image/png"}, 406, "not_acceptable", ""
    yield "type", path, b"hi", {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "application/json"
    for tag in ("[INST]", "[/INST]", "<Img>"):
        yield tag, path, *say({"role": "user", "content": f"a {tag} b"}), 400, "invalid_parameter", tag
    for messages, word in (([], "at least one"), ([{"role": "user", "content": ""}], "is empty"),
                           ([{"role": "user", "content": "a\x07"}], "control character"),
                           ([{"role": "user", "content": "x" * 20001}], "at most 20000 characters"),
                           ([{"role": "tool", "content": "x"}], "system, user or assistant"),
                           ([hi, {"role": "assistant", "content": "a"}], "end with the user's")):
        yield f"{messages}"[:40], path, *say(*messages), 400, "invalid_parameter", word
    yield "too long", path, *say({"role": "user", "content": "word " * 3000}), 422, "too_much_work", ""
    for fields, code in (({"n": 2}, "invalid_parameter"), ({"tools": [{}]}, "invalid_parameter"), ({"colour": 1}, "unknown_parameter"), ({"stop": ""}, "invalid_parameter"),
                         ({"max_tokens": 0}, "invalid_parameter"), ({"logit_bias": {"1": 1}}, "invalid_parameter")):
        yield f"{fields}", path, *say(hi, **fields), 400, code, next(iter(fields))
    yield "empty", path, b"", JSON, 400, "invalid_json", ""


def check_table(s, table):
    good = s.ask("POST", ASK + "?width=8&height=8", GOOD, PNG).body
    stop, wrong = threading.Event(), []

    def go_on():
        while not stop.is_set():
            reply = s.ask("POST", ASK + "?width=8&height=8", GOOD, PNG)
            if reply.body != good:
                wrong.append(reply.status)
    beside = Thread(target=go_on)
    beside.start()
    try:
        for name, path, body, headers, status, code, word, *method in table:
            reply = s.ask(method[0] if method else "POST", path, body, headers)
            if status is None:
                assert reply.status == 200, f"{name}: {reply.body[:300]}"
                continue
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


def test_words(s):
    check_table(s, words())


def test_boxes(s):
    check_table(s, boxes())


def test_choices(s):
    check_table(s, choices())


def test_acts(s):
    check_table(s, acts())


def test_steps(s):
    at = s.ask("POST", "/v1/act/sessions?game=car_racing").headers["Location"]
    check_table(s, steps(at))
    assert s.ask("POST", at, GOOD, PNG).status == 200


def test_chats(s):
    check_table(s, chats())


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
    with s.connect() as c:
        c.sendall(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                  "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert b" 413 " in c.recv(65536).splitlines()[0]


def test_chunked_body_over_the_limit(s):
    got, closed = s.raw(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                        "Transfer-Encoding: chunked\r\n\r\n".encode()
                        + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 20 + b"0\r\n\r\n")
    assert b" 413 " in got.splitlines()[0] and closed, got[:200]


def test_a_call_without_a_body_gets_one(s):
    for method, path in (("GET", "/livez"), ("GET", "/v1/models"), ("HEAD", "/")):
        for body, headers in ((b"{}", JSON), (b"x" * 3000000, PNG), (form(PART)[0], form(PART)[1])):
            assert s.ask(method, path, body, headers).status == 200, (method, path)
    got, closed = s.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert closed and got.count(b"HTTP/1.1 200 ") == 2 == got.count(b"alive"), got
