"""The original implementations, loaded from the original files: timm's EVA, transformers' LLaMA,
peft's LoRA around it. What they compute comes out under the names of model_set_tap's tensors.

Needs torch, timm, transformers and peft. `pip install timm transformers peft` brings them.
"""
import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

import originals

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)


def positions(pos, side):
    """(1, 1 + 16 * 16, E) -> (1, 1 + side * side, E) as MiniGPT-v2's loader enlarges them. timm's
    own way is another kernel (antialiased, a = -0.5), so its grid is filled from outside."""
    old = int((pos.shape[1] - 1) ** 0.5)
    grid = pos[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([pos[:, :1].float(), grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def tower(path, blocks, dtype):
    """timm's model of the published tower, at 448, with its weights but for what nobody uses."""
    model = timm.create_model("eva_giant_patch14_224.clip_ft_in1k", pretrained=False, depth=blocks,
                              img_size=originals.SIDE, num_classes=0)
    state = read(path)
    state["pos_embed"] = positions(state["pos_embed"], originals.SIDE // originals.PATCH)
    said = model.load_state_dict(state, strict=False)
    assert set(said.unexpected_keys) <= {"norm.weight", "norm.bias"}, said
    assert all(n.startswith(("norm.", "fc_norm.")) or n.endswith("k_bias") for n in said.missing_keys), said
    return model.eval().to(dtype)


def connector(path, dtype):
    state = read(path)["model"]
    linear = torch.nn.Linear(4 * originals.WIDTH, originals.DEEP)
    with torch.no_grad():
        linear.weight.copy_(state["llama_proj.weight"])
        linear.bias.copy_(state["llama_proj.bias"])
    return linear.to(dtype)


@torch.no_grad()
def see(model, proj, rgb, tap):
    """rgb (S, S, 3) u8 -> the connector's rows (I, D). The norm behind the tower is MiniGPT-v2's
    ln_vision, which no checkpoint of it holds: weight 1, bias 0."""
    dtype, hooks = proj.weight.dtype, []
    x = (torch.from_numpy(rgb).double() / 255 - MEAN) / STD
    x = x.permute(2, 0, 1)[None].to(dtype)
    hooks.append(model.blocks[0].register_forward_pre_hook(lambda m, a: tap("vit.embed", a[0][0])))
    for i, block in enumerate(model.blocks):
        hooks.append(block.register_forward_hook(lambda m, a, y, i=i: tap(f"vit.{i}", y[0])))
    last = []
    hooks.append(model.blocks[-1].register_forward_hook(lambda m, a, y: last.append(y[0])))
    model.forward_features(x)
    for hook in hooks:
        hook.remove()
    x = F.layer_norm(last[0], (originals.WIDTH,), eps=1e-5)
    tap("ln_vision", x)
    x = proj(x[1:].reshape(-1, 4 * originals.WIDTH))
    tap("proj", x)
    return x


def llama(folder, dtype):
    return LlamaForCausalLM.from_pretrained(folder).eval().to(dtype)


def with_lora(model, path, rank=originals.RANK, alpha=originals.ALPHA):
    """peft around it, with a checkpoint's numbers, as MiniGPT-v2 makes it; unmerged."""
    how = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM",
                     target_modules=["q_proj", "v_proj"])
    model = get_peft_model(model, how).eval()
    state = {n.removeprefix("llama_model.").replace(".weight", ".default.weight"): t
             for n, t in read(path)["model"].items() if ".lora_" in n}
    said = model.load_state_dict(state, strict=False)
    assert state and not said.unexpected_keys and not any("lora" in n for n in said.missing_keys), said
    return model


@torch.no_grad()
def decode(model, ids, feats, tap):
    """ids: tokens, -1 standing for the picture's rows `feats`."""
    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    table = body.model.embed_tokens
    x = torch.cat([feats if i < 0 else table(torch.tensor([i])) for i in ids])
    tap("llama.embed", x)
    hooks = []
    for i, layer in enumerate(body.model.layers):
        def show(module, args, y, i=i):
            tap(f"llama.{i}", (y[0] if isinstance(y, tuple) else y)[0])
        hooks.append(layer.register_forward_hook(show))
    tap("logits", model(inputs_embeds=x[None], use_cache=False).logits[0])
    for hook in hooks:
        hook.remove()
