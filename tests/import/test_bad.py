"""What can be wrong with originals: refused by name, and nothing is left in the model's place."""
import json
import os
import pickle
import struct
import zipfile

import checkpoints as ck
from lab import SIZES, refused, run


def all_of(o, *more, **other):
    """The words of a good import, with some originals exchanged."""
    names = {"llama": o.path("llama"), "eva": o.path("eva.pth"), "stage": o.path("stage.pth"), **other}
    return [n for n in names.values() if n] + [*SIZES, *more]


def test_shards_and_indexes(o, tmp):
    shard = o.path("llama", "model-00002-of-00002.safetensors")
    index = o.path("llama", "model.safetensors.index.json")
    with open(shard, "rb") as f:
        good = f.read()
    with open(index) as f:
        where = json.load(f)
    os.unlink(shard)
    refused("model-00002-of-00002.safetensors: the index names it: missing", *all_of(o), "-o", tmp("m"))
    with open(shard, "w") as f:
        f.write("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused("git lfs pull", *all_of(o), "-o", tmp("m"))
    with open(shard, "w") as f:
        f.write("<!DOCTYPE html><html>sign in</html>")
    refused("a web page", *all_of(o), "-o", tmp("m"))
    with open(shard, "wb") as f:
        f.write(good[:-1])
    refused("truncated?", *all_of(o), "-o", tmp("m"))
    with open(shard, "wb") as f:
        f.write(good)
    for name, text in {"../x.safetensors": "a shard called", ".x": "a shard called", "\x1b[2Jx": "a shard called ?[2Jx", 7: "is no name of a file"}.items():
        with open(index, "w") as f:
            json.dump({"weight_map": {**where["weight_map"], "lm_head.weight": name}}, f)
        refused(text, *all_of(o), "-o", tmp("m"))
    with open(index, "w") as f:
        json.dump({"weight_map": {**where["weight_map"], "model.more": "model-00001-of-00002.safetensors"}}, f)
    refused("has no tensor model.more", *all_of(o), "-o", tmp("m"))
    with open(index, "w") as f:
        f.write("{}")
    refused("weight_map: missing", *all_of(o), "-o", tmp("m"))
    assert not os.path.exists(tmp("m")) and not os.path.exists(tmp("m.part"))


def test_what_is_missing_and_left_over(o, tmp):
    r = refused("3 tensors of the model are in none", *all_of(o, stage=save(o, "x.pth", lambda m: [
        m.pop(k) for k in list(m) if k.startswith("ln_vision.bias")]), eva=save_tower(o, [
            "blocks.1.attn.q_bias", "blocks.0.mlp.fc2.weight", "patch_embed.proj.bias"])), "-o", tmp("m"))
    assert "missing: visual_encoder.blocks.1.attn.q_bias" in r.stderr
    for gone in (["blocks.1.norm1.weight"], ["blocks.0.norm1.weight"]):  # no smaller tower
        r = refused("1 tensors of the model are in none", *all_of(o, eva=save_tower(o, gone)), "-o", tmp("m"))
        assert f"missing: visual_encoder.{gone[0]}" in r.stderr
    refused("no original has visual_encoder.cls_token: add the tower", *all_of(o, eva=None), "-o", tmp("m"))
    refused("no original has llama_proj.weight: add a checkpoint", *all_of(o, stage=None), "-o", tmp("m"))
    refused("no original is LLaMA-2's folder", *all_of(o, llama=None), "-o", tmp("m"))
    odd = save(o, "odd.pth", lambda m: m.update({"Qformer.bert.weight": o.tower["cls_token"]}))
    r = refused("1 tensors have no place in the model, such as Qformer.bert.weight", *all_of(o, stage=odd), "-o", tmp("m"))
    assert "left over: Qformer.bert.weight of " in r.stderr
    run(*all_of(o, "--drop-unknown", stage=odd), "-o", tmp("m"))


def save(o, name, change, **how):
    """A checkpoint whose `model` was changed."""
    whole = o.checkpoint()
    change(whole["model"])
    ck.torch_zip(o.path(name), whole, **how)
    return o.path(name)


def save_tower(o, without):
    ck.torch_zip(o.path("less.pth"), {n: t for n, t in o.tower.items() if n not in without})
    return o.path("less.pth")


def test_shapes_and_types(o, tmp):
    lora = "llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_{}.weight"
    cases = {
        "has shape [64, 4], needs [64, 32]": lambda m: m.update({"visual_encoder.blocks.0.attn.proj.weight": o.lora_tensors()[lora.format("B")]}),
        "its LoRA has one side alone": lambda m: m.pop(lora.format("B")),
        "a LoRA of rank 64": lambda m: m.update({lora.format("A"): m[lora.format("B")]}),
        "has shape [4, 64], needs [64, 4]": lambda m: m.update({lora.format("B"): m[lora.format("A")]}),
        "I64 is not F32, BF16 or F16": lambda m: m.update({"llama_proj.bias": ck.Tensor("I64", (64,), bytes(512))}),
        "doesn't have 2 dimensions": lambda m: m.update({"llama_proj.weight": m["llama_proj.bias"]}),
        "a weight that is infinite": lambda m: m.update({"llama_proj.bias": ck.Tensor.of([float("inf")] * 64)}),
    }
    for i, (text, change) in enumerate(cases.items()):
        if "[64, 32]" in text:
            continue
        refused(text, *all_of(o, stage=save(o, "x.pth", change)), "-o", tmp(f"m{i}"))
    wrong = {**o.tower, "blocks.0.attn.proj.weight": ck.Tensor.of([[0.0] * 4] * 64)}
    ck.torch_zip(o.path("wrong.pth"), wrong)
    refused("tensor blocks.0.attn.proj.weight: has shape [64, 4], needs [32, 32]", *all_of(o, eva=o.path("wrong.pth")), "-o", tmp("m"))


def test_two_that_are_one(o, tmp):
    """Which of two counts is said by the order of the originals alone, never by that in a file."""
    def second(m):
        m.update({n.replace("lora_A.", "lora_A.other."): t for n, t in m.items() if "lora_A" in n})
    lora = save(o, "lora.pth", lambda m: [m.pop(k) for k in list(m) if "lora_A" not in k])
    one = "are one and the same in the model"
    refused(one, *all_of(o, stage=save(o, "x.pth", second)), "-o", tmp("m"))
    refused(one, *all_of(o, stage=save(o, "x.pth", lambda m: m.update({"module.llama_proj.bias": m["llama_proj.bias"]}))), "-o", tmp("m"))
    refused("the sides of its LoRA are of two originals", *all_of(o, lora), "-o", tmp("m"))


def test_adapters_with_one_alpha(o, tmp):
    """An adapter has one alpha: LoRAs of two files that differ in it can only be added."""
    whole = o.checkpoint()
    whole["model"] = {n: t for n, t in o.lora_tensors().items() if ".layers.1." in n}
    whole["config"]["model"]["lora_alpha"] = 9
    ck.torch_zip(o.path("nine.pth"), whole)
    refused("a LoRA of alpha 9 beside one of 6", *all_of(o, o.path("nine.pth")), "-o", tmp("m"), "--keep-adapter", tmp("a"))
    run(*all_of(o, o.path("nine.pth")), "-o", tmp("m"))


def test_adapters_of_numbers(o, tmp):
    name = next(iter(o.lora_tensors()))
    shape = o.lora_tensors()[name].shape
    bad = save(o, "x.pth", lambda m: m.update({name: ck.Tensor.of([[float("nan")] * shape[1]] * shape[0])}))
    refused("infinite or not a number", *all_of(o, stage=bad), "-o", tmp("m"), "--keep-adapter", tmp("a"))
    assert not os.path.exists(tmp("a")) and not os.path.exists(tmp("m"))


def test_weights_that_are_no_numbers(o, tmp):
    """As they lie in an original, and made by a LoRA; copied, and pointed to."""
    for name in ["llama_proj.weight", [n for n in o.lora_tensors() if n.endswith("lora_B.weight")][-1]]:
        shape = o.checkpoint()["model"][name].shape
        rows = [[0.0] * shape[1] for _ in range(shape[0])]
        rows[-1][-1] = float("inf")
        bad = save(o, "x.pth", lambda m, name=name, rows=rows: m.update({name: ck.Tensor.of(rows)}))
        for how in [], ["--no-copy"]:
            refused("infinite or not a number", *all_of(o, stage=bad), "-o", tmp("m"), *how)
            assert not os.path.exists(tmp("m"))


def test_places_of_patches(o, tmp):
    for n in (0, 1, 7):
        ck.torch_zip(o.path("x.pth"), {**o.tower, "pos_embed": ck.Tensor("F32", (1, n, 32), bytes(128 * n))})
        refused(f"pos_embed: has {n} places, needs a square and 1", *all_of(o, eva=o.path("x.pth")), "-o", tmp("m"))
        refused(f"pos_embed: has shape [1, {n}, 32], needs [1, a square and 1, 32]",
                *all_of(o, "--image-size", "32", eva=o.path("x.pth")), "-o", tmp("m"))


def test_configs_and_tokenizers(o, tmp):
    with open(o.path("llama", "config.json")) as f:
        good = json.load(f)
    for change, text in [({"model_type": "mistral"}, "model_type: mistral"), ({"hidden_act": "gelu"}, "hidden_act: gelu"),
                         ({"rope_scaling": {"type": "linear"}}, "rope_scaling"), ({"attention_bias": True}, "attention_bias"),
                         ({"num_key_value_heads": 1}, "num_key_value_heads"), ({"vocab_size": "x"}, "vocab_size"),
                         ({"head_dim": 7}, "head_dim"), ({"quantization_config": {"bits": 4}}, "take the weights of 16 bits"), ({"vocab_size": 99}, "pieces"),
                         ({"vocab_size": 9999}, "pieces"),
                         ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "rope_type: llama3"),
                         ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
                         ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"), ({"rope_parameters": 7}, "rope_parameters"),
                         ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta")]:
        with open(o.path("llama", "config.json"), "w") as f:
            json.dump({**good, **change}, f)
        refused(text, *all_of(o), "-o", tmp("m"))
    with open(o.path("llama", "config.json"), "w") as f:
        json.dump(good, f)
    words = [w for w in all_of(o) if w != "--any-tokenizer"]
    refused("it isn't LLaMA-2's: it spells \"[INST] <Img>\" in another way", *words, "-o", tmp("m"))
    with open(o.path("no.model"), "wb") as f:
        f.write(b"\x0a\x7f")
    refused("no.model: the tokenizer:", *all_of(o, "--tokenizer", o.path("no.model")), "-o", tmp("m"))
    for name in ("tokenizer.model", "config.json", "model.safetensors.index.json"):
        os.rename(o.path("llama", name), o.path("kept"))
        with open(o.path("llama", name), "w") as f:
            f.write("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        r = refused("git lfs pull", *all_of(o), "-o", tmp("m"))
        assert name in r.stderr, r.stderr
        os.replace(o.path("kept"), o.path("llama", name))
    os.mkdir(o.path("meta"))
    with open(o.path("meta", "params.json"), "w") as f:
        f.write('{"dim": 4096}')
    refused("Meta's own form (params.json): take Hugging Face's", *all_of(o, llama=o.path("meta")), "-o", tmp("m"))
    os.unlink(o.path("llama", "tokenizer.model"))
    refused("no original has a tokenizer.model", *all_of(o), "-o", tmp("m"))


class Evil:
    def __reduce__(self):
        return os.system, ("touch EVIL",)


def test_code_in_pickles(o, tmp):
    """Nothing runs. What nobody needs is named; what somebody needs is an error."""
    whole = o.checkpoint()
    whole["config"]["hook"] = Evil()
    ck.torch_zip(o.path("evil.pth"), whole)
    r = run(*all_of(o, stage=o.path("evil.pth")), "-o", tmp("m"), cwd=o.folder)
    assert "names posix.system, which is not torch's; nothing was called" in r.stderr, r.stderr
    whole["model"]["llama_proj.bias"] = Evil()
    ck.torch_zip(o.path("evil.pth"), whole)
    refused("tensor llama_proj.bias: it is made by code, which is not called", *all_of(o, stage=o.path("evil.pth")),
            "-o", tmp("n"), cwd=o.folder)
    ck.torch_zip(o.path("evil.pth"), Evil())
    refused("no dictionary of tensors", *all_of(o, stage=o.path("evil.pth")), "-o", tmp("n"), cwd=o.folder)
    assert not os.path.exists(o.path("EVIL"))


def test_storages_with_long_names(o, tmp):
    """Sorting them costs number times length: names are short. The limit is of processor time."""
    name = b"X" + struct.pack("<I", 32 << 20) + bytes(32 << 20) + b"q\x01"
    first = b"(X\x07\0\0\0storageq\x02ctorch\nFloatStorage\nq\x03h\x01X\x03\0\0\0cpuq\x04K\x01tQ0"
    with zipfile.ZipFile(o.path("x.pth"), "w") as z:
        z.writestr("a/data.pkl", b"\x80\x02" + name + b"0" + first + b"(h\x02h\x03h\x01h\x04K\x01tQ0" * 20000 + b"}.")
    refused("no tensors in it", *all_of(o, stage=o.path("x.pth")), "-o", tmp("m"),
            under=["sh", "-c", "ulimit -t 20; exec \"$@\"", "sh"])


def test_other_files(o, tmp):
    with open(o.path("stage.pth"), "rb") as f:
        good = f.read()
    for data, text in [(b"", "it is empty"), (good[:5000], "truncated?"), (pickle.dumps({"a": 1}, 2), "not one of torch.save"),
                       (b"version https://git-lfs.github.com/spec/v1\noid", ""), (b"GGUF" + bytes(100), "")]:
        with open(o.path("bad.pth"), "wb") as f:
            f.write(data)
        refused("bad.pth", *all_of(o, stage=o.path("bad.pth")), "-o", tmp("m"))
        refused(text, *all_of(o, stage=o.path("bad.pth")), "-o", tmp("m"))
    refused("protocol 5; only 2 to 4", *all_of(o, stage=save(o, "five.pth", lambda m: None, protocol=5)), "-o", tmp("m"))
    flipped = bytearray(good)
    at = good.index(o.vision["llama_proj.weight"].raw)
    flipped[at + 100] ^= 16
    with open(o.path("bad.pth"), "wb") as f:
        f.write(flipped)
    refused("is damaged: its CRC-32", *all_of(o, stage=o.path("bad.pth")), "-o", tmp("m"))
    refused("No such file", *all_of(o, stage=o.path("none.pth")), "-o", tmp("m"))


def test_options(o, tmp):
    for words, text in [(["--rms-eps", "x"], "--rms-eps takes a number"), (["--lora-alpha", "-1"], "--lora-alpha takes"),
                        (["--inst-spaces", "3"], "--inst-spaces takes"), (["--coord-order", "zz"], "--coord-order takes"),
                        (["--rms-eps", "0.5"], "rms_norm_eps"), (["--image-size", "30"], "patch_size")]:
        refused(text, *all_of(o), "-o", tmp("m"), *words)
    refused("usage:", *all_of(o))
    refused("m: the folder around it isn't there", *all_of(o), "-o", tmp("none", "m"))
    refused("none.jpg: No such file", *all_of(o), "-o", tmp("m"), "--probe", tmp("none.jpg"))
    assert not os.path.exists(tmp("m"))
    os.mkdir(tmp("there"))
    refused("is there already", *all_of(o), "-o", tmp("there"))
    without = save(o, "plain.pth", lambda m: [m.pop(k) for k in list(m) if ".lora_" in k])
    refused("no original has a LoRA", *all_of(o, stage=without), "-o", tmp("m"), "--keep-adapter", tmp("a"))
    run(*all_of(o), "-o", tmp("m"), "--rms-eps", "1e-6", "--coord-order", "xy", "--inst-spaces", "2", "--bos-count", "2")
    with open(tmp("m", "config.json")) as f:
        c = json.load(f)
    assert (c["coord_order"], c["inst_spaces"], c["bos_count"], c["text_config"]["rms_norm_eps"]) == ("xy", 2, 2, 1e-6)
