"""PAE-LaMM in plain PyTorch: what the C program is measured against.

Written from docs/model.md sections 1 to 3 alone, one function per part, no cache, no batching
tricks; in float64 unless asked otherwise. `tap(name, tensor)` sees the same intermediate tensors
under the same names as model_set_tap's function.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

import stfile


def no_tap(name, tensor):
    pass


class Model:
    def __init__(self, config, weights, dtype=torch.float64):
        self.c, self.dtype = config, dtype
        self.w = {name: t.to(dtype) for name, t in weights.items()}

    @classmethod
    def load(cls, folder, dtype=torch.float64):
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        return cls(config, stfile.read(os.path.join(folder, "model.safetensors")), dtype)

    # ---- picture -> rows of the decoder's width ----

    def positions(self, patches):
        """pos_embed for `patches` patches; another grid is resized, the cls row is kept."""
        pos = self.w["visual_encoder.pos_embed"][0]
        old, new = math.isqrt(len(pos) - 1), math.isqrt(patches)
        if old == new:
            return pos
        grid = pos[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
        return torch.cat([pos[:1], grid[0].permute(1, 2, 0).reshape(patches, -1)])

    def vision(self, rgb, tap=no_tap):
        """rgb (S, S, 3) uint8 -> the tower's rows (1 + P, E), after ln_vision."""
        v, w, e = self.c["vision_config"], self.w, "visual_encoder."
        size, heads = v["hidden_size"], v["num_attention_heads"]
        mean = torch.tensor(v["image_mean"], dtype=self.dtype)
        std = torch.tensor(v["image_std"], dtype=self.dtype)
        x = ((rgb.to(self.dtype) / 255 - mean) / std).permute(2, 0, 1)[None]
        x = F.conv2d(x, w[e + "patch_embed.proj.weight"], w[e + "patch_embed.proj.bias"],
                     stride=v["patch_size"])
        x = x.flatten(2)[0].T
        x = torch.cat([w[e + "cls_token"][0], x]) + self.positions(len(x))
        tap("vit.embed", x)
        for i in range(v["num_hidden_layers"]):
            b = f"{e}blocks.{i}."
            h = F.layer_norm(x, (size,), w[b + "norm1.weight"], w[b + "norm1.bias"],
                             v["layer_norm_eps"])
            bias = torch.cat([w[b + "attn.q_bias"], torch.zeros_like(w[b + "attn.q_bias"]),
                              w[b + "attn.v_bias"]])
            qkv = F.linear(h, w[b + "attn.qkv.weight"], bias)
            q, k, val = qkv.reshape(len(x), 3, heads, size // heads).permute(1, 2, 0, 3)
            a = torch.softmax((q * (size // heads) ** -0.5) @ k.transpose(1, 2), dim=-1) @ val
            a = a.transpose(0, 1).reshape(len(x), size)
            x = x + F.linear(a, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"])
            h = F.layer_norm(x, (size,), w[b + "norm2.weight"], w[b + "norm2.bias"],
                             v["layer_norm_eps"])
            h = F.gelu(F.linear(h, w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"]))
            x = x + F.linear(h, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"])
            tap(f"vit.{i}", x)
        x = F.layer_norm(x, (size,), w.get("ln_vision.weight"), w.get("ln_vision.bias"),
                         self.c["connector_config"]["ln_vision_eps"])
        tap("ln_vision", x)
        return x

    def see(self, rgb, tap=no_tap):
        """rgb -> picture rows (I, D): neighbours of a row of patches joined, one linear map."""
        x = self.vision(rgb, tap)[1:]
        x = x.reshape(len(x) // self.c["connector_config"]["concat"], -1)
        x = F.linear(x, self.w["llama_proj.weight"], self.w["llama_proj.bias"])
        tap("proj", x)
        return x

    # ---- rows -> logits ----

    def rms(self, x, name):
        eps = self.c["text_config"]["rms_norm_eps"]
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * self.w[name]

    def rotate(self, x, pos):
        """x (..., T, K); the half-split form: pair (i, i + K/2) turns by pos * theta^(-2i/K)."""
        half = x.shape[-1] // 2
        theta = self.c["text_config"].get("rope_theta", 10000.0)
        freq = theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = pos.to(torch.float64)[..., None] * freq
        cos, sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def decode(self, x, tap=no_tap):
        """x (B, T, D) embedded rows -> logits (B, T, V), every row seeing those before it."""
        t, w = self.c["text_config"], self.w
        heads, count = t["num_attention_heads"], x.shape[1]
        size = t["hidden_size"] // heads
        pos = torch.arange(count)
        hidden = torch.full((count, count), -math.inf, dtype=self.dtype).triu(1)

        def split(y):
            return y.reshape(len(x), count, heads, size).transpose(1, 2)

        tap("llama.embed", x[0])
        for i in range(t["num_hidden_layers"]):
            b = f"model.layers.{i}."
            h = self.rms(x, b + "input_layernorm.weight")
            q, k, v = (split(F.linear(h, w[f"{b}self_attn.{n}_proj.weight"])) for n in "qkv")
            q, k = self.rotate(q, pos), self.rotate(k, pos)
            a = torch.softmax(q @ k.transpose(2, 3) * size**-0.5 + hidden, dim=-1) @ v
            a = a.transpose(1, 2).reshape(len(x), count, -1)
            x = x + F.linear(a, w[b + "self_attn.o_proj.weight"])
            h = self.rms(x, b + "post_attention_layernorm.weight")
            h = F.silu(F.linear(h, w[b + "mlp.gate_proj.weight"])) * F.linear(
                h, w[b + "mlp.up_proj.weight"])
            x = x + F.linear(h, w[b + "mlp.down_proj.weight"])
            tap(f"llama.{i}", x[0])
        return F.linear(self.rms(x, "model.norm.weight"), self.head())

    def head(self):
        tied = self.c["text_config"].get("tie_word_embeddings", False)
        return self.w["model.embed_tokens.weight" if tied else "lm_head.weight"]

    def embed(self, feats, ids):
        """ids: token ids, -1 standing once for the whole picture -> (T, D)."""
        table = self.w["model.embed_tokens.weight"]
        return torch.cat([feats if i < 0 else table[i:i + 1] for i in ids])
