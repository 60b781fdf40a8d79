"""test_crops.py - beyond the grid: a photograph's parts as pictures of their own.

/v1/reconstruct in tiles, larger than the grid and still the model's answers; `refine` of
/v1/segment. With the tiny model, whose pictures cost nothing.
"""
import base64
import io
import json

from PIL import Image

import photos
from lamm import JSON, PNG, TINY, Server, data_url, events

BIG = photos.scene(203, 154)
BODY = photos.encode(BIG)
STREAM = {**PNG, "Accept": "text/event-stream"}
ACCEPT_JSON = {"Accept": "application/json"}


def start():
    return Server(model=TINY)


def picture(body):
    return Image.open(io.BytesIO(body)).convert("RGB")


def grey(body):
    return Image.open(io.BytesIO(body))


def ask(s, query, body=BODY):
    return s.ask("POST", f"/v1/reconstruct?{query}", body, PNG)


def part(tiles, x, y):
    """Tile (x, y) of the photograph, as openapi.yaml has it: each pixel is in one of them."""
    w, h = BIG.size
    return BIG.crop((x * w // tiles, y * h // tiles, (x + 1) * w // tiles, (y + 1) * h // tiles))


def test_one_tile_is_what_it_was(s):
    for query in ("estimate=mode", "estimate=median", "region=1,1,4,4&width=3"):
        assert ask(s, query).body == ask(s, query + "&tiles=1").body


def test_a_tile_is_its_part_alone(s):
    grid = s.ask("GET", "/v1/models").json()["data"][0]["grid"]
    for tiles, estimate in ((2, "mean"), (3, "median"), (8, "mode")):
        whole = ask(s, f"tiles={tiles}&estimate={estimate}")
        assert whole.status == 200
        if tiles == 3:  # from the caches, too
            assert ask(s, f"tiles={tiles}&estimate={estimate}").body == whole.body
        seen = picture(whole.body)
        assert seen.size == (tiles * grid,) * 2
        for x, y in ((0, 0), (tiles - 1, 1), (1, tiles - 1)):
            alone = picture(ask(s, f"estimate={estimate}", photos.encode(part(tiles, x, y))).body)
            box = (x * grid, y * grid, (x + 1) * grid, (y + 1) * grid)
            assert seen.crop(box).tobytes() == alone.tobytes(), (tiles, x, y)


def test_the_error_is_that_of_the_picture_at_that_size(s):
    reply = s.ask("POST", "/v1/reconstruct?tiles=3&compare=true", BODY,
                  {**PNG, "Accept": "application/json"}).json()
    urls = reply["image"], reply["compare"]["original"]
    seen, original = (picture(base64.b64decode(url.split(",")[1])) for url in urls)
    assert original.tobytes() == BIG.resize(original.size, Image.BICUBIC).tobytes()
    off = sum(abs(a - b) for a, b in zip(seen.tobytes(), original.tobytes())) / len(seen.tobytes())
    assert abs(off - reply["compare"]["mae_levels"]) < 0.001 and reply["tiles"] == 3
    assert reply["usage"]["pixels"] == seen.width * seen.height


def test_the_stream_is_the_picture(s):
    for tiles in (2, 5):
        told = events(s.ask("POST", f"/v1/reconstruct?tiles={tiles}&compare=true", BODY, STREAM).body)
        assert [told[0][0], told[-1][0]] == ["start", "done"], told[-1]
        head = told[0][1]
        seen, times = Image.new("RGB", (head["width"], head["height"])), {}
        for name, data in told[1:-1]:
            assert name == "pixels"
            for i in range(0, len(data["values"]), 5):
                x, y, *rgb = data["values"][i:i + 5]
                times[x, y] = times.get((x, y), 0) + 1
                seen.putpixel((x, y), tuple(rgb))
        assert len(times) == head["pixels"] and set(times.values()) == {1}
        grid = head["grid"]
        first = list(times)[:tiles * tiles]
        assert all(x % grid % 8 == 0 and y % grid % 8 == 0 for x, y in first), first
        assert seen.tobytes() == picture(ask(s, f"tiles={tiles}").body).tobytes()


def test_who_leaves_a_stream_of_tiles_stops_it(s):
    for _ in range(20):
        c = s.connect()
        c.sendall(b"POST /v1/reconstruct?tiles=8 HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                  b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        c.recv(4096)
        c.close()
    assert ask(s, "tiles=2").status == 200


def test_turned_as_the_picture_is(s):
    exif = Image.Exif()
    exif[0x112] = 8
    stored = photos.encode(BIG, exif=exif)
    shown = photos.encode(BIG.transpose(Image.ROTATE_90))
    seen, plain = (picture(ask(s, "tiles=3", b).body) for b in (stored, shown))
    assert seen.tobytes() == plain.tobytes()


def test_what_is_refused(s):
    grid = s.ask("GET", "/v1/models").json()["data"][0]["grid"]
    for query, param in (("tiles=0", "tiles"), ("tiles=9", "tiles"), ("tiles=two", "tiles"), ("tiles=1.0", "tiles"),
                         ("tiles=2&width=8", "width"), ("tiles=2&height=8", "height"),
                         (f"tiles=2&region=0,0,{grid},{grid}", "region")):
        reply = ask(s, query)
        assert reply.status == 400 and reply.json()["error"]["param"] == param, (query, reply.body)
    flat = ask(s, "tiles=8", photos.encode(photos.scene(100, 5)))
    assert flat.status == 400 and "tiles=5 at most" in flat.json()["detail"], flat.body
    stored = s.ask("PUT", "/v1/images", BODY, PNG).json()["id"]
    for body, tiles, status in (({"id": stored}, 2, 400), ({"id": stored}, 1, 200), (data_url(BODY), "2", 400),
                                (data_url(BODY), True, 400), (data_url(BODY), None, 200), (data_url(BODY), 2, 200)):
        reply = s.ask("POST", "/v1/reconstruct", json.dumps({"image": body, "tiles": tiles}), JSON)
        assert reply.status == status, (tiles, reply.body)


def test_a_refined_mask_is_that_of_its_part_alone(s):
    body = json.dumps({"image": data_url(BODY), "sentences": ["the red ball", "a dog"], "refine": True,
                       "box": [100, 90, 140, 120], "size": "grid", "png": True})
    reply = s.ask("POST", "/v1/segment", body, {**JSON, **ACCEPT_JSON}).json()
    for m in reply["masks"]:
        at = tuple(m["crop"][k] for k in ("x1", "y1", "x2", "y2"))
        assert at[0] <= 100 and at[1] <= 90 and at[2] >= 140 and at[3] >= 120, at
        part = photos.encode(BIG.crop(at))
        alone = s.ask("POST", f"/v1/segment?sentence={m['sentence'].replace(' ', '%20')}&whole=true&size=grid", part, PNG)
        assert base64.b64decode(m["png"].split(",")[1]) == alone.body
    # In full size it lies in its place.
    full = s.ask("POST", "/v1/segment?sentence=a%20dog&refine=true&box=100,90,140,120", BODY, PNG)
    assert full.headers["X-Lammd-Crop"] == ",".join(map(str, at))
    whole = s.ask("POST", "/v1/segment?sentence=a%20dog&whole=true", part, PNG)
    expected = Image.new("L", BIG.size)
    expected.paste(grey(whole.body), at[:2])
    assert grey(full.body).tobytes() == expected.tobytes()


def test_refine_turns_as_the_picture_does(s):
    big = photos.scene(300, 200)
    exif = Image.Exif()
    exif[0x112] = 6  # shown turned by 90 degrees, clockwise
    stored = photos.encode(big, exif=exif)
    shown = photos.encode(big.transpose(Image.ROTATE_270))
    query = "/v1/segment?sentence=a&refine=true&box=40,120,70,160"
    turned, plain = s.ask("POST", query, stored, PNG), s.ask("POST", query, shown, PNG)
    assert turned.headers["X-Lammd-Crop"] == plain.headers["X-Lammd-Crop"] and turned.body == plain.body


def test_refine_where_there_is_nothing_to_refine(s):
    for query in ("whole=true", "box=10,10,190,145"):
        reply = s.ask("POST", f"/v1/segment?sentence=a&refine=true&{query}", BODY, PNG)
        assert reply.body == s.ask("POST", f"/v1/segment?sentence=a&{query}", BODY, PNG).body
        assert "X-Lammd-Crop" not in reply.headers
    stored = s.ask("PUT", "/v1/images", BODY, PNG).json()["id"]
    for body, value in ((data_url(BODY), "yes"), (data_url(BODY), 1), ({"id": stored}, True)):
        reply = s.ask("POST", "/v1/segment", json.dumps({"image": body, "sentence": "a", "refine": value}), JSON)
        assert reply.status == 400 and reply.json()["error"]["param"] == "refine", reply.body

