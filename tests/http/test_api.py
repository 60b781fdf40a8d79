"""test_api.py - every call as it is meant to be used."""
import base64
import io
import json
import re

from PIL import Image

import lamm
import photos
from lamm import JSON, PNG, Server, contract, data_url, events, multipart
from suite import SOON

ACCEPT_JSON = {"Accept": "application/json"}
ACCEPT_STREAM = {"Accept": "text/event-stream"}


def start():
    return Server()


def picture(body):
    return Image.open(io.BytesIO(body))


def test_three_ways_in_give_the_same_png(s):
    body = photos.png()
    raw = s.ask("POST", "/v1/reconstruct?width=16&height=12", body, PNG)
    assert raw.status == 200 and raw.type == "image/png" and raw.headers["Vary"] == "Accept"
    assert picture(raw.body).size == (16, 12)
    form = s.ask("POST", "/v1/reconstruct", *multipart(("image", body, "image/png"), ("width", "16"), ("height", "12")))
    mixed = s.ask("POST", "/v1/reconstruct?width=16", *multipart(("height", "12"), ("image", body)))
    url = s.ask("POST", "/v1/reconstruct",
                json.dumps({"image": data_url(body), "width": 16, "height": 12}), JSON)
    bare = s.ask("POST", "/v1/reconstruct",
                 json.dumps({"image": base64.b64encode(body).decode(), "width": 16, "height": 12}), JSON)
    assert raw.body == form.body == mixed.body == url.body == bare.body


def test_whole_picture_is_64x64_and_close_to_the_original(s):
    body = photos.jpeg()
    reply = s.ask("POST", "/v1/reconstruct?compare=true", body, {"Content-Type": "image/jpeg"})
    assert picture(reply.body).size == (64, 64)
    assert 0 < float(reply.headers["X-Lammd-Mae-Levels"]) < 20.7  # the 8x8 thumbnail's, on photos


def test_kinds_of_pictures(s):
    scene = photos.scene(40, 30)
    kinds = {"grey": photos.encode(scene.convert("L")), "palette": photos.encode(scene.quantize(7)),
             "transparent palette": photos.palette_with_transparency(), "interlaced": photos.interlaced(),
             "alpha": photos.encode(scene.convert("RGBA")), "bits": photos.encode(scene.convert("1")),
             "16 bit": photos.png_of(9, 5, depth=16, colour=0), "16 bit rgb": photos.png_of(9, 5, depth=16),
             "1x1": photos.png_of(1, 1), "1x65535 is too tall": None,
             "grey jpeg": photos.encode(scene.convert("L"), "JPEG"),
             "cmyk jpeg": photos.encode(scene.convert("CMYK"), "JPEG"),
             "progressive": photos.encode(scene, "JPEG", progressive=True)}
    for name, body in kinds.items():
        if body:
            kind = {"Content-Type": "image/png" if body[0] == 0x89 else "image/jpeg"}
            reply = s.ask("POST", "/v1/reconstruct?width=4&height=4", body, kind)
            assert reply.status == 200, f"{name}: {reply.status} {reply.body}"


def test_json_form(s):
    body = photos.png(1)
    reply = s.ask("POST", "/v1/reconstruct?width=8&height=8&estimate=median&uncertainty=true&compare=true",
                  body, {**PNG, **ACCEPT_JSON})
    got = reply.json()
    assert got["estimate"] == "median" and got["usage"]["pixels"] == 64
    png = s.ask("POST", "/v1/reconstruct?width=8&height=8&estimate=median", body, PNG)
    assert base64.b64decode(got["image"].split(",")[1]) == png.body
    assert picture(base64.b64decode(got["uncertainty"].split(",")[1])).size == (8, 8)
    assert abs(got["compare"]["re_percent"] - got["compare"]["mae_levels"] * 300 / 255) < 0.01


def test_estimates_differ_and_are_stable(s):
    body = photos.png(2)
    answers = {}
    for estimate in ("mode", "median", "mean"):
        path = f"/v1/reconstruct?width=16&height=16&estimate={estimate}"
        answers[estimate] = s.ask("POST", path, body, PNG).body
        assert s.ask("POST", path, body, PNG).body == answers[estimate]
    assert s.ask("POST", "/v1/reconstruct?width=16&height=16", body, PNG).body == answers["mode"]
    assert len(set(answers.values())) > 1


def test_region_and_size_pick_places(s):
    body = photos.png(3)
    whole = picture(s.ask("POST", "/v1/reconstruct", body, PNG).body)
    part = picture(s.ask("POST", "/v1/reconstruct?region=8,16,20,10", body, PNG).body)
    assert part.size == (20, 10)
    assert part.tobytes() == whole.crop((8, 16, 28, 26)).tobytes()
    few = picture(s.ask("POST", "/v1/reconstruct?width=4&height=2", body, PNG).body)
    for x in range(4):
        for y in range(2):
            assert few.getpixel((x, y)) == whole.getpixel((8 + 16 * x, 16 + 32 * y))


def test_stream_paints_coarse_to_fine_and_equals_the_png(s):
    body = photos.png(4)
    reply = s.ask("POST", "/v1/reconstruct?width=32&height=32&compare=true", body, {**PNG, **ACCEPT_STREAM})
    assert reply.type == "text/event-stream" and reply.headers["Cache-Control"] == "no-store"
    got = events(reply.body)
    names = [name for name, _ in got]
    assert names[0] == "start" and names[-1] == "done" and set(names[1:-1]) == {"pixels"}
    for name, data in got:
        contract.validate(data, contract.schema({"start": "StreamStart", "pixels": "StreamPixels", "done": "StreamDone"}[name]))
    fields = got[0][1]["fields"]
    n = len(fields)
    order, canvas = [], Image.new("RGB", (32, 32))
    for _, data in got[1:-1]:
        for i in range(0, len(data["values"]), n):
            pixel = dict(zip(fields, data["values"][i:i + n]))
            order.append((pixel["x"], pixel["y"]))
            canvas.putpixel(order[-1], (pixel["r"], pixel["g"], pixel["b"]))
    assert len(order) == len(set(order)) == 1024 == got[0][1]["pixels"]
    rank = [max(s for s in (1, 2, 4, 8, 16) if x % s == 0 and y % s == 0) for x, y in order]
    # Answers of one pass may come in any order, rounds as a whole don't.
    assert sum(rank[:32]) / 32 > 4 * sum(rank[-512:]) / 512
    assert set(order[:4]) == {(0, 0), (16, 0), (0, 16), (16, 16)}
    png = s.ask("POST", "/v1/reconstruct?width=32&height=32", body, PNG)
    assert picture(png.body).tobytes() == canvas.tobytes()


def test_pixels(s):
    body = photos.png(5)
    points = [[0, 0], [63, 63], [31, 40], [0, 0]]
    got = s.ask("POST", "/v1/pixels", json.dumps({"image": data_url(body), "points": points}), JSON).json()
    assert [[p["x"], p["y"]] for p in got] == points and got[0] == got[3]
    whole = picture(s.ask("POST", "/v1/reconstruct", body, PNG).body)
    for p in got:
        assert tuple(p["rgb"]) == whole.getpixel((p["x"], p["y"]))
    form = s.ask("POST", "/v1/pixels", *multipart(("image", body), ("points", json.dumps(points))))
    assert form.json() == got
    raw = s.ask("POST", "/v1/pixels?points=[[0,0],[63,63],[31,40],[0,0]]", body, PNG)
    assert raw.json() == got


def test_stored_pictures(s):
    body = photos.png(6)
    put = s.ask("PUT", "/v1/images", body, PNG)
    assert put.status == 201
    stored = put.json()["id"]
    assert put.headers["Location"] == f"/v1/images/{stored}"
    again = s.ask("PUT", "/v1/images", *multipart(("image", body)))
    assert again.status == 201 and again.json() == put.json()  # nobody learns that it was there
    by_id = s.ask("POST", "/v1/reconstruct", json.dumps({"image": {"id": stored}, "width": 8, "height": 8}), JSON)
    assert by_id.body == s.ask("POST", "/v1/reconstruct?width=8&height=8", body, PNG).body
    assert s.ask("DELETE", f"/v1/images/{stored}").status == 204
    assert s.ask("DELETE", f"/v1/images/{stored}").code == "image_not_found"
    gone = s.ask("POST", "/v1/pixels", json.dumps({"image": {"id": stored}, "points": [[0, 0]]}), JSON)
    assert (gone.status, gone.code) == (404, "image_not_found")


def test_meta(s):
    assert s.ask("GET", "/livez").json() == {"status": "alive"}
    ready = s.ask("GET", "/readyz").json()
    model = s.ask("GET", "/v1/models").json()["data"][0]
    assert ready["status"] == "ready" and re.fullmatch("fp_[0-9a-f]{12}", ready["fingerprint"]), ready
    assert (model["id"], model["grid"]) == ("lamm-mini", 64)
    assert s.ask("GET", "/openapi.yaml").body == open(lamm.ROOT + "/openapi.yaml", "rb").read()


def test_page_is_whole_and_cached(s):
    page = s.ask("GET", "/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for file in ("app.js", "paint.js", "style.css", "icon.svg"):
        assert f'"ui/{file}'.encode() in page.body or file == "paint.js"
        reply = s.ask("GET", f"/ui/{file}")
        assert reply.status == 200
        again = s.ask("GET", f"/ui/{file}", headers={"If-None-Match": reply.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
    for path in ("/", "/openapi.yaml"):
        tag = s.ask("GET", path).headers["ETag"]
        assert s.ask("GET", path, headers={"If-None-Match": tag}).status == 304
    assert s.ask("GET", "/ui/nothing.js").code == "not_found"


def test_head(s):
    for path in ("/livez", "/", "/openapi.yaml"):
        get, head = s.ask("GET", path), s.ask("HEAD", path)
        assert head.body == b"" and head.headers["Content-Length"] == get.headers["Content-Length"]


def test_request_ids(s):
    assert s.ask("GET", "/livez", headers={"X-Request-Id": "a.B-c_9"}).headers["X-Request-Id"] == "a.B-c_9"
    for bad in ("", "a b", "a" * 65, "<x>"):
        assert s.ask("GET", "/livez", headers={"X-Request-Id": bad}).headers["X-Request-Id"] != bad
    reply = s.ask("GET", "/nope", headers={"X-Request-Id": "mine"})
    assert reply.json()["instance"] == "mine"


def test_metrics_add_up(s):
    def done():
        return s.metric('lammd_http_requests_total{method="POST",route="/v1/reconstruct",code="200"}')
    before, pixels = done(), s.metric("lammd_pixels_total")
    s.ask("POST", "/v1/reconstruct?width=4&height=4", photos.png(7), PNG)
    assert done() == before + 1 and s.metric("lammd_pixels_total") == pixels + 16
    assert s.metric("lammd_step_allocations_total") == 0


def test_keep_alive(s):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON)
    for i in range(5):
        connection.request("POST", "/v1/reconstruct?width=2&height=2", photos.png(i), PNG)
        assert connection.getresponse().read()[:4] == b"\x89PNG"
        connection.request("GET", "/nope")
        assert connection.getresponse().read()
    connection.close()
