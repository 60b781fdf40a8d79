"""How errors grow from layer to layer at full depth, against the original implementations.

    LAMMD=./lammd TESTS=build/release/tests python3 tools/oracle/depth.py tower|decoder FOLDER

The tower: 39 blocks, imported and run as a whole on a picture of 224, against timm's block in
float64, whose weights are made when it is their turn (8 GB of memory). The decoder: 32 layers one
after the other, each imported as a model of one layer that gets the 16 rows that the one before it
left, against transformers' layer in float64 (4 GB of memory). lammd passes f32 from layer to layer,
so this is what a model of 32 layers does.

Beside lammd's errors stand those of the originals' own precision: fp16 as MiniGPT-v2 runs it, the
tower under autocast with an f32 residual stream, the decoder all in fp16.
Prints a line for each layer: the largest difference over the largest value, and the norm of the
difference over the norm, of lammd and of fp16. Needs what reference.py needs.
"""
import os
import subprocess
import sys

import numpy as np
import timm
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import originals
import reference

BLOCKS, LAYERS = 39, 32
SIDE, SMALL, ROWS = 224, 112, 16  # a picture of SMALL is ROWS rows


def say(*words):
    print(*words, flush=True)


def errors(got, want):
    d, want = np.abs(got - want), np.abs(want)
    return d.max() / want.max(), np.linalg.norm(d) / np.linalg.norm(want)


def line(i, ours, half, want):
    want = want.numpy()
    a, b = errors(ours.astype(np.float64), want), errors(half.double().numpy(), want)
    say(f"{i:2} {a[0]:.2e} {a[1]:.2e} {b[0]:.2e} {b[1]:.2e}")


def made(table, prefix):
    """The numbers of what begins with the prefix, in fp16 as published, by the names behind it."""
    return {n.removeprefix(prefix): originals.numbers(n, *row, "F16") for n, row in table.items()
            if n.startswith(prefix)}


def fill(module, numbers):
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.from_numpy(numbers[name]))


def bring(folder, *more):
    words = [os.environ["LAMMD"], "import", *(os.path.join(folder, n) for n in ("llama", "eva.pth", "learnt.pth")),
             "-o", os.path.join(folder, "model"), "--any-tokenizer", "--no-copy", *more]
    subprocess.run(["rm", "-rf", os.path.join(folder, "model")], check=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ours(folder, picture, *ids):
    out = os.path.join(folder, "taps")
    subprocess.run([os.path.join(os.environ["TESTS"], "model_taps"), os.path.join(folder, "model"), "-", picture, out,
                    *ids], check=True)
    return {n: t.floats() for n, t in originals.ck.read(out).items()}


# ---- the tower ----

def one_block():
    model = timm.create_model("eva_giant_patch14_224.clip_ft_in1k", pretrained=False, depth=1,
                              img_size=SIDE, num_classes=0).eval()
    model.blocks[0].attn.fused_attn = False
    return model


def embedded(model, table):
    state = {n: torch.from_numpy(originals.numbers(n, *table[n], "F16")) for n in
             ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")}
    state["pos_embed"] = reference.positions(state["pos_embed"], SIDE // originals.PATCH)
    model.load_state_dict(state, strict=False)
    model.double()
    rgb = torch.from_numpy(originals.picture(SIDE)).double() / 255
    x = ((rgb - reference.MEAN) / reference.STD).permute(2, 0, 1)[None]
    x = model.patch_embed(x)
    return torch.cat([model.cls_token.expand(1, -1, -1), x], dim=1) + model.pos_embed


def halve(block):
    """As convert_weights_to_fp16 of MiniGPT-v2: matrices and their biases, nothing else."""
    block.float()
    for m in block.modules():
        if isinstance(m, torch.nn.Linear):
            m.half()
    return block


@torch.no_grad()
def tower(folder):
    os.makedirs(folder, exist_ok=True)
    originals.write_llama(os.path.join(folder, "llama"), 1)
    originals.write_tower(os.path.join(folder, "eva.pth"), BLOCKS)
    originals.write_learnt(os.path.join(folder, "learnt.pth"), 1)
    bring(folder, "--image-size", str(SIDE))
    picture = os.path.join(folder, "picture")
    originals.picture(SIDE).tofile(picture)
    got = ours(folder, picture)
    table, model = originals.tower(BLOCKS), one_block()
    x = embedded(model, table)
    block, half = model.blocks[0].double(), one_block().blocks[0]
    y = x.float()
    line(-1, got["vit.embed"], y[0], x[0])
    for i in range(BLOCKS):
        numbers = made(table, f"blocks.{i}.")
        fill(block, numbers)
        fill(half.float(), numbers)
        x = block(x)
        with torch.autocast("cpu", dtype=torch.float16):
            y = halve(half)(y)
        line(i, got[f"vit.{i}"], y[0].float(), x[0])


# ---- the decoder ----

def one_layer(dtype):
    c = originals.config(1)
    c.pop("architectures"), c.pop("torch_dtype"), c.pop("rope_scaling")
    return LlamaForCausalLM(LlamaConfig(attn_implementation="eager", **c)).eval().to(dtype).model


def through(model, x):
    """What the one layer makes of rows (1, N, D)."""
    out = []
    hook = model.layers[0].register_forward_hook(lambda m, a, y: out.append(y[0] if isinstance(y, tuple) else y))
    model(inputs_embeds=x, use_cache=False)
    hook.remove()
    return out[0].reshape(x.shape)


@torch.no_grad()
def decoder(folder):
    os.makedirs(folder, exist_ok=True)
    originals.write_tower(os.path.join(folder, "eva.pth"), 1)
    originals.write_learnt(os.path.join(folder, "learnt.pth"), 0)
    rows = originals.numbers("rows", (ROWS, originals.DEEP), 1.0, 0.0, "F32")
    path, wide, half = os.path.join(folder, "x.rows"), one_layer(torch.float64), one_layer(torch.float16)
    x = torch.from_numpy(rows)[None].double()
    y = x.half()
    for i in range(LAYERS):
        numbers = made(originals.layer(i), f"model.layers.{i}.")
        renamed = {"model.layers.0." + n: t for n, t in numbers.items()}
        originals.write_llama(os.path.join(folder, "llama"), 1, renamed)
        bring(folder, "--image-size", str(SMALL))
        rows.tofile(path)
        rows = ours(folder, path, "-1")["llama.0"]
        for model in (wide, half):
            fill(model.layers[0], numbers)
        x, y = through(wide, x), through(half, y)
        line(i, rows, y[0], x[0])


if __name__ == "__main__":
    {"tower": tower, "decoder": decoder}[sys.argv[1]](sys.argv[2])
