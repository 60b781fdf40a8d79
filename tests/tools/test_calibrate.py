"""test_calibrate.py - tools/calibrate.py, asked by a lammd that states twice what it is off by.

Run by run.py.
"""
import contextlib
import hashlib
import io
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools")]
import calibrate

BINS = ((10, 1.0, 0.5), (30, 3.0, 1.5))


def run(tmp, bins, *words):
    """calibrate.main about tmp/model, of a lammd that reports these bins; what it printed."""
    report = {"mode": {"calibration": {"bins": [dict(zip(("n", "stated", "found"), b)) for b in bins]}}}
    with open(f"{tmp}/lammd", "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\necho \"$@\" > {tmp}/asked\ncat <<'END'\n{json.dumps(report)}\nEND\n")
    os.chmod(f"{tmp}/lammd", 0o755)
    said, argv = io.StringIO(), sys.argv
    sys.argv = ["calibrate.py", f"{tmp}/model", "photos", "--lammd", f"{tmp}/lammd", *words]
    try:
        with contextlib.redirect_stdout(said):
            calibrate.main()
    finally:
        sys.argv = argv
    return said.getvalue()


def model(tmp):
    os.makedirs(f"{tmp}/model")
    with open(f"{tmp}/model/config.json", "w", encoding="utf-8") as f:
        json.dump({"model_type": "pae_lamm", "pixel_grid": 64}, f)
    with open(f"{tmp}/model/SHA256SUMS", "w", encoding="utf-8") as f:
        f.write("0" * 64 + "  config.json\n" + "1" * 64 + "  model.safetensors\n")


def config(tmp):
    with open(f"{tmp}/model/config.json", "rb") as f:
        data = f.read()
    return json.loads(data), hashlib.sha256(data).hexdigest()


def test_calibrate_halves_what_is_stated(tmp):
    """The scale, what else the config says, the sums; and a second time from there."""
    model(tmp)
    said = run(tmp, BINS, "--limit", "3")
    got, digest = config(tmp)
    assert got == {"model_type": "pae_lamm", "pixel_grid": 64, "colour_error_scale": 0.5}, got
    with open(f"{tmp}/model/SHA256SUMS", encoding="utf-8") as f:
        assert f.read() == f"{digest}  config.json\n" + "1" * 64 + "  model.safetensors\n"
    with open(f"{tmp}/asked", encoding="utf-8") as f:
        assert f.read().split() == ["eval", "pvp", "photos", "--model", f"{tmp}/model", "--limit", "3", "--json", "-"]
    assert "40 answers stated 2.500 levels and were off by 1.250" in said, said
    run(tmp, [(1, 1.0, 0.8)])
    assert config(tmp)[0]["colour_error_scale"] == 0.4


def test_calibrate_refuses_what_says_nothing(tmp):
    model(tmp)
    before = config(tmp)
    try:
        run(tmp, [(4, 1.0, 0.0)])
    except SystemExit as e:
        assert "no scale" in str(e)
    else:
        raise AssertionError("a scale of 0 was taken")
    assert config(tmp) == before
