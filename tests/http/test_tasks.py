"""test_tasks.py - segment, refer, describe, vqa as they are meant to be used.

What the model says is its own business; that every form of an answer says the same is ours.
"""
import base64
import io
import json

from PIL import Image, ImageDraw

import photos
from lamm import JSON, PNG, TINY, Server, Skip, contract, data_url, events, multipart

BODY = photos.png()
SIZE = (96, 72)
ACCEPT_JSON = {"Accept": "application/json"}
STREAM = {**PNG, "Accept": "text/event-stream"}
WARM = "temperature=1.5&seed=3&max_tokens=24"


def start():
    return Server(model=TINY)


def picture(body):
    return Image.open(io.BytesIO(body))


def unpack(mask):
    """COCO's run lengths -> a picture, written from cocoapi's description of the format."""
    runs, at, text = [], 0, mask["counts"]
    while at < len(text):
        value = shift = 0
        while True:
            group = ord(text[at]) - 48
            value |= (group & 31) << shift
            at, shift = at + 1, shift + 5
            if not group & 32:
                break
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    height, width = mask["size"]
    column_major = b"".join(bytes([255 * (i % 2)]) * n for i, n in enumerate(runs))
    assert len(column_major) == width * height
    return Image.frombytes("L", (height, width), column_major).transpose(Image.TRANSPOSE)


def fill(rings, size):
    """Even-odd, pixel by pixel at their centres: what lies left of it decides."""
    flips = [[0] * (size[0] + 1) for _ in range(size[1])]
    for ring in rings:
        corners = list(zip(ring[::2], ring[1::2]))
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
            assert (x0 == x1) != (y0 == y1)
            for y in range(min(y0, y1), max(y0, y1)) if x0 == x1 else ():
                flips[y][x0] ^= 1
    out = Image.new("L", size)
    for y, row in enumerate(flips):
        inside = 0
        for x in range(size[0]):
            inside ^= row[x]
            out.putpixel((x, y), 255 * inside)
    return out


def masks(s, **fields):
    body = json.dumps({"image": data_url(BODY), **fields})
    return s.ask("POST", "/v1/segment", body, {**JSON, **ACCEPT_JSON}).json()["masks"]


def test_three_ways_in_give_the_same_mask(s):
    raw = s.ask("POST", "/v1/segment?sentence=the%20red%20ball&whole=true", BODY, PNG)
    form = s.ask("POST", "/v1/segment", *multipart(("image", BODY), ("sentence", "the red ball"), ("whole", "true")))
    as_json = s.ask("POST", "/v1/segment", json.dumps({"image": data_url(BODY), "sentence": "the red ball", "whole": True}),
                    {**JSON, "Accept": "image/png"})
    assert raw.status == 200 and raw.type == "image/png" and raw.headers["Vary"] == "Accept"
    assert raw.body == form.body == as_json.body
    mask = picture(raw.body)
    assert mask.mode == "L" and mask.size == SIZE and set(mask.getdata()) <= {0, 255}
    assert raw.headers["X-Lammd-Box"] == "0.00,0.00,96.00,72.00"


def test_every_form_of_a_mask_says_the_same(s):
    for fields in ({"whole": True}, {"box": [10, 5.5, 80, 70]}, {}, {"whole": True, "size": "grid"},
                   {"whole": True, "threshold": 0.3}):
        for m in masks(s, sentences=["the red ball", "a dog"], png=True, **fields):
            png = picture(base64.b64decode(m["png"].split(",")[1]))
            assert png.size == ((16, 16) if fields.get("size") else SIZE)
            assert unpack(m["mask"]).tobytes() == png.tobytes()
            assert fill(m["polygon"], png.size).tobytes() == png.tobytes()
            assert m["area"] == sum(v == 255 for v in png.getdata())
            bounds = png.getbbox()
            assert m["bbox"] == (bounds and [bounds[0], bounds[1], bounds[2] - bounds[0], bounds[3] - bounds[1]])
            assert m["box"]["x2"] <= SIZE[0] and (m["bbox"] is None) == (m["area"] == 0)


def test_pycocotools_reads_our_masks(s):
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise Skip("pycocotools is not installed (pip install pycocotools)")
    for m in masks(s, sentences=["a", "b", "c"], whole=True, png=True):
        theirs = coco.decode(m["mask"])
        png = picture(base64.b64decode(m["png"].split(",")[1]))
        assert theirs.shape == (72, 96) and (theirs * 255).tobytes() == png.tobytes()
        assert coco.area(m["mask"]) == m["area"]
        if m["bbox"]:
            assert list(coco.toBbox(m["mask"])) == m["bbox"]


def test_soft_masks_are_probabilities_of_the_bits(s):
    soft = picture(s.ask("POST", "/v1/segment?sentence=a&whole=true&soft=true&size=grid", BODY, PNG).body)
    hard = picture(s.ask("POST", "/v1/segment?sentence=a&whole=true&size=grid", BODY, PNG).body)
    for p, bit in zip(soft.getdata(), hard.getdata()):
        assert p in (127, 128) or (p >= 128) == (bit == 255)
    for t in (0, 0.25, 0.9):
        cut = picture(s.ask("POST", f"/v1/segment?sentence=a&whole=true&size=grid&threshold={t}", BODY, PNG).body)
        assert all(abs(p - t * 255) < 1 or (p > t * 255) == (bit == 255)
                   for p, bit in zip(soft.getdata(), cut.getdata()))


def test_a_box_is_where_the_mask_is(s):
    whole = picture(s.ask("POST", "/v1/segment?sentence=a&whole=true&size=grid", BODY, PNG).body)
    part = picture(s.ask("POST", "/v1/segment?sentence=a&box=30,18,60,36&size=grid", BODY, PNG).body)
    box = (20, 16, 40, 32)  # of 64 places on 96 x 72 pixels
    outside = part.copy()
    ImageDraw.Draw(outside).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=0)
    assert part.crop(box).tobytes() == whole.crop(box).tobytes() and outside.getbbox() is None
    assert s.ask("POST", "/v1/segment?sentence=a&box=95.5,71.5,96,72", BODY, PNG).status == 200


def test_the_box_of_a_mask_is_that_of_refer(s):
    pointed = s.ask("POST", "/v1/refer?sentence=the%20red%20ball", BODY, PNG).json()
    x1, y1, x2, y2 = pointed["percent"]
    assert x1 <= x2 and y1 <= y2
    assert pointed["box"] == {"x1": x1 * 96 / 100, "y1": y1 * 72 / 100, "x2": x2 * 96 / 100, "y2": y2 * 72 / 100}
    reply = s.ask("POST", "/v1/segment?sentence=the%20red%20ball&threshold=0", BODY, PNG)
    assert [float(v) for v in reply.headers["X-Lammd-Box"].split(",")] == list(pointed["box"].values())
    looked = masks(s, sentence="the red ball", threshold=0)[0]
    assert looked["box"] in (pointed["box"], None)
    assert abs(looked["box_probability"] - pointed["probability"]) <= 1e-5 * pointed["probability"]


def test_64_sentences_at_once(s):
    sentences = [f"thing {i}" for i in range(64)]
    found = masks(s, sentences=sentences, size="grid", box=[0, 0, 6, 6])
    assert [m["sentence"] for m in found] == sentences
    assert masks(s, sentence="thing 40", size="grid", box=[0, 0, 6, 6])[0] == found[40]


def test_refer_estimates(s):
    boxes = {e: s.ask("POST", f"/v1/refer?sentence=a%20dog&estimate={e}", BODY, PNG).json()["percent"]
             for e in ("mode", "median", "mean")}
    assert s.ask("POST", "/v1/refer", *multipart(("image", BODY), ("sentence", "a dog"))).json()["percent"] == boxes["mode"]


# ---- words: the tiny model has never been trained, so it babbles, all bytes there are ----

def test_describe_and_its_stream():
    with Server(model=TINY) as s:
        describe_and_its_stream(s)


def describe_and_its_stream(s):
    for query in ("task=caption", "task=grounding", "task=detection&phrase=a%20ball", "task=identify&box=10,10,50,50"):
        path = f"/v1/describe?{query}&{WARM}"
        got = s.ask("POST", path, BODY, PNG).json()
        again = s.ask("POST", path, BODY, STREAM)
        told = events(again.body)
        assert told[-1][0] == "done" and {name for name, _ in told[:-1]} <= {"token"}
        contract.validate(told[-1][1], contract.schema("Description"))
        for name, data in told[:-1]:
            contract.validate(data, contract.schema("StreamToken"))
        assert "".join(data["text"] for _, data in told[:-1]) == told[-1][1]["text"] == got["text"]
        assert got["boxes"] == told[-1][1]["boxes"] and got["usage"]["completion_tokens"] <= 24
        assert got["finish"] == ("length" if got["usage"]["completion_tokens"] == 24 else "stop")


def test_a_seed_is_a_text():
    with Server(model=TINY) as s:
        texts = [s.ask("POST", f"/v1/describe?temperature=1.5&max_tokens=24&seed={seed}", BODY, PNG).json()["text"]
                 for seed in (1, 1, 2, 3, 4)]
        assert texts[0] == texts[1] and len(set(texts)) > 1
        greedy = [s.ask("POST", f"/v1/describe?seed={seed}", BODY, PNG).json()["text"] for seed in (1, 2)]
        assert greedy[0] == greedy[1]


def test_vqa():
    with Server(model=TINY) as s:
        vqa(s)


def vqa(s):
    free = s.ask("POST", f"/v1/vqa?question=what%20is%20it%3f&{WARM}", BODY, PNG).json()
    told = events(s.ask("POST", f"/v1/vqa?question=what%20is%20it%3f&{WARM}", BODY, STREAM).body)
    assert told[-1][1]["answer"] == free["answer"] == "".join(d["text"] for n, d in told if n == "token")
    tokens = free["usage"]["completion_tokens"]
    assert free["unsure"] == (free["probability"] < 0.5 ** (tokens if tokens > 16 else 1))
    brief = s.ask("POST", f"/v1/vqa?question=what%20is%20it%3f&max_tokens=3&temperature=1.5&seed=3", BODY, PNG).json()
    assert brief["usage"]["completion_tokens"] <= 3 and brief["unsure"] == (brief["probability"] < 0.5)
    form = s.ask("POST", "/v1/vqa", *multipart(("image", BODY), ("question", "red?"), ("choices", '["yes","no","maybe"]')))
    got = form.json()
    assert {c["text"] for c in got["choices"]} == {"yes", "no", "maybe"} and got["answer"] == got["choices"][0]["text"]
    assert abs(sum(c["probability"] for c in got["choices"]) - 1) < 1e-4
    assert got["unsure"] == (got["probability"] < 0.5)
    assert [c["logprob"] for c in got["choices"]] == sorted((c["logprob"] for c in got["choices"]), reverse=True)
    two = s.ask("POST", "/v1/vqa", json.dumps({"image": data_url(BODY), "question": "red?", "choices": ["no", "yes"]}), JSON).json()
    three = {c["text"]: c["logprob"] for c in got["choices"]}
    for c in two["choices"]:  # a choice's likelihood does not depend on the others
        assert abs(c["logprob"] - three[c["text"]]) < 1e-5
    done = events(s.ask("POST", "/v1/vqa?question=a&choices=[%22x%22]", BODY, STREAM).body)
    assert [name for name, _ in done] == ["done"] and done[0][1]["probability"] == 1
    assert done[0][1]["unsure"] is False
    contract.validate(done[0][1], contract.schema("Answer"))


def test_stored_pictures_and_keys(s):
    stored = s.ask("PUT", "/v1/images", BODY, PNG).json()["id"]
    by_id = s.ask("POST", "/v1/refer", json.dumps({"image": {"id": stored}, "sentence": "a"}), JSON).json()
    assert by_id["percent"] == s.ask("POST", "/v1/refer?sentence=a", BODY, PNG).json()["percent"]
