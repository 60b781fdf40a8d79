"""PAE-LaMM in PyTorch as one would train it: the questions of a picture packed behind one stem.

    model = Packed.load(folder, torch.float32, device)     every weight a tensor of model.w
    loss, weight = model.loss(sample)                       differentiable; docs/training.md

The mathematics are those of lamm.py; what differs is the order of work. All talks of a sample begin
with the same tokens, the stem, which goes through the decoder once. What follows it is padded to
one length, and looks back at the stem's keys and at its own.

A block of the tower, a layer of the decoder, and what is behind the last one are functions of
tensors and sizes alone, and get their weights by short names. So compile() compiles three small
functions, not a graph of the whole model with every token in it.
"""
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from PIL import Image

import lamm

IMAGE = -1
TARGETS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
           "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}


class Talker:
    """Talks as tokens, with the answers' places (docs/model.md sections 4.1 and 4.5)."""

    def __init__(self, folder, config):
        self.c = config
        self.tok = spm.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))

    def ids(self, turns):
        """[(token or IMAGE)], and of each whether it is learnt."""
        c, ids, learnt = self.c, [], []

        def put(tokens, is_answer):
            ids.extend(tokens)
            learnt.extend([is_answer] * len(tokens))

        for turn in turns:
            put([c["text_config"]["bos_token_id"]] * c.get("bos_count", 1), False)
            for i in range(turn["pictures"]):
                put(self.tok.encode("</Img><Img>" if i else "[INST] <Img>") + [IMAGE], False)
            begin = "</Img>" if turn["pictures"] else "[INST]"
            put(self.tok.encode(f"{begin} {turn['question']}{' ' * c.get('inst_spaces', 1)}[/INST]"), False)
            put(self.tok.encode(turn["answer"]) + [c["text_config"]["eos_token_id"]], True)
        return ids, learnt


class Sample:
    """A sample as a packed pass: `stem` and `tails` of tokens, and where the targets are.

    at[i] is a row (of the stem, then of the padded tails one after the other), what[i] the token
    that follows it, weight[i] what it counts.
    """

    def __init__(self, talks, image_tokens):
        runs = []
        for ids, learnt, weight in talks:
            wide, flags, picture = [], [], 0
            for i, is_learnt in zip(ids, learnt):
                n = image_tokens if i == IMAGE else 1
                wide += [~(picture * image_tokens + j) for j in range(n)] if i == IMAGE else [i]
                flags += [is_learnt] * n
                picture += i == IMAGE
            runs.append((wide, flags, weight))
        least = min(len(r[0]) for r in runs) - 1
        size = 0
        while size < least and all(r[0][size] == runs[0][0][size] for r in runs):
            size += 1
        self.stem = runs[0][0][:size]
        self.length = max(len(r[0]) for r in runs) - size - 1  # the last token predicts nothing
        self.tails = [(r[0][size:-1] + [0] * self.length)[:self.length] for r in runs]
        self.at, self.what, self.weight = [], [], []
        for q, (ids, learnt, weight) in enumerate(runs):
            for i in range(1, len(ids)):
                if learnt[i]:
                    row = i - 1
                    self.at.append(row if row < size else size + q * self.length + row - size)
                    self.what.append(ids[i])
                    self.weight.append(weight)
        self.rows = size + len(runs) * self.length


class Packed(lamm.Model):
    """One `lora` for all layers: {"r", "scale", "targets"}, or None. Its A and B are in w, too."""

    lora = None
    device = torch.device("cpu")

    @classmethod
    def load_on(cls, folder, dtype, device):
        m = cls.load(folder, dtype)
        m.device = device
        m.w = {k: v.to(device) for k, v in m.w.items()}
        v = m.c["vision_config"]
        m.patches = (v["image_size"] // v["patch_size"]) ** 2
        m.image_tokens = m.patches // m.c["connector_config"]["concat"]
        m.talker = Talker(folder, m.c)
        m.run_block, m.run_layer, m.run_end = m.block, m.layer, m.end
        return m

    def compile(self):
        """What block, layer and end do, compiled for the sizes that come; a few of them at most."""
        self.run_block, self.run_layer, self.run_end = (
            torch.compile(f, dynamic=False) for f in (self.block, self.layer, self.end))

    def part(self, prefix):
        """The weights of a layer, by what follows its prefix."""
        return {name[len(prefix):]: t for name, t in self.w.items() if name.startswith(prefix)}

    def picture(self, path):
        side = self.c["vision_config"]["image_size"]
        rgb = Image.open(path).convert("RGB").resize((side, side), Image.BICUBIC)
        return torch.from_numpy(np.array(rgb))

    # ---- the tower ----

    def block(self, x, w):
        v = self.c["vision_config"]
        heads, eps, n = v["num_attention_heads"], v["layer_norm_eps"], x.shape[-1]
        h = F.layer_norm(x, (n,), w["norm1.weight"], w["norm1.bias"], eps)
        q_bias = w["attn.q_bias"]
        qkv = F.linear(h, w["attn.qkv.weight"], torch.cat([q_bias, torch.zeros_like(q_bias), w["attn.v_bias"]]))
        q, k, val = qkv.reshape(*x.shape[:2], 3, heads, n // heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, val).transpose(1, 2).reshape(x.shape)
        x = x + F.linear(a, w["attn.proj.weight"], w["attn.proj.bias"])
        h = F.layer_norm(x, (n,), w["norm2.weight"], w["norm2.bias"], eps)
        return x + F.linear(F.gelu(F.linear(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"])),
                            w["mlp.fc2.weight"], w["mlp.fc2.bias"])

    def look(self, rgb):
        """rgb (n, S, S, 3) uint8 -> picture rows (n * I, D)."""
        v, w, e = self.c["vision_config"], self.w, "visual_encoder."
        mean = torch.tensor(v["image_mean"], dtype=self.dtype, device=self.device)
        std = torch.tensor(v["image_std"], dtype=self.dtype, device=self.device)
        x = ((rgb.to(self.device, self.dtype) / 255 - mean) / std).permute(0, 3, 1, 2)
        x = F.conv2d(x, w[e + "patch_embed.proj.weight"], w[e + "patch_embed.proj.bias"], stride=v["patch_size"])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([w[e + "cls_token"].expand(len(x), -1, -1), x], 1) + self.positions(self.patches)
        for i in range(v["num_hidden_layers"]):
            x = self.run_block(x, self.part(f"{e}blocks.{i}."))
        x = F.layer_norm(x, x.shape[-1:], w.get("ln_vision.weight"), w.get("ln_vision.bias"),
                         self.c["connector_config"]["ln_vision_eps"])[:, 1:]
        x = x.reshape(len(x) * self.image_tokens, -1)
        return F.linear(x, w["llama_proj.weight"], w["llama_proj.bias"])

    # ---- the decoder ----

    def mat(self, x, w, name):
        y = F.linear(x, w[f"{TARGETS[name]}.weight"])
        if self.lora and name in self.lora["targets"]:
            a, up = (w[f"{TARGETS[name]}.lora_{ab}.weight"] for ab in "AB")
            y = y + self.lora["scale"] * F.linear(F.linear(x, a), up)
        return y

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["text_config"]["rms_norm_eps"]) * weight

    def angles(self, pos):
        t = self.c["text_config"]
        half = t["hidden_size"] // t["num_attention_heads"] // 2
        freq = t.get("rope_theta", 10000.0) ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = pos.to(torch.float64)[:, None] * freq
        return angle.cos().to(self.device, self.dtype), angle.sin().to(self.device, self.dtype)

    @staticmethod
    def turn(x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def layer(self, x, w, size, shape, turns, hidden):
        """x: the stem's rows, then the tails'; shape (Q, L) of these."""
        n, heads = x.shape[-1], self.c["text_config"]["num_attention_heads"]
        k_size = n // heads

        def split(y):  # rows -> the stem's (H, S, K), the tails' (Q, H, L, K)
            return (y[:size].reshape(size, heads, k_size).transpose(0, 1),
                    y[size:].reshape(*shape, heads, k_size).transpose(1, 2))

        h = self.norm(x, w["input_layernorm.weight"])
        (qs, qt), (ks, kt), (vs, vt) = (split(self.mat(h, w, m)) for m in "qkv")
        qs, ks = (self.turn(y, *turns[0]) for y in (qs, ks))
        qt, kt = (self.turn(y, *turns[1]) for y in (qt, kt))
        a = F.scaled_dot_product_attention(qs[None], ks[None], vs[None], is_causal=True)[0].transpose(0, 1).reshape(size, n)
        if shape[1]:
            far = qt @ ks.transpose(1, 2) * k_size**-0.5
            near = qt @ kt.transpose(2, 3) * k_size**-0.5 + hidden
            p = torch.softmax(torch.cat([far, near], -1), -1)
            a = torch.cat([a, (p[..., :size] @ vs + p[..., size:] @ vt).transpose(1, 2).reshape(-1, n)])
        x = x + self.mat(a, w, "o")
        h = self.norm(x, w["post_attention_layernorm.weight"])
        return x + self.mat(F.silu(self.mat(h, w, "gate")) * self.mat(h, w, "up"), w, "down")

    def end(self, x, norm, head, what, weight):
        """Sum of weight * cross-entropy, from the rows behind the last layer."""
        logits = F.linear(self.norm(x, norm), head)
        return (F.cross_entropy(logits, what, reduction="none") * weight).sum()

    def decode(self, feats, s):
        """The rows s.at behind the last layer."""
        stem = torch.tensor(s.stem, dtype=torch.int64, device=self.device)
        tails = torch.tensor(s.tails, dtype=torch.int64, device=self.device).reshape(-1)
        ids = torch.cat([stem, tails])
        x = F.embedding(ids.clamp(min=0), self.w["model.embed_tokens.weight"])
        if feats is not None:
            is_picture = (ids < 0)[:, None]
            x = torch.where(is_picture, feats[(~ids).clamp(min=0)], x)
        size, length = len(s.stem), s.length
        turns = (self.angles(torch.arange(size)), self.angles(torch.arange(size, size + length)))
        hidden = torch.full((length, length), -math.inf, dtype=self.dtype, device=self.device).triu(1)
        for i in range(self.c["text_config"]["num_hidden_layers"]):
            x = self.run_layer(x, self.part(f"model.layers.{i}."), size, (len(s.tails), length), turns, hidden)
        return x[torch.tensor(s.at, device=self.device)]

    def loss(self, rgb, s):
        """Sum of weight * cross-entropy over the answers' tokens."""
        x = self.decode(self.look(rgb) if rgb is not None else None, s)
        return self.run_end(x, self.w["model.norm.weight"], self.head(), torch.tensor(s.what, device=self.device),
                            torch.tensor(s.weight, dtype=self.dtype, device=self.device))
