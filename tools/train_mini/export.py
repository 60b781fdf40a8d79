"""Write a checkpoint of the trainer as a model folder that lammd loads.

    python3 tools/train_mini/export.py RUN/last.pt RUN/config.json TOKENIZER models/lamm-mini [TEMPERATURE]

The folder gets config.json, model.safetensors and tokenizer.model. Stored are the averaged weights:
matrices in bf16; norms, biases, the class token and positions in f32. TEMPERATURE (calibrate.py
finds it) divides all logits, by way of the last norm's weight.
"""
import json
import os
import shutil
import struct
import sys

import torch


def tensors(s, c):
    """(name, tensor, keep_f32) in the order they are stored; names of docs/model.md section 9."""
    p, E = c["patch"], c["E"]
    v = "visual_encoder."
    yield v + "cls_token", s["cls"].view(1, 1, E), True
    yield v + "pos_embed", s["pos"].unsqueeze(0), True
    yield v + "patch_embed.proj.weight", s["patch.weight"].view(E, 3, p, p), False
    yield v + "patch_embed.proj.bias", s["patch.bias"], True
    for i in range(c["vlayers"]):
        a, b = f"blocks.{i}.", f"{v}blocks.{i}."
        for n in ("norm1", "norm2"):
            yield b + n + ".weight", s[a + n + ".weight"], True
            yield b + n + ".bias", s[a + n + ".bias"], True
        yield b + "attn.q_bias", s[a + "q_bias"], True
        yield b + "attn.v_bias", s[a + "v_bias"], True
        yield b + "attn.qkv.weight", s[a + "qkv.weight"], False
        for n, o in (("attn.proj", "proj"), ("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")):
            yield b + n + ".weight", s[a + o + ".weight"], False
            yield b + n + ".bias", s[a + o + ".bias"], True
    yield "ln_vision.weight", s["ln_vision.weight"], True
    yield "ln_vision.bias", s["ln_vision.bias"], True
    yield "llama_proj.weight", s["proj.weight"], False
    yield "llama_proj.bias", s["proj.bias"], True
    yield "model.embed_tokens.weight", s["embed.weight"], False
    for i in range(c["layers"]):
        a, b = f"layers.{i}.", f"model.layers.{i}."
        yield b + "input_layernorm.weight", s[a + "norm1.weight"], True
        yield b + "post_attention_layernorm.weight", s[a + "norm2.weight"], True
        for n, w in zip("qkv", s[a + "qkv.weight"].chunk(3, 0)):
            yield b + f"self_attn.{n}_proj.weight", w, False
        yield b + "self_attn.o_proj.weight", s[a + "o.weight"], False
        for n, w in zip(("gate", "up"), s[a + "gate_up.weight"].chunk(2, 0)):
            yield b + f"mlp.{n}_proj.weight", w, False
        yield b + "mlp.down_proj.weight", s[a + "down.weight"], False
    yield "model.norm.weight", s["norm.weight"], True
    yield "lm_head.weight", s["head.weight"], False


def write(path, items):
    """A safetensors file: length of the header, header, data; renamed when complete."""
    head, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, t, keep in items:
        t = t.detach().float().contiguous()
        if keep:
            b, dt = t.numpy().tobytes(), "F32"
        else:
            b, dt = t.bfloat16().view(torch.int16).numpy().tobytes(), "BF16"
        head[name] = {"dtype": dt, "shape": list(t.shape), "data_offsets": [at, at + len(b)]}
        at += len(b)
        blobs.append(b)
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h)
        for b in blobs:
            f.write(b)
    os.replace(path + ".tmp", path)


def config(c):
    """The model's attributes in the words of docs/model.md section 9."""
    return {
        "model_type": "pae_lamm", "torch_dtype": "bfloat16",
        "vision_config": {
            "image_size": c["image"], "patch_size": c["patch"], "hidden_size": c["E"],
            "num_attention_heads": c["vheads"], "num_hidden_layers": c["vlayers"],
            "intermediate_size": c["vmlp"], "layer_norm_eps": 1e-6,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711]},
        "connector_config": {"concat": c.get("concat", 4), "ln_vision_eps": 1e-5},
        "text_config": {
            "hidden_size": c["D"], "intermediate_size": c["ffn"], "num_hidden_layers": c["layers"],
            "num_attention_heads": c["heads"], "num_key_value_heads": c["heads"],
            "vocab_size": c["vocab"],
            "rms_norm_eps": 1e-5, "rope_theta": c["theta"], "max_position_embeddings": 2048,
            "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False},
        "pixel_grid": 64, "coord_order": "yx", "inst_spaces": 1, "bos_count": 1}


def main(ck, cfg, tok, out, temperature="1"):
    s = torch.load(ck, weights_only=True)
    s["ema"]["norm.weight"] = s["ema"]["norm.weight"] / float(temperature)
    with open(cfg, encoding="utf-8") as f:
        c = json.load(f)
    os.makedirs(out, exist_ok=True)
    write(out + "/model.safetensors", tensors(s["ema"], c))
    with open(out + "/config.json", "w") as f:
        json.dump(config(c), f, indent=2)
        f.write("\n")
    if os.path.abspath(tok) != os.path.abspath(out + "/tokenizer.model"):
        shutil.copyfile(tok, out + "/tokenizer.model")
    print("step", s["step"], "->", out, os.path.getsize(out + "/model.safetensors"), "bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
