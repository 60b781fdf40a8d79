"""lab.py - what the tests of `lammd import` share: the originals of the tiny model, and runs."""
import json
import os
import shutil
import subprocess

import numpy as np

import checkpoints as ck

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
TINY = os.path.join(ROOT, "tests/golden/tiny")
RANK, ALPHA = 4, 6
# Sizes that no tensor tells, and a tokenizer that isn't LLaMA's.
SIZES = ["--any-tokenizer", "--vision-heads", "2", "--pixel-grid", "16"]


class Originals:
    """LLaMA in two shards, the tower, and a checkpoint with a LoRA; all made of the tiny model."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.tiny = ck.read(os.path.join(TINY, "model.safetensors"))
        self.tower = {n[len("visual_encoder."):]: t for n, t in self.tiny.items() if n.startswith("visual_encoder.")}
        self.vision = {n: t for n, t in self.tiny.items() if n.startswith(("ln_vision.", "llama_proj."))}
        self.llama = {n: t for n, t in self.tiny.items() if n.startswith(("model.", "lm_head."))}
        with open(os.path.join(TINY, "config.json")) as f:
            self.config = json.load(f)
        self.lora = self.make_lora()
        self.write_llama(self.path("llama"))
        self.write_llama(self.path("llama-bin"), is_bin=True)
        ck.torch_legacy(self.path("eva.pth"), self.tower)
        ck.torch_zip(self.path("stage.pth"), self.checkpoint())

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def make_lora(self):
        rng, out = np.random.default_rng(5), {}
        for layer in range(self.config["text_config"]["num_hidden_layers"]):
            for place in ("q_proj", "v_proj"):
                name = f"model.layers.{layer}.self_attn.{place}"
                n, k = self.llama[name + ".weight"].shape
                out[name] = (ck.Tensor.of(rng.normal(size=(RANK, k)) / np.sqrt(k)),
                             ck.Tensor.of(rng.normal(size=(n, RANK)) / 4))
        return out

    def lora_tensors(self, spelling="lora_{}.weight", prefix="llama_model.base_model.model."):
        return {f"{prefix}{name}.{spelling.format(side)}": t
                for name, pair in self.lora.items() for side, t in zip("AB", pair)}

    def checkpoint(self, spelling="lora_{}.weight", **more):
        """What MiniGPT-v2's runner saves, with an optimizer."""
        model = {**self.lora_tensors(spelling), **self.vision,
                 "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq": ck.Tensor.of(np.ones(8)),
                 **more}
        moments = {i: {"step": 7, "exp_avg": t} for i, t in enumerate(self.vision.values())}
        return {"model": model, "optimizer": {"state": moments, "param_groups": [{"lr": 1e-5}]},
                "config": {"model": {"lora_alpha": ALPHA, "lora_r": RANK}, "run": {}}, "scaler": None, "epoch": 3}

    def write_llama(self, folder, is_bin=False):
        os.makedirs(folder)
        names = sorted(self.llama)
        form = "pytorch_model-{:05d}-of-00002.bin" if is_bin else "model-{:05d}-of-00002.safetensors"
        where = {name: form.format(1 + (i % 3 > 0)) for i, name in enumerate(names)}
        for file in sorted(set(where.values())):
            part = {n: self.llama[n] for n in names if where[n] == file}
            (ck.torch_zip if is_bin else ck.write)(os.path.join(folder, file), part)
        index = "pytorch_model.bin.index.json" if is_bin else "model.safetensors.index.json"
        with open(os.path.join(folder, index), "w") as f:
            json.dump({"metadata": {"total_size": 1}, "weight_map": where}, f)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
                       "rope_scaling": None, **self.config["text_config"]}, f)
        shutil.copy(os.path.join(TINY, "tokenizer.model"), folder)

    def merged(self):
        """The whole model, with W + alpha / r * B A in f32, rounded once."""
        out = dict(self.tiny)
        for name, (a, b) in self.lora.items():
            w = out[name + ".weight"]
            delta = np.zeros(w.shape, np.float32)
            for j in range(RANK):  # in the order of the program
                delta += b.floats()[:, j:j + 1] * a.floats()[j:j + 1, :]
            out[name + ".weight"] = ck.Tensor.of(w.floats() + np.float32(ALPHA / RANK) * delta, w.dtype)
        return out


def run(*words, ok=True, under=(), **how):
    """The whole process; fails when its status isn't what was expected."""
    r = subprocess.run([*under, PROGRAM, "import", *words], capture_output=True, text=True, timeout=600,
                       check=False, **how)
    assert (r.returncode == 0) == ok and r.returncode in (0, 1, 2), (words, r.returncode, r.stderr)
    return r


def refused(text, *words, **how):
    r = run(*words, ok=False, **how)
    assert text in r.stderr, f"without {text!r}: {r.stderr}"
    return r
