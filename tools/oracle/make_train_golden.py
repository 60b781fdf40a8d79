"""Write the losses and gradients that the C tests hold training against.

    python3 tools/oracle/make_train_golden.py tests/golden

Reads train/talks.txt, a talk a line:
task|weight|pictures|question|answer[|pictures|question|answer]. The pictures are pictures/32.rgb
and the same upside down. Each talk goes through the model alone and whole, in f64, and the gradient
of the summed loss is taken by autograd. Three cases:

full    every weight of the tiny model, next-token loss
lora    low-rank matrices beside all seven of a layer, and the connector; their numbers by rng
aims    as full, with soft numbers, boxes, and attention that is held

train/<case>.safetensors holds, of each parameter, SAMPLES places chosen by rng (all of a small one)
and the norm of all of them, and the sums of losses: `sum.<task>`, `box`, `hold`.
"""
import math
import os
import sys

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F

import lamm
import rng
import stfile

SAMPLES = 96
LORA_R, LORA_ALPHA = 3, 6.0
SOFT = {"pixels": (2.0, 256), "drive": (0.7, 21)}
BOX_L1, BOX_GIOU, BOX_BETA = 1.5, 0.75, 0.01
HOLD, HOLD_LAYER, HOLD_HEADS = 0.3, 1, (0, 2)
TARGETS = [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up", "down")]


class Lora(lamm.Model):
    """The model with W + (alpha / r) B A in place of W; the weights of A and B by rng."""

    def __init__(self, base):
        super().__init__(base.c, base.w, base.dtype)
        self.lora = {}
        for i in range(base.c["text_config"]["num_hidden_layers"]):
            for target in TARGETS:
                name = f"model.layers.{i}.{target}"
                out, k = base.w[name + ".weight"].shape
                for part, shape in (("lora_A", (LORA_R, k)), ("lora_B", (out, LORA_R))):
                    full = f"{name}.{part}.weight"
                    made = torch.from_numpy(rng.weights(full, shape, 0.15)).to(base.dtype)
                    self.lora[full] = made.requires_grad_()

    def merge(self):
        plain = dict(self.w)
        for name in [n for n in self.lora if n.endswith("lora_A.weight")]:
            at = name[:-len(".lora_A.weight")]
            a, b = self.lora[name], self.lora[at + ".lora_B.weight"]
            plain[at + ".weight"] = self.w[at + ".weight"] + LORA_ALPHA / LORA_R * b @ a
        return plain


def read_talks(path):
    with open(path) as f:
        for line in f:
            task, weight, *rest = line.rstrip("\n").split("|")
            turns = [(int(rest[i]), rest[i + 1], rest[i + 2]) for i in range(0, len(rest), 3)]
            yield task, float(weight), turns


def tokens_of(tok, c, turns):
    """ids with ~p for picture p, and where answers lie."""
    bos, eos = c["text_config"]["bos_token_id"], c["text_config"]["eos_token_id"]
    ids, answers, picture = [], [], 0
    for pictures, question, answer in turns:
        ids += [bos]
        for i in range(pictures):
            ids += tok.encode("</Img><Img>" if i else "[INST] <Img>") + [~picture]
            picture += 1
        ids += tok.encode(("</Img>" if pictures else "[INST]") + f" {question} [/INST]")
        said = tok.encode(answer) + [eos]
        answers.append((len(ids), len(said)))
        ids += said
    return ids, answers


def shares(tok, task, token, soft):
    """The distribution that an answer token stands for: token -> share."""
    text = tok.id_to_piece(token)
    deviation, most = soft.get(task, (0, 0))
    if not deviation or not text.isdigit() or int(text) >= most:
        return {token: 1.0}
    bell = {v: math.exp(-((v - int(text)) / deviation) ** 2 / 2) for v in range(most)
            if abs(v - int(text)) <= 4 * deviation}
    return {tok.piece_to_id(str(v)): p / sum(bell.values()) for v, p in bell.items()}


def giou(e, t):
    x1, x2 = torch.minimum(e[0], e[2]), torch.maximum(e[0], e[2])
    y1, y2 = torch.minimum(e[1], e[3]), torch.maximum(e[1], e[3])
    inside = (torch.minimum(x2, t[2]) - torch.maximum(x1, t[0])).clamp(min=0) * (
        torch.minimum(y2, t[3]) - torch.maximum(y1, t[1])).clamp(min=0)
    either = (x2 - x1) * (y2 - y1) + (t[2] - t[0]) * (t[3] - t[1]) - inside
    hull = (torch.maximum(x2, t[2]) - torch.minimum(x1, t[0])) * (
        torch.maximum(y2, t[3]) - torch.minimum(y1, t[1]))
    return inside / either - (hull - either) / hull


def box_loss(tok, logits, ids, at):
    """logits (T, V); the four numbers of the answer."""
    where = [i for i in range(at[0], at[0] + at[1]) if tok.id_to_piece(ids[i]).isdigit()]
    cols = [tok.piece_to_id(str(v)) for v in range(101)]
    scale = torch.arange(101, dtype=torch.float64) / 100
    e = torch.stack([(logits[i - 1, cols].softmax(-1) * scale).sum() for i in where])
    t = torch.tensor([int(tok.id_to_piece(ids[i])) / 100 for i in where], dtype=torch.float64)
    d = (e - t).abs()
    smooth = torch.where(d < BOX_BETA, d * d / (2 * BOX_BETA), d - BOX_BETA / 2).sum()
    return BOX_L1 * smooth + BOX_GIOU * (1 - giou(e, t))


def hold_loss(model, x, row, seen):
    """-sum over heads of the log of the attention of `row` that falls on the rows `seen`; x (T, D)
    is what comes into the layer."""
    t, b = model.c["text_config"], f"model.layers.{HOLD_LAYER}."
    heads = t["num_attention_heads"]
    size = t["hidden_size"] // heads
    h, pos = model.rms(x, b + "input_layernorm.weight"), torch.arange(len(x))
    q, k = (F.linear(h, model.w[f"{b}self_attn.{n}_proj.weight"]).reshape(len(x), heads, size)
            .transpose(0, 1) for n in "qk")
    q, k = model.rotate(q, pos)[:, row], model.rotate(k, pos)[:, :row + 1]
    p = torch.softmax((k @ q[:, :, None])[..., 0] * size**-0.5, -1)
    return -sum(p[h, seen].sum().log() for h in HOLD_HEADS)


def case(model, tok, pictures, talks, aims):
    """Sums of losses by name, as tensors."""
    soft, sums = SOFT if aims else {}, {}
    feats = [model.see(p) for p in pictures]
    table, count = model.w["model.embed_tokens.weight"], len(feats[0])
    for task, weight, turns in talks:
        short, answers = tokens_of(tok, model.c, turns)
        ids, moved = [], []
        for i, token in enumerate(short):
            moved += [(len(ids), n) for at, n in answers if at == i]
            ids += [token] * (count if token < 0 else 1)
        rows, at = [], {}
        for i in ids:
            if i >= 0:
                rows.append(table[i])
            else:
                at[i] = at.get(i, -1) + 1
                rows.append(feats[~i][at[i]])
        taps = {}
        logits = model.decode(torch.stack(rows)[None], taps.__setitem__)[0]
        logp = logits.log_softmax(-1)
        for begin, n in moved:
            for i in range(begin, begin + n):
                for token, share in shares(tok, task, ids[i], soft).items():
                    sums[task] = sums.get(task, 0) - weight * share * logp[i - 1, token]
        if aims and task == "refer":
            sums["box"] = sums.get("box", 0) + weight * box_loss(tok, logits, ids, moved[0])
            seen = [i for i in range(moved[0][0]) if ids[i] < 0][3:9]
            sums["hold"] = sums.get("hold", 0) + weight * HOLD * hold_loss(
                model, taps[f"llama.{HOLD_LAYER - 1}"], moved[0][0] - 1, seen)
    return sums


def record(path, sums, params):
    total = sum(sums.values())
    grads = torch.autograd.grad(total, list(params.values()))
    out = {}
    for name, value in sums.items():
        out[name if name in ("box", "hold") else "sum." + name] = value.detach().float().reshape(1)
    for name, g in zip(params, grads):
        flat, n = g.flatten(), np.arange(SAMPLES, dtype=np.uint64)
        if len(flat) > SAMPLES:
            places = rng.u64(rng.name_seed(name), n) % np.uint64(len(flat))
            out[name + ".norm"] = flat.norm().float().reshape(1)
            flat = flat[torch.from_numpy(places.astype(np.int64))]
        out[name] = flat.float()
    stfile.write(path, out)
    print(path, {k: v.item() for k, v in sums.items()}, len(params))


def main(root):
    folder = os.path.join(root, "tiny")
    tok = spm.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
    talks = list(read_talks(os.path.join(root, "train", "talks.txt")))
    raw = np.fromfile(os.path.join(root, "pictures", "32.rgb"), dtype=np.uint8)
    up = torch.from_numpy(raw.reshape(32, 32, 3))
    pictures = [up, up.flip(0)]
    for name in ("full", "aims"):
        model = lamm.Model.load(folder)
        for w in model.w.values():
            w.requires_grad_()
        sums = case(model, tok, pictures, talks, name == "aims")
        record(os.path.join(root, "train", name + ".safetensors"), sums, model.w)
    model = Lora(lamm.Model.load(folder))
    params = dict(model.lora)
    for name in ("llama_proj.weight", "llama_proj.bias"):
        params[name] = model.w[name].requires_grad_()
    model.w = model.merge()
    record(os.path.join(root, "train", "lora.safetensors"),
           case(model, tok, pictures, talks, False), params)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
