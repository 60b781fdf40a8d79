"""Record what peft saves and computes, for tests that have no peft.

    python3 tools/oracle/make_peft_golden.py tests/golden        needs peft and transformers

The base model is the decoder of tests/golden/tiny, as transformers' LLaMA, in float32. Each adapter
gets made numbers and is saved by peft itself: adapter_config.json and adapter_model.safetensors.
Its answers are what peft's forward says to a few tokens: probabilities (tokens, vocabulary).
Recorded with peft 0.21.2, transformers 5.24.0, torch 2.15.0.
"""
import json
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

import rng
import stfile

IDS = [1, 17, 300, 641, 5, 5, 88, 12, 400, 9]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.05},
    "rslora": {"r": 3, "lora_alpha": 2, "target_modules": ALL, "use_rslora": True},
    "pattern": {"r": 2, "lora_alpha": 4, "target_modules": r".*\.1\.self_attn\.(q|k)_proj"},
}


def base(folder):
    """The decoder of a model folder."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        c = json.load(f)["text_config"]
    model = LlamaForCausalLM(LlamaConfig(attention_bias=False, mlp_bias=False, **c))
    weights = stfile.read(os.path.join(folder, "model.safetensors"))
    names = dict(model.named_parameters())
    missing = [n for n in names if n not in weights]
    assert not missing, missing
    with torch.no_grad():
        for name, p in names.items():
            p.copy_(weights[name].float())
    return model.eval()


def answers(model):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([IDS])).logits[0]
    return torch.softmax(logits.double(), -1).float()


def main(root):
    tiny, out = os.path.join(root, "tiny"), os.path.join(root, "peft")
    bare = answers(base(tiny))
    for name, how in ADAPTERS.items():
        model = get_peft_model(base(tiny), LoraConfig(task_type="CAUSAL_LM", **how)).eval()
        with torch.no_grad():
            for key, p in model.named_parameters():
                if "lora_" in key:
                    p.copy_(torch.from_numpy(rng.weights(key, tuple(p.shape), 0.15, 0.0, "peft")))
        folder = os.path.join(out, name)
        model.save_pretrained(folder)
        os.remove(os.path.join(folder, "README.md"))
        probs = answers(model)
        print(f"{name}: the adapter moves an answer by at most {(probs - bare).abs().max():.3f}")
        stfile.write(os.path.join(folder, "answers.safetensors"),
                     {"ids": torch.tensor(IDS, dtype=torch.int32), "probs": probs})


if __name__ == "__main__":
    main(sys.argv[1])
