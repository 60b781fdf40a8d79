"""Every form in which originals come, and both in which a model is written."""
import base64
import hashlib
import io
import json
import math
import os
import subprocess

import checkpoints as ck
from lab import ALPHA, PROGRAM, RANK, SIZES, TINY, refused, run
from lamm import JSON, Server, Skip


def sha(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def weights(folder):
    return ck.read(os.path.join(folder, "model.safetensors"))


def check_weights(folder, want):
    got = weights(folder)
    assert sorted(got) == sorted(want)
    for name, t in got.items():
        assert t == want[name], name


def config(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)


def pixels(folder, *options):
    """Four pixels of a picture, through HTTP."""
    from PIL import Image
    png = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(png, "PNG")
    body = json.dumps({"image": base64.b64encode(png.getvalue()).decode(), "points": [[0, 0], [3, 9], [15, 2], [7, 7]]})
    with Server(*options, model=folder) as s:
        r = s.ask("POST", "/v1/pixels", body, JSON)
        assert r.status == 200, r.body
        return r.json()


def test_shards_tower_and_overlay(o, tmp):
    """LLaMA's shards, the tower in the old form, a checkpoint with an optimizer."""
    r = run(o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp("m"), *SIZES)
    check_weights(tmp("m"), o.merged())
    assert r.stdout.strip() == sha(tmp("m", "model.safetensors")), r.stdout
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp("m"), check=True)
    c, want = config(tmp("m")), dict(o.config, pixel_grid=16)
    del want["torch_dtype"]
    assert c == want, c
    assert "4 matrices" in r.stderr
    with open(tmp("m", "README.md")) as f:
        assert f"rank {RANK} and alpha {ALPHA}" in f.read()
    answers = pixels(tmp("m"))
    assert len(answers) == 4 and all(0 <= v <= 255 for p in answers for v in p["rgb"])


def test_positions_as_transformers_5_writes_them(o, tmp):
    """Theta is in an object there, which counts before the older key."""
    with open(o.path("llama", "config.json")) as f:
        c = json.load(f)
    new = {k: v for k, v in c.items() if k not in ("rope_theta", "rope_scaling")}
    for i, more in enumerate(({}, {"rope_theta": 10000.0})):
        with open(o.path("llama", "config.json"), "w") as f:
            json.dump({**new, **more, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}, f)
        run(o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp(f"m{i}"), *SIZES)
        assert config(tmp(f"m{i}"))["text_config"]["rope_theta"] == 500000.0


def test_answers_are_those_of_the_model(o, tmp):
    """The same weights by another way, with the tiny model's own config: the same answers."""
    run(o.path("llama-bin"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp("m"), "--any-tokenizer",
        "--config", os.path.join(TINY, "config.json"))
    os.mkdir(tmp("own"))
    ck.write(tmp("own", "model.safetensors"), o.merged())
    for name in ("config.json", "tokenizer.model"):
        os.link(tmp("m", name), tmp("own", name))
    assert pixels(tmp("m")) == pixels(tmp("own"))
    assert pixels(tmp("m")) != pixels(TINY), "the LoRA changes nothing"


def test_bin_gives_what_safetensors_give(o, tmp):
    a = run(o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp("a"), *SIZES)
    b = run(o.path("llama-bin"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp("b"), *SIZES)
    assert a.stdout == b.stdout


def test_one_file_and_other_spellings(o, tmp):
    """A whole model.safetensors, EVA-CLIP's own names, PEFT's newer ones, `module.` in front."""
    ck.write(o.path("llama", "model.safetensors"), o.llama)
    os.unlink(o.path("llama", "model.safetensors.index.json"))
    ck.torch_zip(o.path("eva-clip.pt"), {"state_dict": {
        **{"visual." + n: t for n, t in o.tower.items()}, "text.token_embedding.weight": o.tower["cls_token"],
        "logit_scale": ck.Tensor.of(1.0), "visual.head.weight": o.tower["cls_token"]}})
    new = o.checkpoint("lora_{}.default.weight")
    new["model"] = {"module." + n: t for n, t in new["model"].items()}
    ck.torch_legacy(o.path("new.pth"), new, protocol=4)
    run(o.path("llama"), o.path("eva-clip.pt"), o.path("new.pth"), "-o", tmp("m"), *SIZES)
    check_weights(tmp("m"), o.merged())


def test_the_last_original_wins(o, tmp):
    """Stage 2 brings tower and ln_vision, stage 3 connector and LoRA alone."""
    first = {"model": {**{"visual_encoder." + n: t for n, t in o.tower.items()}, **o.vision,
                       **{n: ck.Tensor.of(t.floats() * 0) for n, t in o.lora_tensors().items()}}}
    ck.torch_zip(o.path("stage2.pth"), first)
    old = {n: ck.Tensor.of(t.floats() + 1, "F16") for n, t in o.tower.items()}
    old["norm.weight"] = old["cls_token"]
    ck.torch_zip(o.path("eva16.pth"), old)
    third = o.checkpoint()
    third["model"] = {n: t for n, t in third["model"].items() if not n.startswith("ln_vision")}
    ck.torch_zip(o.path("stage3.pth"), third)
    r = run(o.path("llama"), o.path("eva16.pth"), o.path("stage2.pth"), o.path("stage3.pth"), "-o", tmp("m"),
            "--any-tokenizer", "--config", os.path.join(TINY, "config.json"))
    check_weights(tmp("m"), o.merged())
    assert "the tower is the published one" not in r.stderr
    r = run(o.path("llama"), o.path("eva16.pth"), o.path("stage3.pth"), "-o", tmp("n"), "--any-tokenizer",
            "--config", os.path.join(TINY, "config.json"))
    assert "the tower is the published one" in r.stderr, r.stderr
    assert "ln_vision.weight" not in weights(tmp("n"))
    pixels(tmp("n"))


def test_sizes_that_no_tensor_tells(o, tmp):
    """Pictures are as large as a checkpoint's config says, else what the tower's positions are for;
    heads are asked for, but of the published tower, of whose 40 blocks 39 are used."""
    words = [o.path("llama"), o.path("eva.pth"), "--any-tokenizer", "--pixel-grid", "16", "--no-copy"]
    r = refused("the tower is 32 wide, so it isn't EVA ViT-g, which has 16 heads at 1408: say how many it has by --vision-heads",
                *words, o.path("stage.pth"), "-o", tmp("m"))
    assert not os.path.exists(tmp("m.part"))
    words += ["--vision-heads", "4"]
    said = o.checkpoint()
    said["config"]["model"]["image_size"] = 64
    ck.torch_zip(o.path("said.pth"), said)
    for i, (last, more, side) in enumerate([("stage.pth", [], 32), ("said.pth", [], 64), ("said.pth", ["--image-size", "48"], 48)]):
        r = run(*words, o.path(last), *more, "-o", tmp(f"m{i}"))
        vision = config(tmp(f"m{i}"))["vision_config"]
        assert (vision["image_size"], vision["num_attention_heads"]) == (side, 4), vision
        assert f"4 heads, patches of 4, pictures of {side}; decoder" in r.stderr, r.stderr
    run(*words, o.path("said.pth"), "--config", os.path.join(TINY, "config.json"), "-o", tmp("c"))
    assert config(tmp("c"))["vision_config"]["num_attention_heads"] == 4
    ck.torch_zip(o.path("giant.pth"), eva_giant())
    with open(o.path("llama", "config.json"), "r+") as f:
        longer = json.load(f) | {"max_position_embeddings": 4096}
        f.seek(0)
        json.dump(longer, f)
    o.vision["llama_proj.weight"] = zeros(64, 4 * 1408)
    ck.torch_zip(o.path("giant-stage.pth"), {"model": {n: t for n, t in o.checkpoint()["model"].items() if "ln_vision" not in n}})
    r = run(o.path("llama"), o.path("giant.pth"), o.path("giant-stage.pth"), "--any-tokenizer", "--no-copy", "-o", tmp("g"))
    assert "tower: 39 blocks of 1408, 16 heads, patches of 14, pictures of 448" in r.stderr, r.stderr
    assert "doesn't say its LoRA's alpha: 16" in r.stderr and r.stderr.count("alpha: 16") == 1, r.stderr


def zeros(*shape):
    return ck.Tensor("F16", shape, bytes(2 * math.prod(shape)))


def eva_giant():
    """The published tower with a narrow MLP. Blocks share their storages: the file is small."""
    e, f = 1408, 8
    v, block = zeros(e), {"attn.qkv.weight": zeros(3 * e, e), "attn.proj.weight": zeros(e, e), "mlp.fc1.weight": zeros(f, e),
                          "mlp.fc1.bias": zeros(f), "mlp.fc2.weight": zeros(e, f)}
    block.update({n: v for n in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.q_bias", "attn.v_bias",
                                 "attn.proj.bias", "mlp.fc2.bias")})
    return {"cls_token": zeros(1, 1, e), "pos_embed": zeros(1, 257, e), "patch_embed.proj.weight": zeros(e, 3, 14, 14),
            "patch_embed.proj.bias": v, **{f"blocks.{i}.{n}": t for i in range(40) for n, t in block.items()}}


def test_pointing(o, tmp):
    """The same digest and answers without a copy; what moved or was changed is refused."""
    copied = run(o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp("m"), *SIZES)
    for llama in ("llama", "llama-bin"):
        folder = tmp("p-" + llama)
        pointing = run(o.path(llama), o.path("eva.pth"), o.path("stage.pth"), "-o", folder, "--no-copy", *SIZES)
        assert pointing.stdout == copied.stdout
        assert not os.path.exists(os.path.join(folder, "model.safetensors"))
        changed = ck.read(os.path.join(folder, "changed.safetensors"))
        assert sorted(changed) == sorted(n + ".weight" for n in o.lora)
        assert pixels(folder) == pixels(tmp("m"))
    assert pixels(tmp("p-llama"), "--weights-as", "int8") == pixels(tmp("m"), "--weights-as", "int8")
    with open(o.path("eva.pth"), "r+b") as f:
        f.seek(-1000, 2)
        byte = f.read(1)
        f.seek(-1000, 2)
        f.write(bytes([byte[0] ^ 1]))
    assert "an original isn't what was imported" in serve_fails(tmp("p-llama"))
    with open(o.path("eva.pth"), "ab") as f:
        f.write(b"x")
    assert "isn't what was imported: it had" in serve_fails(tmp("p-llama"))
    os.unlink(o.path("eva.pth"))
    assert "eva.pth: No such file" in serve_fails(tmp("p-llama"))


def test_pointing_far_away(o, tmp):
    """A path that the system takes is one that the server takes, too."""
    deep = tmp(*["d" * 190] * 12)
    os.makedirs(deep)
    os.rename(o.path("eva.pth"), os.path.join(deep, "eva.pth"))
    words = [o.path("llama"), os.path.join(deep, "eva.pth"), o.path("stage.pth"), *SIZES]
    run(*words, "-o", tmp("m"))
    run(*words, "-o", tmp("p"), "--no-copy")
    assert pixels(tmp("p")) == pixels(tmp("m"))


def serve_fails(folder):
    r = subprocess.run([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--model", folder], capture_output=True,
                       text=True, timeout=300, check=False)
    assert r.returncode == 1, r
    return r.stderr


def test_training_begins_with_a_folder_that_points(o, tmp):
    """What only reads weights reads them there, too: a plan counts the same bytes."""
    for name, more in (("m", []), ("p", ["--no-copy"])):
        run(o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), "-o", tmp(name), *SIZES, *more)
    recipe = tmp("r.ini")
    with open(recipe, "w") as f:
        f.write(f"[run]\njudge_every = 0\n[stage a]\nsteps = 1\nlora_r = 2\n[data d]\npath = {tmp('none')}\n")
    plans = [subprocess.run([PROGRAM, "train", recipe, "--model", tmp(n), "--plan"], capture_output=True, text=True,
                            check=False) for n in "mp"]
    assert plans[0].stdout == plans[1].stdout and plans[0].returncode == plans[1].returncode, plans


def test_keeping_the_adapter(o, tmp):
    """The base's weights stay as they were, and the LoRA stands beside them."""
    ck.torch_zip(o.path("new.pth"), o.checkpoint("lora_{}.default.weight"))
    r = run(o.path("llama"), o.path("eva.pth"), o.path("new.pth"), "-o", tmp("m"), "--keep-adapter", tmp("a"), *SIZES)
    check_weights(tmp("m"), o.tiny)
    lora = ck.read(tmp("a", "adapter_model.safetensors"))
    assert lora == o.lora_tensors(prefix="base_model.model.")
    with open(tmp("a", "adapter_config.json")) as f:
        c = json.load(f)
    assert (c["r"], c["lora_alpha"], sorted(c["target_modules"])) == (RANK, ALPHA, ["q_proj", "v_proj"]), c
    with open(tmp("a", "lammd.json")) as f:
        assert json.load(f)["base"] == r.stdout.strip()
    os.makedirs(tmp("state", "adapters"))
    os.rename(tmp("a"), tmp("state", "adapters", "kept"))
    merged = run(o.path("llama"), o.path("eva.pth"), o.path("new.pth"), "-o", tmp("w"), *SIZES)
    assert merged.stdout != r.stdout
    with Server("--state", tmp("state"), "--admin-socket", tmp("s"), model=tmp("m")):
        subprocess.run([PROGRAM, "adapters", "load", "kept", "--admin-socket", tmp("s")], check=True,
                       stdout=subprocess.DEVNULL)


def test_what_real_torch_writes(o, tmp):
    """The same, saved by torch itself."""
    script = """
import collections, sys, numpy, torch
sys.path[:0] = sys.argv[1:3]
import lab, checkpoints as ck
kinds = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
def real(x):
    if isinstance(x, ck.Tensor):
        raw = numpy.frombuffer(bytearray(x.raw), numpy.uint8)
        return torch.from_numpy(raw).view(kinds[x.dtype]).reshape(x.shape)
    return collections.OrderedDict((k, real(v)) for k, v in x.items()) if isinstance(x, dict) else x
o = lab.Originals(sys.argv[3])
torch.save(real(o.checkpoint()), sys.argv[4] + "/stage.pth")
torch.save(real(o.tower), sys.argv[4] + "/eva.pth", _use_new_zipfile_serialization=False)
"""
    here = os.path.dirname(os.path.abspath(__file__))
    os.mkdir(tmp("t"))
    r = subprocess.run(["/usr/bin/python3", "-B", "-c", script, here, os.path.dirname(here), tmp("o2"), tmp("t")],
                       capture_output=True, text=True, check=False)
    if "No module named 'torch'" in r.stderr:
        raise Skip("no torch: apt-get install python3-torch")
    assert r.returncode == 0, r.stderr
    run(o.path("llama"), tmp("t", "eva.pth"), tmp("t", "stage.pth"), "-o", tmp("m"), *SIZES)
    check_weights(tmp("m"), o.merged())
