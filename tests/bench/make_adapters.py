#!/usr/bin/env python3
"""make_adapters.py - adapters with made numbers, to measure what they cost.

    python3 tests/bench/make_adapters.py OUT [--model models/lamm-mini] [--rank 8] [-n 4]

Writes OUT/0, OUT/1, ...: LoRAs on all matrices of the decoder, in peft's form. They change the answers
little, and mean nothing. Needs no other packages.
"""
import argparse
import array
import json
import os
import random
import struct

PLACES = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn",
          "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}


def shape(place, text):
    width, ffn = text["hidden_size"], text["intermediate_size"]
    return (ffn if place in ("gate_proj", "up_proj") else width, ffn if place == "down_proj" else width)


def tensors(text, rank):
    for layer in range(text["num_hidden_layers"]):
        for place, room in PLACES.items():
            n, k = shape(place, text)
            name = f"base_model.model.model.layers.{layer}.{room}.{place}"
            yield f"{name}.lora_A.weight", (rank, k), k ** -0.5
            yield f"{name}.lora_B.weight", (n, rank), 0.01


def write(path, text, rank, seed):
    draw, header, data = random.Random(seed), {}, array.array("f")
    for name, (n, k), size in tensors(text, rank):
        begin = 4 * len(data)
        data.extend(draw.gauss(0, size) for _ in range(n * k))
        header[name] = {"dtype": "F32", "shape": [n, k], "data_offsets": [begin, 4 * len(data)]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + data.tobytes())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--model", default="models/lamm-mini")
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("-n", type=int, default=4)
    a = p.parse_args()
    with open(os.path.join(a.model, "config.json"), encoding="utf-8") as f:
        text = json.load(f)["text_config"]
    for i in range(a.n):
        folder = os.path.join(a.out, str(i))
        os.makedirs(folder, exist_ok=True)
        write(os.path.join(folder, "adapter_model.safetensors"), text, a.rank, i)
        with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as f:
            json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": a.rank, "lora_alpha": a.rank,
                       "lora_dropout": 0.0, "bias": "none", "target_modules": list(PLACES),
                       "base_model_name_or_path": os.path.basename(a.model.rstrip("/"))}, f)


if __name__ == "__main__":
    main()
