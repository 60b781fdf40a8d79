#!/usr/bin/env python3
"""train.py - a small PyTorch trainer of lammd's own samples: its oracle, and its peer in time.

    lammd train RECIPE.ini --samples steps.jsonl
    python3 tools/oracle/train.py steps.jsonl --model models/lamm-mini --out run
        [--steps N] [--dtype f32|f64|bf16] [--device cpu|cuda] [--threads N] [--compile] [--plain]
        [--adapter DIR] [--against losses.csv] [--seconds N]

Which sample a step learns, with its crops, colours and texts, is lammd's to say; the options of the
stage stand in the file. --plain asks one question at a time. --adapter: a LoRA to begin with, as
peft writes it (a new one begins from another seed than lammd's). --against compares the losses of
the steps with those of a run of lammd.

Writes OUT/losses.csv and OUT/last.pt every 50 steps and at the end; the same command goes on from
there. The trained weights are OUT/model.safetensors, with the names of the model's own file. With
--seconds it stops after so long. Prints the medians of a step's time.
"""
import argparse
import csv
import json
import math
import os
import statistics
import sys
import time

import torch

import stfile
from packed import TARGETS, Packed, Sample

DTYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.float32}


def read(path):
    """[(stage, [the samples of each step])]"""
    stages = []
    with open(path, encoding="utf-8") as f:
        for row in map(json.loads, f):
            if "stage" in row:
                stages.append((row, {}))
            else:
                stages[-1][1].setdefault(row["step"], []).append(row)
    return stages


def refuse(o):
    for name in ("box_l1", "box_giou", "hold", "lora_dropout", "dense_inside", "dense_box", "dense_colour"):
        if o.get(name, 0) > 0:
            sys.exit(f"{name} = {o[name]}: this trainer has the answers' cross-entropy alone; set it to 0")
    if o.get("legal") == "yes":
        sys.exit("legal = yes: this trainer's loss is over the whole vocabulary; set it to no")
    soft = [k for k, v in o.items() if k.startswith(("soft_", "teach")) and k not in ("teacher", "teach_top") and v > 0]
    if soft:
        sys.exit(f"{soft[0]}: this trainer has hard targets alone; set it to 0")


def learns(name, o):
    """Which group of the model a weight is of, and does that learn?"""
    if name.startswith(("visual_encoder.", "ln_vision.")):
        return o["tower"] == "yes"
    if name.startswith("llama_proj."):
        return o["connector"] == "yes"
    return "lora_" in name if o["text"] == "lora" else o["text"] == "full"


def decays(name, t):
    return t.ndim >= 2 and not any(part in name for part in ("bias", "ln", "bn", "norm"))


def add_lora(m, o, adapter):
    targets = [t for t in TARGETS if t in o["lora_targets"].replace(",", " ").split()]
    r = o["lora_r"]
    m.lora = {"targets": targets, "scale": o["lora_alpha"] / (math.sqrt(r) if o.get("lora_rslora") == "yes" else r)}
    old = stfile.read(os.path.join(adapter, "adapter_model.safetensors")) if adapter else {}
    for i in range(m.c["text_config"]["num_hidden_layers"]):
        for t in targets:
            at = f"model.layers.{i}.{TARGETS[t]}"
            n, k = m.w[at + ".weight"].shape
            for ab, shape in (("A", (r, k)), ("B", (n, r))):
                new = torch.zeros(shape) if ab == "B" else (torch.rand(shape) * 2 - 1) / math.sqrt(k)
                m.w[f"{at}.lora_{ab}.weight"] = old.get(f"base_model.model.{at}.lora_{ab}.weight", new).to(m.device, m.dtype)


def rate(o, step):
    if step < o["warmup"]:
        return o["rate_start"] + (o["rate"] - o["rate_start"]) * step / o["warmup"]
    return o["rate_end"] + (o["rate"] - o["rate_end"]) * (1 + math.cos(math.pi * step / o["steps"])) / 2


class Stage:
    def __init__(self, m, o, a):
        self.m, self.o, self.a = m, o, a
        if o["text"] == "lora":
            add_lora(m, o, a.adapter)
        self.names = [n for n in m.w if learns(n, o)]
        for n, t in m.w.items():
            t.requires_grad_(n in self.names)
        groups = {}
        for n in self.names:
            is_tower = n.startswith(("visual_encoder.", "ln_vision."))
            groups.setdefault((is_tower, decays(n, m.w[n])), []).append(m.w[n])
        self.opt = torch.optim.AdamW(
            [{"params": p, "weight_decay": o["decay"] if d else 0.0, "times": o["tower_rate"] if t else 1.0}
             for (t, d), p in groups.items()],
            betas=(o["beta1"], o["beta2"]), eps=o["eps"], fused=True)
        if a.compile:
            m.compile()

    def parts(self, row):
        """(pictures, packed talks) of a sample; several with --plain."""
        pictures = [self.m.picture(os.path.join(os.path.dirname(self.a.samples), p)) for p in row["pictures"]]
        rgb = torch.stack(pictures) if pictures else None
        talks = [(*self.m.talker.ids(t["turns"]), t["weight"]) for t in row["talks"]]
        packs = [[t] for t in talks] if self.a.plain else [talks]
        return [(rgb, Sample(p, self.m.image_tokens)) for p in packs]

    def step(self, number, parts):
        """One step; returns (loss, gradient norm, seconds, seconds of processor time)."""
        begun, spent = time.monotonic(), time.process_time()
        total, weight = 0.0, sum(sum(s.weight) for _, s in parts)
        for rgb, s in parts:
            with torch.autocast(self.m.device.type, torch.bfloat16, enabled=self.a.dtype == "bf16"):
                loss = self.m.loss(rgb, s) / weight
            loss.backward()
            total += loss.item()
        learnt = [self.m.w[n] for n in self.names]
        norm = torch.nn.utils.clip_grad_norm_(learnt, self.o["clip"] if self.o["clip"] > 0 else math.inf).item()
        for g in self.opt.param_groups:
            g["lr"] = rate(self.o, number) * g["times"]
        self.opt.step()
        self.opt.zero_grad(set_to_none=False)
        return total, norm, time.monotonic() - begun, time.process_time() - spent


def save(a, m, stage, step, rows):
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, "last.pt")
    torch.save({"w": {n: m.w[n].detach() for n in stage.names}, "opt": stage.opt.state_dict(), "step": step,
                "rows": rows}, path + ".tmp")
    os.replace(path + ".tmp", path)
    with open(os.path.join(a.out, "losses.csv"), "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([("step", "loss", "norm", "seconds"), *rows])


def export(a, m):
    old = stfile.read(os.path.join(a.model, "model.safetensors"))
    stfile.write(os.path.join(a.out, "model.safetensors"),
                 {n: m.w[n].detach().cpu().to(t.dtype) for n, t in old.items()})
    lora = {f"base_model.model.{n}": t.detach().cpu().float().contiguous() for n, t in m.w.items() if "lora_" in n}
    if lora:
        stfile.write(os.path.join(a.out, "adapter_model.safetensors"), lora)


def compare(path, rows):
    with open(path, encoding="utf-8") as f:
        theirs = {int(r["step"]): float(r["loss"]) for r in csv.DictReader(f) if r.get("rate")}
    pairs = [(loss, theirs[step]) for step, loss, *_ in rows if step in theirs]
    if not pairs:
        sys.exit(f"{path} has none of these steps")
    for n in sorted({min(n, len(pairs)) for n in (20, 100)}):
        off = [abs(a - b) / abs(b) for a, b in pairs[:n]]
        print(f"first {len(off)} losses: largest relative difference {max(off):.2e}")


def run_stage(a, m, head, steps):
    o = {**head["options"], "steps": head["steps"]}
    refuse(o)
    stage, rows, first = Stage(m, o, a), [], min(steps)
    path = os.path.join(a.out, "last.pt")
    done = first - 1
    if os.path.exists(path):
        old = torch.load(path, weights_only=True, map_location=m.device)
        with torch.no_grad():
            for n, t in old["w"].items():
                m.w[n].copy_(t)
        stage.opt.load_state_dict(old["opt"])
        done, rows = old["step"], old["rows"]
    begun = time.monotonic()
    for number in sorted(n for n in steps if n > done)[:a.steps]:
        parts = [p for row in steps[number] for p in stage.parts(row)]
        loss, norm, seconds, spent = stage.step(number - first, parts)
        rows.append((number + 1, loss, norm, seconds))
        questions = sum(len(s.tails) for _, s in parts)
        print(f"step {number + 1}: loss {loss:.6f}, norm {norm:.4f}, {seconds:.3f} s, {spent:.3f} s of processor time, "
              f"{questions / seconds:.1f} questions/s", flush=True)
        late = a.seconds and time.monotonic() - begun > a.seconds
        if (number + 1) % 50 == 0 or late:
            save(a, m, stage, number, rows)
        if late:
            break
        done = number
    save(a, m, stage, done, rows)
    export(a, m)
    times = [r[3] for r in rows[1:]] or [r[3] for r in rows]
    print(f"{len(rows)} steps, median {statistics.median(times):.3f} s, first {rows[0][3]:.1f} s")
    if a.against:
        compare(a.against, rows)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("samples")
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--steps", type=int)
    ap.add_argument("--dtype", choices=DTYPES, default="f32")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int)
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--plain", action="store_true")
    ap.add_argument("--adapter")
    ap.add_argument("--against")
    ap.add_argument("--seconds", type=float)
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    stages = read(a.samples)
    if len(stages) != 1:
        sys.exit(f"{a.samples}: {len(stages)} stages; this trainer learns one")
    m = Packed.load_on(a.model, DTYPES[a.dtype], torch.device(a.device))
    os.makedirs(a.out, exist_ok=True)
    run_stage(a, m, *stages[0])


if __name__ == "__main__":
    main()
