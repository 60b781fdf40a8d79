"""test_sheet.py - tools/data/sheet.py: which pictures it takes, what it asks and draws.

Run by run.py. Packs are drawn by code, and a stub answers for lammd.
"""
import contextlib
import http.server
import io
import json
import os
import sys
import threading

import numpy as np
from PIL import Image
from test_cutouts import garment, jpeg, write

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import sheet


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def packs(tmp):
    def clothing(name, aside):
        return {"file": name, "name": "t-shirt", "source": name}, jpeg(garment, aside)
    rows = dict(a=clothing("a.jpg", True), b=clothing("b.jpg", False))
    write(f"{tmp}/clothing", {r["file"]: data for r, data in rows.values()}, [r for r, _ in rows.values()])
    write(f"{tmp}/grocery", {"m.jpg": jpeg(garment, True)}, [{"file": "m.jpg", "name": "milk", "source": "m"}])
    ids = np.zeros((150, 140, 3), np.uint8)
    ids[40:100, 20:90] = (7, 1, 0)
    segments = [{"id": 263, "name": "dog", "thing": 1, "bbox": [20, 40, 70, 60], "iscrowd": 0}]
    row = {"mask": "c.png", "segments": segments, "flickr_url": "http://x/1/77_ab_z.jpg"}
    write(f"{tmp}/coco", {"c.jpg": jpeg(garment, True), "s.jpg": jpeg(garment, True), "c.png": png(ids)},
          [{**row, "file": "c.jpg", "license": 4}, {**row, "file": "s.jpg", "license": 5}])


class Stub(http.server.BaseHTTPRequestHandler):
    asked = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        body = json.dumps({"box": {"x1": 20, "y1": 40, "x2": 90, "y2": 70}, "answer": "a dog"}).encode()
        if self.path.startswith("/v1/segment"):
            body = png(np.full((64, 64), 255, np.uint8))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_sheet(tmp):
    packs(tmp)
    Stub.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    argv, said = sys.argv, io.StringIO()
    sys.argv = ["sheet.py", "--looks", tmp, "--server", f"http://127.0.0.1:{server.server_port}", "--out", f"{tmp}/sheet.png"]
    try:
        with contextlib.redirect_stdout(said):
            sheet.main()
    finally:
        sys.argv = argv
        server.shutdown()
        server.server_close()
    # What is learnt from, and what isn't CC BY, is left out; of a shop no box is asked.
    assert len([p for p in Stub.asked if p.startswith("/v1/refer")]) == 2, Stub.asked
    assert sum("the+dog" in p for p in Stub.asked) == 2 and sum("the+t-shirt" in p for p in Stub.asked) == 2
    assert len([p for p in Stub.asked if p.startswith("/v1/vqa")]) == 3
    assert len(said.getvalue().splitlines()) == 3 and "photograph 77 of flickr" in said.getvalue()
    with Image.open(f"{tmp}/sheet.png") as im:
        first = np.asarray(im.convert("RGB"))[sheet.GAP:sheet.GAP + sheet.SIDE, sheet.GAP:sheet.GAP + sheet.SIDE]
    assert (first == sheet.YELLOW).all(2).sum() > 200, "no box is drawn"


def test_sheet_overlap(_):
    assert sheet.overlap((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
    assert sheet.overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
