"""test_weights.py - tools/weights.py, tools/data/ablation.py which calls it, tools/tokenizer.py.

Run by run.py. What is said about the numbers is held against the file.
"""
import contextlib
import io
import json
import os
import shutil
import struct
import sys
import unittest

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(ROOT, "tools/data")]
import ablation
import tokenizer
import weights

SHAPE = os.path.join(ROOT, "models/shapes/ablation")


def quiet(call, *words):
    """A tool's main with these words; what it printed."""
    said, argv = io.StringIO(), sys.argv
    sys.argv = ["tool", *words]
    try:
        with contextlib.redirect_stdout(said):
            call()
    finally:
        sys.argv = argv
    return said.getvalue()


def tensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        base = f.read()
    head.pop("__metadata__")
    return {k: np.frombuffer(base[slice(*v["data_offsets"])], "<f4").reshape(v["shape"])
            for k, v in head.items()}


def made(tmp, name, *words):
    quiet(weights.main, "new", SHAPE, "--out", f"{tmp}/{name}", *words)
    with open(f"{tmp}/{name}/model.safetensors", "rb") as f:
        return f.read()


def alike(rows, step):
    """Mean cosine of each row and the one `step` behind it."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((rows[:-step] * rows[step:]).sum(1).mean())


def test_weights_new(tmp):
    """The same seed gives the same bytes. Neighbouring numbers and places are alike, words not."""
    first = made(tmp, "a")
    assert first == made(tmp, "b") != made(tmp, "c", "--seed", "2")
    t = tensors(f"{tmp}/a/model.safetensors")
    with open(f"{SHAPE}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    words = weights.pieces(weights.TOKENIZER)
    assert len(words) == config["text_config"]["vocab_size"] == len(t["model.embed_tokens.weight"])
    families = weights.numbers(words)
    assert {end: len(of) for end, of in families.items()} == {"": 256, ",": 256, "><": 101, ">}": 101}
    assert words[families["><"][7]] == "7><" and words[families[""][200]] == "200"
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        for of in families.values():
            rows = t[name][[of[n] for n in sorted(of)]]
            assert alike(rows, 1) > 0.7 > 0.5 > alike(rows, 20), (name, alike(rows, 1), alike(rows, 20))
        assert abs(alike(t[name][3000:3400], 1)) < 0.05
    side = config["vision_config"]["image_size"] // config["vision_config"]["patch_size"]
    places = t["visual_encoder.pos_embed"][0, 1:]
    assert alike(places, 1) > alike(places, side // 2) and len(places) == side * side
    for name, shape in (("visual_encoder.blocks.2.mlp.fc2.weight", (32, 128)), ("llama_proj.weight", (128, 32)),
                        ("model.layers.3.self_attn.o_proj.weight", (128, 128))):
        assert t[name].shape == shape and 0.3 < t[name].std() * shape[1] ** 0.5 < 1.1, name


def photographs(folder, n):
    """Until there are n of both kinds; -> how many are to be learnt."""
    os.makedirs(folder)
    aside = learn = 0
    while min(aside, learn) < n:
        path = f"{folder}/{aside + learn:05}.jpg"
        rng = np.random.default_rng(aside + learn)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        if ablation.is_set_aside(path):
            aside += 1
        else:
            learn += 1
    return learn


def test_ablation_data(tmp):
    """Nothing of the exam is learnt, and all that isn't of the games is there."""
    learn = sum(photographs(f"{tmp}/packs/{pack}", n) for pack, n in ablation.EXAM.items())
    words = ["--photos", f"{tmp}/packs", "--out", f"{tmp}/data", "--scenes", "2", "--exam-scenes", "1",
             "--no-games"]
    quiet(ablation.main, *words)
    at = f"{tmp}/data"
    assert sorted(os.listdir(at)) == ["exam", "photos", "scenes", "start"]
    assert len(os.listdir(at + "/photos")) == learn and len(os.listdir(at + "/exam/photos")) == 16
    assert not any(ablation.is_set_aside(f"{at}/photos/{p}") for p in os.listdir(at + "/photos"))
    assert all(ablation.is_set_aside(f"{at}/exam/photos/{p}") for p in os.listdir(at + "/exam/photos"))
    assert os.listdir(at + "/scenes") == ["shard-00000.tar"]
    assert {"refs.json", "instances.json", "gqa.json"} <= set(os.listdir(at + "/exam/scenes"))
    assert "model.safetensors" in os.listdir(at + "/start")
    try:
        quiet(ablation.main, "--photos", f"{tmp}/none", "--out", f"{tmp}/x")
    except SystemExit as e:
        assert "too few photographs" in str(e)
    else:
        raise AssertionError("an empty pack is taken")


def shipped_pieces():
    """(piece, score, kind) of lamm-mini's tokenizer."""
    kinds = {1: "NORMAL", 2: "UNKNOWN", 3: "CONTROL", 6: "BYTE"}
    with open(weights.TOKENIZER, "rb") as f:
        for number, value in weights.fields(f.read()):
            if number == 1:
                p = dict(weights.fields(value))
                yield p[1].decode(), struct.unpack("<f", p[2])[0], kinds[p.get(3, 1)]


def test_tokenizer_has_the_shipped_pieces(_):
    """And writes the shipped file to the byte, where SentencePiece is there to write it."""
    assert tokenizer.pieces() == list(shipped_pieces())
    try:
        import sentencepiece.sentencepiece_model_pb2  # noqa: F401 (needs protobuf, too)
    except ImportError as e:
        raise unittest.SkipTest(f"pieces are equal; {e}: pip install sentencepiece protobuf") from e
    with open(weights.TOKENIZER, "rb") as f:
        assert tokenizer.build() == f.read()


def test_mix(tmp):
    """Each weight is so far on the way; both ends are the models; another shape is refused."""
    for name, seed in (("one", "3"), ("two", "4")):
        quiet(weights.main, "new", SHAPE, "--out", f"{tmp}/{name}", "--seed", seed)
    one, two = (weights.load(f"{tmp}/{name}/model.safetensors")[0] for name in ("one", "two"))
    for share, name in (0, "none"), (0.25, "quarter"), (1, "all"):
        quiet(weights.main, "mix", f"{tmp}/one", f"{tmp}/two", "--share", str(share), "--out", f"{tmp}/{name}")
        mixed, f32 = weights.load(f"{tmp}/{name}/model.safetensors")
        assert f32 == set(one)
        for key in one:
            np.testing.assert_allclose(mixed[key], (1 - share) * one[key] + share * two[key], atol=1e-6)
    try:
        quiet(weights.main, "mix", f"{tmp}/one", os.path.join(ROOT, "models/lamm-mini"), "--share", "0.5",
              "--out", f"{tmp}/bad")
    except SystemExit as e:
        assert "one shape" in str(e)
    else:
        raise AssertionError("models of two shapes were mixed")


def test_smooth_head(tmp):
    """The head is F32 and each number of a box can win; all else keeps its bits."""
    base = f"{tmp}/rough"
    shutil.copytree(os.path.join(ROOT, "models/lamm-mini"), base)
    shipped, f32 = weights.load(f"{base}/model.safetensors")
    weights.save(f"{base}/model.safetensors", shipped, f32 - {"lm_head.weight"})
    quiet(weights.main, "smooth", base, "--out", f"{tmp}/smooth")
    before, was_f32 = weights.load(f"{base}/model.safetensors")
    after, is_f32 = weights.load(f"{tmp}/smooth/model.safetensors")
    of = weights.numbers(weights.pieces(f"{base}/tokenizer.model"))
    moved = np.flatnonzero((before["lm_head.weight"] != after["lm_head.weight"]).any(1))
    at = np.pi * (np.arange(weights.BOX_NUMBERS) + 0.5) / weights.BOX_NUMBERS
    basis = np.linalg.qr(np.cos(at[:, None] * np.arange(weights.COSINES)))[0]
    for end in weights.BOX_ENDS:
        tokens = [of[end][n] for n in range(weights.BOX_NUMBERS)]
        rough, smooth = (float(np.abs(m - basis @ (basis.T @ m)).max())
                         for m in (t["lm_head.weight"][tokens] for t in (before, after)))
        assert smooth < 1e-5 < 1e-4 < rough, (smooth, rough)
        moved = np.setdiff1d(moved, list(of[end].values()))
    assert not moved.size, "rows of other tokens moved"
    for name in before:
        assert name == "lm_head.weight" or (before[name] == after[name]).all(), name
    assert is_f32 == was_f32 | {"lm_head.weight"}
