"""Write the losses and gradients that the C tests hold training against.

    python3 tools/oracle/make_train_golden.py tests/golden

Reads train/talks.txt, a talk a line:
task|weight|pictures|question|answer[|pictures|question|answer]. The pictures are pictures/32.rgb
and the same upside down. Each talk goes through the model alone and whole, in f64, and the gradient
of the summed loss is taken by autograd. Five cases:

full    every weight of the tiny model, next-token loss
lora    low-rank matrices beside all seven of a layer, and the connector; their numbers by rng
aims    as full, with soft numbers, boxes, and attention that is held
dense   as full, with dense questions about the things of train/things.txt: text|box|x1 y1 x2 y2 in
        shares of the sides, or text|disc|x y radius in places of the grid. Heads' numbers by rng
teach   as full, with a teacher: the same model, its decoder's weights by rng under another name

train/<case>.safetensors holds, of each parameter, SAMPLES places chosen by rng (all of a small one)
and the norm of all of them, and the sums of losses: `sum.<task>`, `box`, `hold`, `dense.<what>`.
"""
import math
import os
import sys

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from PIL import Image

import lamm
import rng
import stfile

SAMPLES = 96
LORA_R, LORA_ALPHA = 3, 6.0
SOFT = {"pixels": (2.0, 256), "drive": (0.7, 21)}
BOX_L1, BOX_GIOU, BOX_BETA = 1.5, 0.75, 0.01
HOLD, HOLD_LAYER, HOLD_HEADS = 0.3, 1, (0, 2)
DENSE, KEY, STEPS = {"inside": 2.0, "box": 4.0, "colour": 2.0, "feature": 3.0}, 32, 32
FEATURES = 48
TEACH, TEACH_TOP, TEACHER_SALT = {"pixels": 0.75, "refer": 1.0, "vqa": 0.25}, 5, "teacher."
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


# ---- dense questions ----

def heads(config, cells):
    d = config["text_config"]["hidden_size"]
    shapes = {"key": cells * KEY, "query": KEY, "box": 4 * STEPS, "colour": 3 * cells,
              "feature": FEATURES}
    out = {}
    for name, n in shapes.items():
        parts = [("weight", (n, d))] + [("bias", (n,))] * (name != "query")
        for part, shape in parts:
            full = f"dense.{name}.{part}"
            out[full] = torch.from_numpy(rng.weights(full, shape, 0.15)).to(torch.float64).requires_grad_()
    return out


def by_token(grid, cell):
    """(H, W, ...) -> (I, cells, ...)"""
    h, w = cell
    rows, cols = grid.shape[0] // h, grid.shape[1] // w
    x = grid.reshape(rows, h, cols, w, *grid.shape[2:]).swapaxes(1, 2)
    return x.reshape(rows * cols, h * w, *grid.shape[2:])


def read_things(path, grid):
    """(name, what is inside (grid, grid), box)"""
    y, x = np.mgrid[:grid, :grid]
    with open(path) as f:
        for line in f:
            text, kind, numbers = line.rstrip("\n").split("|")
            a = [float(v) for v in numbers.split()]
            if kind == "disc":
                inside = ((x - a[0]) ** 2 + (y - a[1]) ** 2 <= a[2] ** 2) & (a[2] >= 0)
                at = np.argwhere(inside)
                box = [0.0] * 4 if not len(at) else [*at.min(0)[::-1] / grid, *(at.max(0)[::-1] + 1) / grid]
            else:
                box, mx, my = a, (x + 0.5) / grid, (y + 0.5) / grid
                inside = (mx >= a[0]) & (mx < a[2]) & (my >= a[1]) & (my < a[3])
                if not inside.any():
                    inside[int((a[1] + a[3]) / 2 * grid), int((a[0] + a[2]) / 2 * grid)] = True
            yield text, inside, box


def shown(things, cell):
    """Of each token the thing that it shows: -1 for none."""
    cells = cell[0] * cell[1]
    counts = np.stack([by_token(i, cell).sum(1) for _, i, _ in things])
    out = []
    for token in range(counts.shape[1]):
        fit = [(-n, (b[2] - b[0]) * (b[3] - b[1]), i) for i, (n, (_, _, b)) in enumerate(zip(counts[:, token], things))
               if n and 8 * n >= cells]
        out.append(min(fit)[2] if fit else -1)
    return out


def plain_norm(x, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def dense_losses(model, tok, w, rgb, feats, things, weight):
    grid, eps = model.c["pixel_grid"], model.c["text_config"]["rms_norm_eps"]
    side = model.c["vision_config"]["image_size"] // model.c["vision_config"]["patch_size"]
    cell = grid // side, grid // (side // model.c["connector_config"]["concat"])
    h, cells = plain_norm(feats, eps), cell[0] * cell[1]

    def head(name):
        return F.linear(h, w[f"dense.{name}.weight"], w[f"dense.{name}.bias"])

    names = list(dict.fromkeys(t for t, _, _ in things))
    table = model.w["model.embed_tokens.weight"]
    words = torch.stack([table[tok.encode(n)].sum(0) for n in names])
    queries = F.linear(plain_norm(words, eps), w["dense.query.weight"])
    logits = head("key").reshape(-1, KEY) @ queries.T
    regions = np.stack([np.any([i for t, i, _ in things if t == n], 0) for n in names], -1)
    want = torch.from_numpy(by_token(regions, cell).reshape(-1, len(names))).to(logits)
    inside = F.binary_cross_entropy_with_logits(logits, want)

    seen = shown(things, cell)
    at = [i for i, thing in enumerate(seen) if thing >= 0]
    steps = torch.arange(STEPS, dtype=torch.float64) / (STEPS - 1)
    said = (head("box").reshape(-1, 4, STEPS).softmax(-1) * steps).sum(-1)[at]
    box = 0
    for e, i in zip(said, at):
        t = torch.tensor(things[seen[i]][2], dtype=torch.float64)
        d = (e - t).abs()
        box = box + torch.where(d < BOX_BETA, d * d / (2 * BOX_BETA), d - BOX_BETA / 2).sum() + 1 - giou(e, t)

    small = np.asarray(Image.fromarray(rgb.numpy()).resize((grid, grid), Image.BICUBIC)).astype(np.float64) / 255
    truth = torch.from_numpy(by_token(small, cell).reshape(len(h), -1))
    colour = (head("colour") + 0.5 - truth).pow(2).mean()
    sights = torch.arange(len(h) * FEATURES).reshape(len(h), FEATURES) * 37 % 101 / 50 - 1
    feature = (head("feature") - sights.to(h)).pow(2).mean()
    parts = {"inside": inside, "box": box / len(at), "colour": colour, "feature": feature}
    return {"dense." + k: weight * DENSE[k] * v for k, v in parts.items()}


# ---- a teacher ----

def teacher_of(base):
    w = dict(base.w)
    for name, t in base.w.items():
        if name.startswith("model.layers.") and t.ndim == 2:
            made = rng.weights(name, tuple(t.shape), 1 / math.sqrt(t.shape[1]), salt=TEACHER_SALT)
            w[name] = torch.from_numpy(made).to(torch.bfloat16).to(base.dtype)
    return lamm.Model(base.c, w, base.dtype)


def taught(own, logits, share):
    """A distribution token -> share, and the teacher's part of it."""
    top = logits.topk(TEACH_TOP)
    out = {t: (1 - share) * s for t, s in own.items()}
    for token, s in zip(top.indices.tolist(), top.values.softmax(-1).tolist()):
        out[token] = out.get(token, 0) + share * s
    return out


def case(model, tok, pictures, talks, aims, teacher=None):
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
        told = teacher.decode(torch.stack(rows)[None])[0].detach() if teacher else None
        logp = logits.log_softmax(-1)
        for begin, n in moved:
            for i in range(begin, begin + n):
                own = shares(tok, task, ids[i], soft)
                if teacher and task in TEACH:
                    own = taught(own, told[i - 1], TEACH[task])
                for token, share in own.items():
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
        out[name if name in ("box", "hold") or "." in name else "sum." + name] = value.detach().float().reshape(1)
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
    model = lamm.Model.load(folder)
    params = {**model.w, **heads(model.c, 16)}
    for w in model.w.values():
        w.requires_grad_()
    sums = case(model, tok, pictures, talks, False)
    weight = sum(w * sum(len(tok.encode(answer)) + 1 for _, _, answer in turns) for _, w, turns in talks)
    things = list(read_things(os.path.join(root, "train", "things.txt"), model.c["pixel_grid"]))
    sums.update(dense_losses(model, tok, params, up, model.see(up), things, weight))
    record(os.path.join(root, "train", "dense.safetensors"), sums, params)
    model = lamm.Model.load(folder)
    teacher = teacher_of(model)
    for w in model.w.values():
        w.requires_grad_()
    record(os.path.join(root, "train", "teach.safetensors"),
           case(model, tok, pictures, talks, False, teacher), model.w)
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
